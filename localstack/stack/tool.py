"""The command-line tool, and what the stack has it do."""

import os
import subprocess
from pathlib import Path

from stack import deploy, postgres
from stack.mapping import Mapping
from stack.report import step
from stack.settings import Settings, StackError


def path(settings: Settings) -> Path:
    return deploy.program(settings, "sqs-to-postgres")


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
