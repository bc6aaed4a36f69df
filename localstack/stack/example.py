"""An example: its messages through its queue and its function, and the rows of all its tables.

The messages leave the same rows however often they are sent.
"""

import json
import time

from stack import postgres, run
from stack.deploy import Deployment
from stack.mapping import Mapping
from stack.report import say, show, step
from stack.settings import Settings, StackError

WITHOUT_ROWS = "\nmessages without rows\n"
"""Begins what `sqs-to-postgres test` expects of messages that become no row."""
REQUEST = 10
"""How many messages SQS takes at once."""


def run_example(settings: Settings, mapping: Mapping) -> None:
    """Raises `StackError` unless the tables then hold the rows that the example shows."""
    began, deployment = time.monotonic(), Deployment.of(settings, mapping)
    messages = mapping.file.with_suffix(".jsonl")
    with step(f"sending the messages of {mapping.file.parent.name}/{messages.name}"):
        ids = send_in_order(settings, deployment, messages.read_text().splitlines())
    say("· waiting until the queue is empty")
    run.until(
        lambda: run.queue_depth(settings, deployment.queue_url) == 0,
        run.TIMEOUT_SECS,
        "the queue is not empty",
    )
    dead = frozenset(run.peek(settings, deployment.dead_letter_queue_url)).intersection(ids)
    rows = stored(settings, mapping)
    show(f"\n{rows.rstrip()}")
    if dead:
        run.show_dead_letters(settings, deployment, dead)
    show(f"\nsent {len(ids)} · dead letters {len(dead)} · {time.monotonic() - began:.0f} s")
    expected = mapping.file.with_suffix(".rows")
    if rows != tables(expected.read_text()):
        raise StackError(f"these are not the rows of {expected}: has the mapping or a table been changed?")


def tables(expected: str) -> str:
    """The tables of a file of expected rows."""
    return expected.partition(WITHOUT_ROWS)[0]


def send_in_order(settings: Settings, deployment: Deployment, bodies: list[str]) -> list[str]:
    """One request after the other, so that no deletion overtakes the row that it deletes; returns the ids."""
    requests = [bodies[start : start + REQUEST] for start in range(0, len(bodies), REQUEST)]
    return [id for request in requests for id in run.send(settings, deployment, request)]


def stored(settings: Settings, mapping: Mapping) -> str:
    """Each table with its name, in the order of its key, as psql draws it.

    Tokens are numbered, because they depend on the mask key of the stack: equal numbers are equal tokens.
    """
    shown, tokens = [], dict[str, str]()
    all_columns, all_masked = mapping.columns(), mapping.masked()
    for table, key in mapping.keys().items():
        order, masked = f"ORDER BY {', '.join(key)}", all_masked[table]
        if masked:
            array = f"json_agg(json_build_array({', '.join(masked)}) {order})"
            rows = json.loads(postgres.query(settings, f"SELECT coalesce({array}, '[]') FROM {table}"))
            for token in (token for row in rows for token in row if token):
                tokens.setdefault(token, f"token {len(tokens) + 1}")
        columns = ", ".join(
            f"'{json.dumps(tokens)}'::jsonb ->> {name} AS {name}" if name in masked else name
            for name in all_columns[table]
        )
        drawn = postgres.show(settings, f"SELECT {columns} FROM {table} {order}")
        lines = (line.rstrip() for line in drawn.strip("\n").splitlines())
        shown.append("\n".join([table.replace('"', ""), *lines, ""]))
    return "\n".join(shown)
