"""The commands of the README and of the tour of the command-line tool print what the pages show."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pages import pattern, steps
from shell import Shell

from stack import deploy
from stack.settings import Settings


@pytest.fixture
def tour(settings: Settings, shell: Shell) -> Iterator[Shell]:
    """A folder like the repository's, a queue and its dead-letter queue."""
    (shell.folder / "events").symlink_to(settings.root / "events")
    sqs = deploy.client(settings, "sqs")
    dead = sqs.create_queue(QueueName=f"{shell.folder.name}-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 10})
    attributes = {"RedrivePolicy": policy, "VisibilityTimeout": "185", "MessageRetentionPeriod": "345600"}
    queue = sqs.create_queue(QueueName=f"{shell.folder.name}", Attributes=attributes)["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=dead, Attributes={"MessageRetentionPeriod": "1209600"})
    yield replace(
        shell, env=shell.env | settings.aws_env() | {"QUEUE_URL": queue, "DEAD_LETTER_QUEUE_URL": dead}
    )
    for url in (queue, dead):
        sqs.delete_queue(QueueUrl=url)


def test_every_command_of_the_tour_prints_what_the_page_shows(tour: Shell) -> None:
    typed = steps("docs/CLI.md", "A tour")
    for command, output in typed:
        printed = tour.run(f"({command}) 2>&1").stdout
        assert re.fullmatch(pattern(output), printed), f"$ {command}\n{printed}"
    shown = {command.split()[1] for command, _ in typed}
    assert shown >= {"infer", "explain", "ddl", "check", "send", "drain", "redrive", "token", "unmask"}


def test_the_commands_of_the_readme_for_aws_make_a_table_that_is_ready_and_deploy_its_mapping(
    shell: Shell, settings: Settings
) -> None:
    *_, ddl, check, deploy = (command for command, _ in steps("README.md", "Use it for your own queue"))
    (shell.folder / "orders.toml").write_text((settings.root / "events" / "orders.toml").read_text())
    assert shell.output(ddl) == "CREATE TABLE\nCREATE TABLE\n"
    assert "\nready: 0 failures" in shell.output(check)
    # There is nobody to answer its questions.
    planned = shell.output(f"{deploy} --dry-run --directory {settings.root}")
    assert 'explain --pipeline "orders.toml"' in planned
    assert "sam deploy --guided" in planned


@pytest.fixture
def readme(settings: Settings) -> str:
    return (settings.root / "README.md").read_text()


def test_the_message_of_the_readme_becomes_its_row(shell: Shell, readme: str) -> None:
    [message, *_] = re.findall(r"^```json\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    [mapping] = re.findall(r"^```toml\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    (shell.folder / "pipeline.toml").write_text(mapping)
    shell.store("orders", message)
    [head, _, row] = re.findall(r"^\| .* \|\n\|---.*\|\n\| .* \|$", readme, re.MULTILINE)[0].splitlines()
    columns, shown = ([cell.strip() for cell in line.strip("|").split("|")] for line in (head, row))
    [stored] = shell.sql(f"SELECT {', '.join(columns)} FROM orders")
    assert re.fullmatch(pattern("|".join(shown)), f"{stored}\n")


def test_the_recorded_session_of_the_readme_is_what_the_tool_prints(
    settings: Settings, tool: Path, tmp_path: Path
) -> None:
    recorded = tmp_path / "session.svg"
    program = settings.root / "release" / "session.py"
    subprocess.run([sys.executable, program, tool, recorded], check=True)
    assert recorded.read_text() == (settings.root / "docs" / "session.svg").read_text()
    ElementTree.parse(recorded)
