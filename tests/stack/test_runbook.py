"""The commands of docs/RUNBOOK.md work: the flow is stopped, dead letters are replayed."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from stack import __main__ as commands
from stack import deploy, run
from stack.deploy import Deployment
from stack.settings import PATIENCE_SECS, Settings


@pytest.fixture
def settings() -> Settings:
    return Settings.of_repo()


@pytest.fixture
def deployment(settings: Settings) -> Iterator[Deployment]:
    """Afterwards the flow is resumed, and the replayed messages are removed."""
    deployment = Deployment.of(settings)
    yield deployment
    for url in (deployment.queue_url, deployment.dead_letter_queue_url):
        deploy.client(settings, "sqs").purge_queue(QueueUrl=url)
    functions = deploy.client(settings, "lambda")
    name = deployment.function_name
    mapping = functions.list_event_source_mappings(FunctionName=name)["EventSourceMappings"][0]["UUID"]
    wait_for(lambda: functions.get_event_source_mapping(UUID=mapping)["State"] == "Disabled")
    functions.update_event_source_mapping(UUID=mapping, Enabled=True)
    wait_for(lambda: functions.get_event_source_mapping(UUID=mapping)["State"] == "Enabled")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def typed(settings: Settings) -> str:
    """All of its commands, except the one that discards dead letters."""
    text = (settings.root / "docs" / "RUNBOOK.md").read_text()
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return "\n".join(["set -euo pipefail", *(line for line in lines if "purge-queue" not in line)])


def test_its_commands_stop_the_flow_and_replay_a_dead_letter(
    settings: Settings, deployment: Deployment
) -> None:
    letter = {"QueueUrl": deployment.dead_letter_queue_url, "MessageBody": "a dead letter"}
    deploy.client(settings, "sqs").send_message(**letter)
    path = f"{commands._links(settings)}:{os.environ['PATH']}"
    env = os.environ | settings.aws_env() | {"PATH": path}
    done = subprocess.run(["bash", "-c", typed(settings)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: "a dead letter" in run.peek(settings, deployment.queue_url).values())
    assert run.queue_depth(settings, deployment.dead_letter_queue_url) == 0
