"""A user's shell with the command-line tool, psql and a database."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

STAND_INS = str(Path(__file__).parent / "programs")
"""Of programs that a release needs and a minimal machine lacks. Last on the path: its own come first."""


def newcomer() -> dict[str, str]:
    """The environment of someone who has just cloned the repository: nothing is set but what `make` needs."""
    kept = ("PATH", "HOME", "PYTHON", "CARGO", "RUST", "TESTED", "LANG", "LC_")
    return {name: value for name, value in os.environ.items() if name.startswith(kept)}


def stack(*words: str) -> "subprocess.CompletedProcess[str]":
    """What `make` calls for its commands on the local stack."""
    return subprocess.run([sys.executable, "-P", "-m", "stack", *words], capture_output=True, text=True)


@dataclass(frozen=True)
class Shell:
    """A user's shell in a folder, with the tool, psql, and a database."""

    folder: Path
    env: dict[str, str]

    def run(self, script: str, stdin: str = "", **env: str) -> "subprocess.CompletedProcess[str]":
        command = ["bash", "-c", f"set -e\n{script}"]
        env = self.env | env
        return subprocess.run(command, cwd=self.folder, env=env, input=stdin, text=True, capture_output=True)

    def output(self, script: str, stdin: str = "", **env: str) -> str:
        done = self.run(script, stdin, **env)
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def sql(self, sql: str) -> list[str]:
        lines = self.output('psql "$DATABASE_URL" --no-psqlrc -qAt -v ON_ERROR_STOP=1', sql).split("\n")
        return lines[:-1]  # each ends with one

    def insert(self, table: str, rows: list[dict[str, object]]) -> None:
        source = f"json_populate_recordset(NULL::{table}, $json${json.dumps(rows)}$json$)"
        self.sql(f"INSERT INTO {table} SELECT * FROM {source}")

    def store(self, table: str, messages: str, **env: str) -> None:
        """Creates the table and stores the messages in it."""
        self.output('sqs-to-postgres ddl | psql "$DATABASE_URL" -q -v ON_ERROR_STOP=1', **env)
        explained = self.run("sqs-to-postgres explain --json --show-values", messages, **env)
        rows = [json.loads(line) for line in explained.stdout.splitlines()]
        columns = [row["columns"] for row in rows if row["outcome"] == "row"]
        assert columns, explained.stderr
        self.insert(table, [{c["column"]: c.get("token", c.get("value")) for c in row} for row in columns])
