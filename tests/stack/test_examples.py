"""Examples with several tables through the deployed function: three levels, routes, and deletions."""

import re
import secrets
import subprocess
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from pages import pattern, steps
from shell import newcomer

from stack import __main__ as commands
from stack import postgres, run
from stack.deploy import Deployment, client, stop_polling
from stack.example import stored, tables
from stack.mapping import Mapping
from stack.settings import PATIENCE_SECS, Settings

DEPLOYED = ("eventbridge", "debezium")
REJECTED_OF_DEBEZIUM = (17, 18, 23, 24, 29)
"""Lines that break the mapping, each in its own way."""
Typed = "subprocess.CompletedProcess[str]"


@dataclass(frozen=True)
class Example:
    """One that is deployed under a name of its own, with a schema of its own."""

    settings: Settings
    mapping: Mapping
    messages: list[str]
    rows: str

    @property
    def deployment(self) -> Deployment:
        return Deployment.of(self.settings, self.mapping)

    def send(self, messages: list[str]) -> None:
        """And waits until they are stored, skipped, or dead letters."""
        run.send(self.settings, self.deployment, messages)
        queue = self.deployment.queue_url
        run.until(lambda: run.queue_depth(self.settings, queue) == 0, PATIENCE_SECS, "the queue is not empty")

    def dead_letters(self) -> list[str]:
        return list(run.peek(self.settings, self.deployment.dead_letter_queue_url).values())


@pytest.fixture(scope="module")
def examples(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Example]]:
    """All are deployed by one `make up`."""
    schema, folder = f"shop{secrets.token_hex(3)}", tmp_path_factory.mktemp("mappings")

    def copied(name: str) -> Example:
        toml, jsonl, rows = (
            (settings.root / "examples" / f"{name}.{end}").read_text() for end in ("toml", "jsonl", "rows")
        )
        file = folder / f"{name}-{schema}.toml"
        file.write_text(toml.replace('"shop.', f'"{schema}.'))
        return Example(
            settings, Mapping.of(file), jsonl.splitlines(), re.sub("^shop", schema, tables(rows), flags=re.M)
        )

    made = {name: copied(name) for name in DEPLOYED}
    try:
        commands.up(settings, Namespace(mappings=[example.mapping for example in made.values()]))
        yield made
    finally:
        for example in made.values():
            stop_polling(client(settings, "lambda"), example.mapping.name)
        postgres.query(settings, f"DROP SCHEMA IF EXISTS {schema} CASCADE")


def typed(settings: Settings, script: str) -> Typed:
    command = ["bash", "-e", "-o", "pipefail", "-c", script]
    return subprocess.run(command, cwd=settings.root, env=newcomer(), text=True, capture_output=True)


@pytest.mark.usefixtures("examples")  # so everything is compiled
def test_make_run_shows_an_order_with_its_lines_and_nothing_of_a_bad_one(settings: Settings) -> None:
    *_, (command, shown) = steps("README.md", "Try it")
    done = typed(settings, command)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(pattern(shown), done.stdout), done.stdout
    assert tables((settings.root / "examples" / "orders.rows").read_text()) in done.stdout
    assert "Compiling" not in done.stderr


def test_the_function_of_an_example_remains(settings: Settings) -> None:
    """The order without lines that the page sends is taken out again."""
    (first, _), (environment, _), (send, _), (read, _) = steps("docs/LOCAL.md", "Several tables")
    assert first == steps("README.md", "Try it")[-1][0]
    order = re.search(r"(?<=\"order_id\": )\d+", send)
    assert order
    try:
        done = typed(settings, f"{environment}\n{send}")
        assert done.returncode == 0, done.stderr
        found = run.until(
            lambda: re.search(rf"{order[0]}.*", typed(settings, f"{environment}\n{read}").stdout),
            PATIENCE_SECS,
            "the order is not stored",
        )
        assert "c-20" in found[0]
    finally:
        postgres.query(settings, f"DELETE FROM shop.orders WHERE order_id = {order[0]}")


def test_each_event_is_stored_in_the_table_of_its_kind(examples: dict[str, Example]) -> None:
    example = examples["eventbridge"]
    example.send(example.messages)
    assert stored(example.settings, example.mapping) == example.rows
    assert example.dead_letters() == [message for message in example.messages if "a lot" in message]


def test_changes_and_deletions_leave_the_rows_that_the_source_has(examples: dict[str, Example]) -> None:
    """The queue is not FIFO, so the deletions are sent when all else is stored."""
    example = examples["debezium"]
    first = next(number for number, message in enumerate(example.messages) if '"op": "d"' in message)
    example.send(example.messages[:first])
    assert len(stored(example.settings, example.mapping)) > len(example.rows)
    example.send(example.messages[first:])
    assert stored(example.settings, example.mapping) == example.rows
    rejected = [example.messages[line - 1] for line in REJECTED_OF_DEBEZIUM]
    assert sorted(example.dead_letters()) == sorted(rejected)
