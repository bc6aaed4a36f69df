"""The command-line tool, and what the stack has it do."""

import os
import subprocess
from pathlib import Path

from stack import postgres
from stack.deploy import build_env
from stack.mapping import Mapping
from stack.report import step
from stack.settings import Settings, StackError

TOOL = ("--locked", "--features", "cli", "--bin", "sqs-to-postgres")


def build(settings: Settings) -> None:
    """Compiles the tool, which shares with the function what is compiled already."""
    with step("compiling the command-line tool", chatty=True):
        if subprocess.run(["cargo", "build", *TOOL], cwd=settings.root, env=build_env(settings)).returncode:
            raise StackError("the command-line tool does not compile: cargo's message is above.")


def path(settings: Settings) -> Path:
    """Where `build` puts it, or `make test` keeps it."""
    built = settings.root / "target" / os.environ.get("CARGO_BUILD_TARGET", "") / "debug"
    return Path(os.environ.get("TESTED_PROGRAMS", built)) / "sqs-to-postgres"


def make_tables(settings: Settings, mapping: Mapping) -> None:
    """Creates what a mapping needs, or adapts what is there."""
    with step(f"the tables of {mapping.file.name}"):
        command = [path(settings), "ddl", "--diff", "--pipeline", mapping.file]
        # The tables as their owner, and then what the function's role still lacks.
        for url in (settings.admin_url, settings.app_url):
            # Of the environment only what has no say in which mapping and which database are meant.
            env = {"PATH": os.environ["PATH"], "DATABASE_URL": url}
            done = subprocess.run(command, env=env, text=True, capture_output=True)
            if done.returncode:
                raise StackError(done.stderr.strip().removeprefix("error: "))
            postgres.execute(settings, done.stdout)
