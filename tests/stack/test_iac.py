"""The example of docs/DEPLOY.md for Terraform, with the released template."""

import re
import subprocess
import sys
from pathlib import Path

from stack.settings import Settings


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
