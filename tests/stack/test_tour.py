"""The README's tour of the command line tool, typed literally: the output is what it says."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from shell import Shell

from stack import deploy
from stack.settings import Settings


@pytest.fixture
def tour(settings: Settings, shell: Shell) -> Iterator[Shell]:
    """A folder like the repository's, and a queue with another for its dead letters."""
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


def steps() -> list[tuple[str, str]]:
    """Each command of the tour and what it prints."""
    readme = (Settings.of_repo().root / "README.md").read_text()
    tour = readme.partition("### A tour\n")[2].partition("\n### ")[0]
    blocks = re.findall(r"^```console\n(.*?)^```$", tour, re.MULTILINE | re.DOTALL)
    commands = [step for block in blocks for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, output) for command, _, output in (step.partition("\n") for step in commands)]


def pattern(output: str) -> str:
    """Of an output in which `…` stands for some text, or in a line of its own for some lines."""
    lines = (re.escape(line).replace("…", ".*") for line in output.splitlines())
    return "".join("(.*\n)*" if line == ".*" else f"{line}\n" for line in lines)


def test_every_command_of_the_tour_prints_what_the_readme_shows(tour: Shell) -> None:
    typed = steps()
    for command, output in typed:
        printed = tour.run(f"({command}) 2>&1").stdout
        assert re.fullmatch(pattern(output), printed), f"$ {command}\n{printed}"
    shown = {command.split()[1] for command, _ in typed}
    assert shown >= {"infer", "explain", "ddl", "check", "send", "drain", "redrive", "token", "unmask"}
