"""The 100 messages: send them, wait for the results, show them, and check the numbers.

Whatever is in the table or in the dead-letter queue already does not matter: everything is counted by the
ids of the messages of this run.
"""

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from stack import postgres, tool
from stack.deploy import Deployment, build_env, client
from stack.logs import log_lines
from stack.report import Progress, say, show, step, table
from stack.settings import Settings, StackError

T = TypeVar("T")

MESSAGES = Path("events/logins.jsonl")
BAD_MESSAGES = 3
"""How many lines of that file break the mapping, each in its own way."""
TIMEOUT_SECS = 300
LOGS_TIMEOUT_SECS = 180
ROWS_SHOWN = 5


@dataclass(frozen=True)
class Arrived:
    """Where the messages of a run are at one moment."""

    rows: int
    dead_letters: frozenset[str]
    waiting: int

    def __str__(self) -> str:
        return f"{self.rows} stored · {len(self.dead_letters)} dead letters · {self.waiting} in the queue"


def run(settings: Settings, deployment: Deployment) -> None:
    """Raises `StackError` unless exactly the good messages are stored and the bad ones are dead letters."""
    began = time.monotonic()
    rows_before = count_rows(settings)
    with step(f"sending the messages of {MESSAGES}"):
        ids = send(settings, deployment, (settings.root / MESSAGES).read_text().splitlines())
    say("· waiting until the queue is empty")
    arrived = wait_until_settled(settings, deployment, ids)
    took = time.monotonic() - began
    show_rows(settings, ids)
    show_dead_letters(settings, deployment, arrived.dead_letters)
    added = count_rows(settings) - rows_before
    show(f"\nsent {len(ids)} · stored {added} · dead letters {len(arrived.dead_letters)} · {took:.0f} s")
    expected = (len(ids) - BAD_MESSAGES, BAD_MESSAGES)
    if (added, len(arrived.dead_letters)) != expected:
        raise StackError(
            f"{expected[0]} new rows and {expected[1]} dead letters were expected, not {added} and "
            f"{len(arrived.dead_letters)}.{_last_error(settings, deployment)}"
        )


def send(settings: Settings, deployment: Deployment, bodies: list[str]) -> list[str]:
    """Sends every body, of one line each, and returns the ids of the messages in the same order."""
    done = subprocess.run(
        [tool.path(settings), "send", "--json", "--queue-url", deployment.queue_url],
        cwd=settings.root,
        env=build_env(settings),
        input="\n".join(bodies),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise StackError(f"the messages could not be sent: {done.stderr.strip()}")
    sent = [json.loads(line) for line in done.stdout.splitlines()]
    return [message["message_id"] for message in sorted(sent, key=lambda message: message["line"])]


def wait_until_settled(settings: Settings, deployment: Deployment, ids: list[str]) -> Arrived:
    """Waits until every message is a row or a dead letter and the queue is empty, or time is up."""
    progress, deadline = Progress(len(ids)), time.monotonic() + TIMEOUT_SECS
    while True:
        arrived = where_are(settings, deployment, ids)
        settled = arrived.rows + len(arrived.dead_letters)
        progress.show(settled, str(arrived))
        if (settled >= len(ids) and arrived.waiting == 0) or time.monotonic() > deadline:
            progress.end()
            return arrived
        time.sleep(0.3)


def where_are(settings: Settings, deployment: Deployment, ids: list[str]) -> Arrived:
    stored = postgres.query(settings, f"SELECT count(*) FROM user_logins WHERE {_among(ids)}")
    dead = frozenset(peek(settings, deployment.dead_letter_queue_url)).intersection(ids)
    return Arrived(int(stored), dead, queue_depth(settings, deployment.queue_url))


def until(condition: Callable[[], T], timeout_secs: float, otherwise: str) -> T:
    """Waits for a condition, and returns its result."""
    deadline = time.monotonic() + timeout_secs
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise StackError(f"{otherwise} within {timeout_secs:g} seconds.")
        time.sleep(0.2)
    return result


def count_rows(settings: Settings, table: str = "user_logins") -> int:
    return int(postgres.query(settings, f"SELECT count(*) FROM {table}"))


def queue_depth(settings: Settings, queue_url: str) -> int:
    """All messages of a queue."""
    return sum(queue_depths(settings, queue_url).values())


def queue_depths(settings: Settings, queue_url: str) -> dict[str, int]:
    """How many messages of a queue can be received, are in flight (or backed off), or are not yet due."""
    reply = client(settings, "sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])
    suffixes = {"waiting": "", "in flight": "NotVisible", "delayed": "Delayed"}
    number = "ApproximateNumberOfMessages"
    return {how: int(reply["Attributes"][f"{number}{suffix}"]) for how, suffix in suffixes.items()}


def peek(settings: Settings, queue_url: str) -> dict[str, str]:
    """The messages of a queue, id to body, without receiving them: LocalStack has a page for that.

    The id of a dead letter that the function sent is the one that its message had before.
    """
    query = urllib.parse.urlencode({"QueueUrl": queue_url, "ShowInvisible": "true"})
    page = f"{settings.endpoint}/_aws/sqs/messages?{query}"
    request = urllib.request.Request(page, headers={"Accept": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        result = json.load(reply)["ReceiveMessageResponse"]["ReceiveMessageResult"] or {}
    return {_first_id(message): message["Body"] for message in _listed(result.get("Message", []))}


def _first_id(message: dict[str, Any]) -> str:
    attributes = {of["Name"]: of["Value"] for of in _listed(message.get("MessageAttribute", []))}
    origin = attributes.get("origin", {}).get("StringValue")
    return str(json.loads(origin)["id"] if origin else message["MessageId"])


def _listed(found: list[dict[str, Any]] | dict[str, Any]) -> list[dict[str, Any]]:
    """LocalStack makes no list of one."""
    return found if isinstance(found, list) else [found]


def show_rows(settings: Settings, ids: list[str]) -> None:
    columns = (
        "left(message_id::text, 8) || '…' AS message_id, left(user_id, 8) || '…' AS user_id, device_type, "
        "left(masked_ip, 12) || '…' AS masked_ip, left(masked_device_id, 12) || '…' AS masked_device_id, "
        "locale, app_version, create_date"
    )
    rows = f"SELECT {columns} FROM user_logins WHERE {_among(ids)} ORDER BY user_logins.message_id"
    show(f"\nuser_logins, the first {ROWS_SHOWN} rows of this run")
    show(postgres.show(settings, f"{rows} LIMIT {ROWS_SHOWN}").rstrip())


def show_dead_letters(settings: Settings, deployment: Deployment, ids: frozenset[str]) -> None:
    reasons = wait_for_reasons(settings, deployment, ids)
    rows = [(message_id, reasons.get(message_id, "no reason in the logs")) for message_id in sorted(ids)]
    show("\ndead letters, each with the reason from the function's log")
    show(table([("message_id", "reason"), *rows]))


def wait_for_reasons(settings: Settings, deployment: Deployment, ids: frozenset[str]) -> dict[str, str]:
    """Message id to reason. LocalStack writes the logs of an invocation a moment after its answer."""
    deadline = time.monotonic() + LOGS_TIMEOUT_SECS
    while True:
        lines = log_lines(settings, deployment)
        reasons = {line["message_id"]: line["reason"] for line in lines if line.get("message_id") in ids}
        if len(reasons) == len(ids) or time.monotonic() > deadline:
            return reasons
        time.sleep(0.2)


def _last_error(settings: Settings, deployment: Deployment) -> str:
    """The reason of an invocation that failed as a whole, if there is one."""
    records = [line.get("record") for line in log_lines(settings, deployment)]
    errors = [record["error"] for record in records if record and "error" in record]
    return f" The function's last error: {errors[-1]}" if errors else ""


def _among(ids: list[str]) -> str:
    """A condition on message_id. The ids are SQS's own, so they need no quoting."""
    return f"message_id = ANY ('{{{','.join(ids)}}}')"
