"""What the function makes of random messages: the rows that it stores, and the messages that it rejects."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from function import running
from shell import Shell

from stack.settings import Settings

SEED = int(os.environ.get("SEED", "31"))
"""Of all that is random in a test. `SEED=7 pytest …` tries another."""
KEY = 'key = ["id"]\n[[column]]\nname = "id"\ntype = "text"\nfrom = "@message_id"\n'


def seeded() -> Random:
    print(f"SEED={SEED}")  # pytest shows it with a failure
    return Random(SEED)


@dataclass(frozen=True)
class Stored:
    """What became of messages, by their positions."""

    rows: dict[int, list[str | None]]
    """The values of the columns after the key, as Postgres writes them."""
    rules: dict[int, str]
    """The rules that the other messages break."""


def store(
    settings: Settings, shell: Shell, columns: dict[str, str], messages: list[str], top: str = ""
) -> Stored:
    """Passes messages to a function with these columns, by their names, in a table of its own."""
    mapped = "".join(f'[[column]]\nname = "{name}"\n{rest}\n' for name, rest in columns.items())
    rules = passed(settings, shell, f'table = "t"\n{top}\n{KEY}{mapped}', messages)
    cells = ", ".join(f'"{name}"::text' for name in ["id", *columns])
    rows = [json.loads(line) for line in shell.sql(f"SELECT to_json(ARRAY[{cells}]) FROM t")]
    stored = Stored({int(identity): cells for identity, *cells in rows}, rules)
    assert sorted([*stored.rows, *stored.rules]) == list(range(len(messages)))
    return stored


def passed(settings: Settings, shell: Shell, mapping: str, messages: list[str]) -> dict[int, str]:
    """Passes messages to a function with this mapping. Returns the rules that the rejected ones break."""
    (shell.folder / "pipeline.toml").write_text(mapping)
    shell.output('sqs-to-postgres ddl | psql "$DATABASE_URL" -q -v ON_ERROR_STOP=1')
    with running(settings, shell) as function:
        return function.store_or_reject(messages)


def asked(settings: Settings, program: str, question: object) -> object:
    """What a program answers that needs requirements-references.txt, which `make test` installs."""
    python = settings.state / "venv" / "references" / "bin" / "python"
    if not python.exists():
        pytest.skip("skipped: `make test` installs what this compares with")
    command = [str(python), "-I", str(Path(__file__).parent / program)]
    done = subprocess.run(command, input=json.dumps(question), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
