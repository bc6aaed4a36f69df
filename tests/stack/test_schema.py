"""The JSON Schema of mappings: those of the repository fit it, and what it refuses the tool refuses too."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from stack.settings import Settings

ID = '{ name = "id", type = "uuid", from = "@message_id" }'
SHORT = f'table = "t"\nkey = ["id"]\ncolumn = [{ID}]\n'
LONG = f'[[table]]\nname = "t"\nkey = ["id"]\ncolumn = [{ID}]\n'
WRONG = [
    ('tabel = "t"\n' + SHORT, "tabel"),
    ('root = "detail"\n' + SHORT, "False schema"),
    ('newer = "v"\n' + LONG, "False schema"),
    (SHORT.replace('"uuid"', '"guid"'), "'guid' is not valid"),
    (SHORT.replace('"uuid"', '"varchar(n)"'), "is not valid"),
    (SHORT.replace(" }", ', mask = "base64" }'), "'base64' is not one of"),
    (SHORT.replace(" }", ', transform = ["strip"] }'), "'strip' is not one of"),
    (SHORT.replace(" }", ', unit = "h" }'), "'h' is not one of"),
    (SHORT.replace(" }", ", required = 1 }"), "1 is not of type 'boolean'"),
    (SHORT.replace('"@message_id"', "[]"), "is not valid"),
    ('on_conflict = "replace"\n' + SHORT, "'replace' is not one of"),
    ('encoding = "gzip"\n' + SHORT, "'gzip' is not valid"),
    ('body = "csv"\n' + LONG, "'csv' is not one of"),
    (LONG.replace('name = "t"', 'name = "t"\nwhen = { kind = { begins = "a" } }'), "is not valid"),
    ("key = []\n", "'table' is a required property"),
]
"""Mappings with one mistake, and what is said of it."""


@pytest.fixture(scope="module")
def schema(tool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("schema") / "pipeline.schema.json"
    with file.open("w") as out:
        subprocess.run([tool / "sqs-to-postgres", "schema"], stdout=out, check=True)
    return file


def mappings(settings: Settings) -> dict[str, str]:
    """Those of the repository, and those that the documents show."""
    files = [settings.root / "pipeline.toml"]
    files += [file for folder in ("examples", "events") for file in (settings.root / folder).glob("*.toml")]
    texts = {file.name: file.read_text() for file in files}
    for page in ("MAPPING.md", "ANALYSIS.md", "MIGRATING.md"):
        blocks = re.findall(r"^```toml\n(.*?)^```$", (settings.root / "docs" / page).read_text(), re.M | re.S)
        texts |= {f"{page} {number}": block for number, block in enumerate(blocks)}
    return texts


def mistakes(schema: Path, mapping: str) -> list[str]:
    read: dict[str, Any] = tomllib.loads(mapping)
    return [error.message for error in Draft7Validator(json.loads(schema.read_text())).iter_errors(read)]


def test_every_mapping_of_the_repository_fits_the_schema(settings: Settings, schema: Path) -> None:
    Draft7Validator.check_schema(json.loads(schema.read_text()))
    texts = mappings(settings)
    assert len(texts) > 30
    for name, text in texts.items():
        assert mistakes(schema, text) == [], name


@pytest.mark.parametrize(("mapping", "expected"), WRONG)
def test_a_mistake_that_an_editor_marks_is_one_for_the_tool_too(
    schema: Path, tool: Path, tmp_path: Path, mapping: str, expected: str
) -> None:
    [mistake] = mistakes(schema, mapping)
    assert expected in mistake
    (tmp_path / "pipeline.toml").write_text(mapping)
    command = [tool / "sqs-to-postgres", "ddl"]
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2, refused.stdout


def test_taplo_reads_the_schema_that_the_first_line_names(
    settings: Settings, schema: Path, tmp_path: Path
) -> None:
    taplo = settings.state / "venv" / "examples" / "bin" / "taplo"
    (tmp_path / schema.name).write_text(schema.read_text())
    for name, text in mappings(settings).items():
        file = tmp_path / f"{name}.toml"
        file.write_text(text if text.startswith("#:schema") else f"#:schema ./{schema.name}\n{text}")
    done = subprocess.run(
        [taplo, "lint", *tmp_path.glob("*.toml")], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    wrong = tmp_path / "wrong.toml"
    masked = SHORT.replace(" }", ', mask = "sha" }')
    wrong.write_text(f"#:schema ./{schema.name}\n{masked}")
    refused = subprocess.run([taplo, "lint", wrong], cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 1
    assert '"sha" is not one of' in refused.stderr
