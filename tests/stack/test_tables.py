"""`make up` on tables with rows: it shows what it adds, and stops before a stored value changes."""

import secrets
from pathlib import Path

import pytest

from stack import postgres, tool
from stack.mapping import Mapping
from stack.settings import Settings, StackError

KEY = 'key = ["id"]\n[[column]]\nname = "id"\ntype = "uuid"\nfrom = "@message_id"\n'


def test_make_up_shows_each_statement_and_leaves_stored_values_alone(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = f"kept_{secrets.token_hex(3)}"
    mapping = Mapping.of(tmp_path / "kept.toml")

    def make(*columns: tuple[str, str]) -> str:
        mapped = [f'[[column]]\nname = "{name}"\ntype = "{kind}"\n' for name, kind in columns]
        mapping.file.write_text(f'table = "{table}"\n{KEY}{"".join(mapped)}')
        tool.make_tables(settings, mapping)
        return capsys.readouterr().err

    try:
        assert f'    CREATE TABLE "{table}" ( …\n' in make(("at", "timestamptz"))
        postgres.query(settings, f"INSERT INTO {table} VALUES (gen_random_uuid(), '2026-01-01 13:45:10Z')")
        added = f'    ALTER TABLE "{table}" ADD COLUMN "note" text;\n'
        with pytest.raises(StackError, match=r"drops the time of day\n.*--allow-loss"):
            make(("at", "date"), ("note", "text"))
        assert added in capsys.readouterr().err
        assert postgres.query(settings, f"SELECT at, note FROM {table}") == "2026-01-01 13:45:10+00|"
        assert "TABLE" not in make(("at", "timestamptz"), ("note", "text"))
    finally:
        postgres.query(settings, f"DROP TABLE IF EXISTS {table}")
