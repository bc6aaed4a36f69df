"""From a file of samples to rows: what the README and docs/LOCAL.md show to type, typed for each example."""

import re
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pages import pattern, steps
from shell import newcomer, stack

from stack import postgres, run
from stack.deploy import client, stop_polling
from stack.settings import PATIENCE_SECS, Settings

PAGE = "docs/LOCAL.md"
EXAMPLES = {"orders": "orders.jsonl", "telemetry": "telemetry.jsonl", "users": "users-sns.jsonl"}
SOME_MESSAGES_ARE_BAD = ("explain", "drain")
"""What ends with 1 then."""


@dataclass(frozen=True)
class Journey:
    """A shell in which the page is typed, with another name in place of `orders`, and with other samples."""

    settings: Settings
    folder: Path
    example: str
    name: str

    def type(self, typed: list[tuple[str, str]]) -> None:
        """In one shell, so that what one command sets is there for the next; each prints what is shown."""
        end = secrets.token_hex()
        script = "\n".join(
            f"{{ {self._own(command)}\n}} 2>&1; code=$?; echo; echo {end}$code" for command, _ in typed
        )
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script],
            cwd=self.folder,
            env=newcomer(),
            stdin=subprocess.DEVNULL,
            text=True,
            capture_output=True,
        )
        ended = re.findall(rf"(.*?)\n{end}(\d+)\n", done.stdout, re.DOTALL)
        assert len(ended) == len(typed), done.stdout + done.stderr
        for (command, shown), (printed, code) in zip(typed, ended, strict=True):
            may_fail = any(f"sqs-to-postgres {name} " in command for name in SOME_MESSAGES_ARE_BAD)
            assert code == "0" or (code == "1" and may_fail), f"$ {command}\n{printed}"
            assert not shown or re.fullmatch(pattern(shown), printed), f"$ {command}\n{printed}"

    def _own(self, command: str) -> str:
        command = command.replace("events/orders.jsonl", f"{self.settings.root}/events/{self.example}")
        command = re.sub(r"(?<!/)\b(orders|people)\b", self.name, command)
        make = f"make -C {self.settings.root} "
        return command.replace("PIPELINE=", f"PIPELINE={self.folder}/").replace("make ", make)

    def rows(self) -> int:
        return run.count_rows(self.settings, self.name)


@pytest.fixture(params=EXAMPLES)
def journey(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Iterator[Journey]:
    name = f"{request.param}{secrets.token_hex(3)}"
    yield Journey(settings, tmp_path, EXAMPLES[request.param], name)
    sqs = client(settings, "sqs")
    for url in sqs.list_queues(QueueNamePrefix=f"{name}-cli").get("QueueUrls", []):
        sqs.delete_queue(QueueUrl=url)
    postgres.query(settings, f"DROP TABLE IF EXISTS {name}, {name}_lines, {name}_readings")


@pytest.fixture
def messages(journey: Journey, settings: Settings) -> int:
    return len((settings.root / "events" / journey.example).read_text().splitlines())


def test_samples_become_rows_through_a_function_with_their_mapping(
    journey: Journey, settings: Settings, messages: int
) -> None:
    (first, _), *typed = steps(PAGE, "With the function")
    names = (journey.name, f"{journey.name}-dlq")
    if journey.example != EXAMPLES["orders"]:
        first = first.removeprefix("make up && ")  # to deploy the shipped mapping once more takes its time
    try:
        journey.type([(first, ""), *typed])
        sqs = client(settings, "sqs")
        queue, dead = (sqs.get_queue_url(QueueName=name)["QueueUrl"] for name in names)
        run.until(lambda: run.queue_depth(settings, queue) == 0, PATIENCE_SECS, "the queue is not empty")
        bad = run.queue_depth(settings, dead)
        assert (journey.rows() + bad, bad < messages / 10) == (messages, True)
    finally:
        stop_polling(client(settings, "lambda"), journey.name)


def test_samples_become_rows_by_drain(journey: Journey, messages: int) -> None:
    queue = steps("docs/CLI.md", "A queue with its dead-letter queue")
    environment, *typed = steps(PAGE, "Without a function")
    journey.type([environment, *queue, *typed, *steps(PAGE, "A test for the mapping")])
    assert messages * 0.9 < journey.rows() <= messages


@pytest.mark.parametrize("journey", ["users"], indirect=True)
def test_the_key_of_an_aes_siv_mask_gives_back_the_values_of_a_table(journey: Journey) -> None:
    queue = steps("docs/CLI.md", "A queue with its dead-letter queue")
    environment, *_ = steps(PAGE, "Without a function")
    shown = steps("docs/CLI.md", "From a key to `unmask`")
    journey.type([environment, *queue, *shown])


def test_the_readme_shows_the_five_commands_of_the_page() -> None:
    section = "Use it for your own queue"
    assert steps("README.md", section)[:5] == steps(PAGE, "With the function")[:5]


def test_a_second_mapping_is_deployed_beside_the_first_without_compiling_again_and_missed_when_deleted(
    settings: Settings, tmp_path: Path
) -> None:
    name = f"second{secrets.token_hex(3)}"
    mapping = (settings.root / "pipeline.toml").read_text()
    (tmp_path / f"{name}.toml").write_text(mapping.replace('table = "user_logins"', f'table = "{name}"', 1))
    try:
        done = stack("up", str(tmp_path / f"{name}.toml"))
        assert done.returncode == 0, done.stderr
        assert "Finished" in done.stderr
        assert "Compiling" not in done.stderr
        functions = client(settings, "lambda")
        deployed = [functions.get_function(FunctionName=each) for each in (name, "sqs-to-postgres")]
        assert [function["Configuration"]["State"] for function in deployed] == ["Active", "Active"]
        assert run.count_rows(settings, name) == 0
    finally:
        client(settings, "cloudformation").delete_stack(StackName=name)
        postgres.query(settings, f"DROP TABLE IF EXISTS {name}")
    sqs = client(settings, "sqs")
    run.until(lambda: "QueueUrls" not in sqs.list_queues(QueueNamePrefix=name), PATIENCE_SECS, "it is there")
    told = stack("status").stdout.split("\n\n")
    (deleted,) = (part.splitlines() for part in told if part.startswith(f"{name}\n"))
    assert [line.split() for line in deleted] == [
        [name],
        ["queue", name, "does", "not", "exist"],
        ["dead-letter", "queue", f"{name}-dlq", "does", "not", "exist"],
        ["table", name, "does", "not", "exist"],
        ["last", "batch", "-", "none", "yet"],
    ]
