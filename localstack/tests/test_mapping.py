"""What a mapping is called when it is deployed, and which tables it has."""

import sys
from pathlib import Path

import pytest

from stack import __main__ as commands
from stack.mapping import Mapping
from stack.settings import Settings, StackError


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("orders.toml", "orders"),
        ("/a/b/users_sns.v2.toml", "users-sns-v2"),
        (f"{Settings.of_repo().root}/examples/orders.toml", "example-orders"),
    ],
)
def test_a_mapping_is_deployed_under_the_name_of_its_file(file: str, name: str) -> None:
    mapping = Mapping.of(Path(file))
    assert (mapping.name, mapping.file.is_absolute()) == (name, True)


@pytest.mark.parametrize("file", ["1st.toml", "____.toml", f"{'x' * 65}.toml", "sqs-to-postgres.toml"])
def test_a_name_that_no_function_can_have_is_refused(file: str) -> None:
    with pytest.raises(StackError, match="rename the file"):
        Mapping.of(Path(file))


@pytest.mark.parametrize(
    ("mapping", "tables"),
    [
        ('table = "orders"', ['"orders"']),
        ('table = "shop.orders"', ['"shop"."orders"']),
        ('[[table]]\nname = "orders"\n[[table]]\nname = "shop.lines"', ['"orders"', '"shop"."lines"']),
    ],
)
def test_its_tables_are_those_that_the_file_names(tmp_path: Path, mapping: str, tables: list[str]) -> None:
    file = tmp_path / "orders.toml"
    file.write_text(mapping)
    assert Mapping.of(file).tables() == tables


@pytest.mark.parametrize("command", ["up", "env", "logs", "watch"])
def test_a_mapping_that_does_not_exist_is_named(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["stack", command, "none.toml"])
    assert commands.main() == 1
    assert "there is no mapping 'none.toml'" in capsys.readouterr().err


def test_an_example_that_does_not_exist_is_named_with_those_that_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["stack", "run", "none"])
    assert commands.main() == 1
    assert "there is no example 'none'" in (error := capsys.readouterr().err)
    assert "orders" in error


def test_its_columns_with_tokens_are_those_that_have_a_mask(tmp_path: Path) -> None:
    file = tmp_path / "orders.toml"
    file.write_text('table = "orders"\n[[column]]\nname = "id"\n[[column]]\nname = "ip"\nmask = "sha256"\n')
    mapping = Mapping.of(file)
    assert mapping.columns() == {'"orders"': ['"id"', '"ip"']}
    assert mapping.masked() == {'"orders"': ['"ip"']}
