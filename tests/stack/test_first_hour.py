"""From a queue to right rows in at most five commands and two edits, for each of eight producers."""

import json
import random
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from shell import Shell

from stack.deploy import client
from stack.example import tables
from stack.settings import Settings

MOST_COMMANDS, MOST_EDITS = 5, 2
SOME_MESSAGES_ARE_BAD = 1
"""The exit code of `explain` and `drain` then."""


@dataclass(frozen=True)
class Producer:
    """What to type for its queue, and what is right afterwards."""

    messages: Callable[[Settings], list[str]]
    key: str = ""
    """What is added to `infer`."""
    edits: list[tuple[str, str]] = field(default_factory=list)
    """A line of the mapping, as a pattern, and what it is replaced by."""
    right: dict[str, str] = field(default_factory=dict)
    """Queries, and what they give."""


def example(name: str) -> Callable[[Settings], list[str]]:
    """The messages of an example, of which some are bad."""
    return lambda settings: (settings.root / "examples" / f"{name}.jsonl").read_text().splitlines()


def readings(_: Settings) -> list[str]:
    """Devices that send some readings at a time. One sends its only reading without an array."""
    chance, at = random.Random(1), datetime(2026, 11, 2, 9, tzinfo=UTC)
    messages = []
    for number in range(50):
        times = [int((at + timedelta(seconds=60 * number + n)).timestamp() * 1000) for n in range(14)]
        read = [{"t": time, "v": round(chance.uniform(18, 24), 2), "q": "ok"} for time in times]
        device = {"device": f"d-{number % 7:04}", "fw": f"4.{number % 3}.1"}
        messages.append(json.dumps(device | {"readings": read[0] if number == 30 else read}))
    return messages


KNOWN = {name: Producer(example(name)) for name in ("github", "shopify", "stripe", "ses", "cloudtrail")}
"""`infer` proposes the mappings that were written for them: their rows are those of the examples."""
OTHERS = {
    "iot": Producer(
        readings,
        right={
            "SELECT count(*), count(DISTINCT device) FROM iot": "49|7",
            "SELECT count(*), min(t) AT TIME ZONE 'UTC' FROM iot_readings": f"{49 * 14}|2026-11-02 09:00:00",
            "SELECT pg_typeof(v), count(v) FROM iot_readings GROUP BY 1": f"double precision|{49 * 14}",
        },
    ),
    "debezium": Producer(
        example("debezium"),
        # A standard queue may deliver a deletion before the row: a tombstone remembers it.
        edits=[
            (f'name = "debezium_{table}"', f'name = "debezium_{table}"\ndeleted = "deleted_at"')
            for table in ("customers", "vouchers")
        ],
        right={
            # Lines 18 and 29 break only the narrower types of the example.
            "SELECT id, city FROM debezium_customers WHERE deleted_at IS NULL ORDER BY id": (
                "18|Zürich\n19|Genève\n20|Lausanne\n21|\n30|Genève\n99|Bern\n122|Thun"
            ),
            "SELECT id FROM debezium_customers WHERE deleted_at IS NOT NULL ORDER BY id": "17\n22",
            "SELECT seen_at AT TIME ZONE 'UTC' FROM debezium_customers WHERE id = 18": (
                "2026-11-02 08:59:00.005"
            ),
            "SELECT code, percent FROM debezium_vouchers WHERE deleted_at IS NULL ORDER BY code": (
                "AUTUMN|12.5\nTOO-FINE|1.005\nZERO|100.00"
            ),
        },
    ),
    "audit": Producer(
        example("audit"),
        key="--key id",
        # Some entries have JSON in a string.
        edits=[
            (rf'\{{ name = "{name}"', f'{{ name = "{name}", type = "jsonb", transform = ["json"] }},')
            for name in ("before", "after")
        ],
        right={
            # Times are of two kinds, two entries came twice, and the JSON of one is broken.
            "SELECT count(*), count(DISTINCT id), count(ts) FROM audit": "33|33|33",
            "SELECT min(ts) AT TIME ZONE 'UTC', max(ts) AT TIME ZONE 'UTC' FROM audit": (
                "2026-11-01 09:00:00.25|2026-11-02 09:03:29"
            ),
            "SELECT count(*) > 1 FROM audit WHERE jsonb_typeof(before) = 'object'": "t",
            "SELECT count(*) FROM audit WHERE jsonb_typeof(before) = 'string' AND before::text ~ '{'": "0",
            "SELECT DISTINCT length(masked_email) FROM audit WHERE masked_email IS NOT NULL": "64",
        },
    ),
}
PRODUCERS = KNOWN | OTHERS


@pytest.fixture
def queue(settings: Settings) -> Iterator[str]:
    sqs, name = client(settings, "sqs"), f"hour-{secrets.token_hex(4)}"
    url = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "60"})["QueueUrl"]
    yield name
    sqs.delete_queue(QueueUrl=url)


@pytest.mark.parametrize("name", PRODUCERS)
def test_five_commands_and_two_edits_lead_from_a_queue_to_right_rows(
    name: str, settings: Settings, shell: Shell, queue: str
) -> None:
    producer = PRODUCERS[name]
    shell = replace(shell, env=shell.env | settings.aws_env() | {"MASK_KEY": settings.identity.mask_key})
    sent = "\n".join(producer.messages(settings))
    shell.output(f"sqs-to-postgres send --queue-name {queue} --concurrency 1", sent)
    table = "" if name in KNOWN else f"--table {name} "
    commands = [
        f"sqs-to-postgres infer {table}{producer.key} --queue-name {queue} > {name}.toml",
        f"sqs-to-postgres explain --summary --pipeline {name}.toml --queue-name {queue}",
        f'sqs-to-postgres ddl --pipeline {name}.toml | psql "$DATABASE_URL" -qv ON_ERROR_STOP=1',
        f"sqs-to-postgres drain --pipeline {name}.toml --queue-name {queue}",
    ]
    assert len(commands) <= MOST_COMMANDS
    assert len(producer.edits) <= MOST_EDITS
    for command in commands:
        done = shell.run(command)
        assert done.returncode in (0, SOME_MESSAGES_ARE_BAD), f"$ {command}\n{done.stdout}{done.stderr}"
        if command == commands[0]:
            edit(shell, name, producer.edits)
    if name in KNOWN:
        expected = (settings.root / "examples" / f"{name}.rows").read_text()
        assert stored(shell) == counted(tables(expected))
    for query, result in producer.right.items():
        assert shell.sql(query) == result.splitlines(), query


def edit(shell: Shell, name: str, edits: list[tuple[str, str]]) -> None:
    """Each edit changes one line."""
    file = shell.folder / f"{name}.toml"
    for pattern, line in edits:
        text, count = re.subn(rf"(?m)^ *{pattern}.*$", line, file.read_text())
        assert count == 1, pattern
        file.write_text(text)


def counted(shown: str) -> dict[str, int]:
    """How many rows each table of a file of rows has."""
    blocks = [block.splitlines() for block in shown.strip().split("\n\n")]
    return {name: len(lines) for name, _, _, *lines in blocks}


def stored(shell: Shell) -> dict[str, int]:
    """How many rows each table has."""
    schemas = "table_schema NOT IN ('pg_catalog', 'information_schema')"
    names = shell.sql(
        f"SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE {schemas}"
    )
    return {name: int(shell.sql(f"SELECT count(*) FROM {name}")[0]) for name in names}
