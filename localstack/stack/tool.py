"""The command-line tool, and what the stack has it do."""

import os
import shlex
import subprocess
from pathlib import Path

from stack import deploy, postgres
from stack.mapping import Mapping
from stack.report import say, step
from stack.settings import Settings, StackError

SOME_LEFT = 1
"""The exit code of `ddl --diff` if it leaves something out."""
LEFT_OUT = ("-- ~ ", "-- ! ", "-- ? ")
"""How it marks what rewrites a table, what can lose values, and what is to be done by hand."""


def path(settings: Settings) -> Path:
    return deploy.program(settings, "sqs-to-postgres")


def make_tables(settings: Settings, mapping: Mapping) -> None:
    """Creates what a mapping needs, or adds it to what is there, and shows each statement that it ran.

    What could change stored values, or would rewrite a table, remains for the user to do.
    """
    ran: list[str] = []
    left: list[str] = []
    with step(f"the tables of {mapping.file.name}"):
        # The tables as their owner, and then what the function's role still lacks.
        for url in (settings.admin_url, settings.app_url):
            plan = _plan(settings, mapping, url)
            postgres.execute(settings, plan)
            ran += statements(plan)
            left = left or [line for line in plan.splitlines() if line.startswith(LEFT_OUT)]
    for statement in ran:
        say(f"    {statement}")
    if left:
        steps = "".join(f"  {line.removeprefix('-- ')}\n" for line in left)
        command = f"sqs-to-postgres ddl --diff --pipeline {shlex.quote(str(mapping.file))}"
        raise StackError(
            f"the tables do not fit {mapping.file.name}, and `make up` changes no stored value:\n{steps}"
            f"Change the mapping, or the tables: `{command}` shows how, and prints statements with "
            "--allow-rewrite and --allow-loss. Then run `make up` again."
        )


def _plan(settings: Settings, mapping: Mapping, url: str) -> str:
    command = [path(settings), "ddl", "--diff", "--pipeline", mapping.file]
    # Of the environment only what has no say in which mapping and which database are meant.
    env = {"PATH": os.environ["PATH"], "DATABASE_URL": url}
    done = subprocess.run(command, env=env, text=True, capture_output=True)
    if done.returncode not in (0, SOME_LEFT):
        raise StackError(done.stderr.strip().removeprefix("error: "))
    return done.stdout


def statements(plan: str) -> list[str]:
    """The statements of a plan, of each its first line."""
    lines = [line for line in plan.splitlines() if line and not line.startswith("--")]
    first = [line for line, before in zip(lines, [";", *lines], strict=False) if before.endswith(";")]
    return [line if line.endswith(";") else f"{line} …" for line in first]
