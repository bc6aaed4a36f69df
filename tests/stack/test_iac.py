"""The examples of docs/DEPLOY.md for other tools, on the released template."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stack.processes import one_at_a_time
from stack.settings import Settings

CDK = ("aws-cdk@2.1148.0", "aws-cdk-lib@2.275.0", "constructs@10.8.1")


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
def cdk(settings: Settings) -> Path:
    """The modules of Node.js with the CDK, where npm can be had."""
    if not shutil.which("npm"):
        pytest.skip("needs Node.js and npm")
    folder = settings.cache / "cdk" / "-".join(CDK)
    with one_at_a_time(settings):
        if not folder.exists():
            folder.mkdir(parents=True)
            install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *CDK]
            installed = subprocess.run(install, cwd=folder, capture_output=True, text=True)
            if installed.returncode:
                shutil.rmtree(folder)
                pytest.skip("npm cannot install the CDK: needs the network")
    return folder / "node_modules"


def test_cdk_makes_a_stack_of_the_released_template(settings: Settings, cdk: Path, tmp_path: Path) -> None:
    write_template(settings, tmp_path)
    (tmp_path / "app.js").write_text(example(settings, "js"))
    (tmp_path / "sqs-to-postgres-0.1.0-x86_64.zip").write_bytes(b"PK")
    synth = [cdk / ".bin" / "cdk", "synth", "--quiet", "--no-notices", "--app", "node app.js"]
    quiet = os.environ | {"CDK_DISABLE_CLI_TELEMETRY": "1", "NODE_PATH": str(cdk)}
    done = subprocess.run(
        synth, cwd=tmp_path, env=quiet, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads((tmp_path / "cdk.out" / "orders.template.json").read_text())
    assert made["Transform"] == "AWS::Serverless-2016-10-31"
    function = made["Resources"]["Function"]["Properties"]
    assert re.fullmatch(r"[0-9a-f]{64}\.zip", function["CodeUri"]["Key"])
    assert made["Resources"]["Queue"]["DeletionPolicy"] == "RetainExceptOnCreate"


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
