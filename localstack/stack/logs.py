"""The function's log in readable form: one aligned line for each of its JSON lines.

What only machines read is omitted: metrics, and Lambda's own lines around an invocation that went well.
"""

import json
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from botocore.exceptions import EndpointConnectionError
from rich.console import Console
from rich.text import Text

from stack.deploy import Deployment, client
from stack.settings import Settings, StackError

HISTORY = 50
"""How many existing events are read first."""
POLL_SECS = 0.5
LATE_MS = 10_000
"""LocalStack writes the lines of an invocation when it ends; others may have written theirs since."""
LEVELS = {"ERROR": "bold red", "WARN": "yellow", "INFO": "green", "DEBUG": "blue", "TRACE": "dim"}
BATCH, BATCH_FAILED, INVOCATION_FAILED = "batch", "batch failed", "invocation failed"
MESSAGE_WIDTH, RULE_WIDTH = 20, 14
Event = dict[str, Any]
"""An event of CloudWatch Logs: `message`, `timestamp` in milliseconds, `eventId`."""


def follow(settings: Settings, deployment: Deployment) -> None:
    """Writes the last lines and then every new one, until it is interrupted."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        history = _events(settings, deployment, 0)
        for text in readable(history[-HISTORY:]):
            console.print(text)
        for text in readable(_new_events(settings, deployment, history)):
            console.print(text)
    except EndpointConnectionError:
        raise StackError("the stack has been stopped.") from None


def log_lines(settings: Settings, deployment: Deployment) -> list[dict[str, Any]]:
    """The lines that the function has logged so far and that are JSON objects."""
    events = _events(settings, deployment, 0)
    return [line for event in events if (line := _parsed(event["message"]))]


def last_batch(settings: Settings, deployment: Deployment) -> dict[str, Any] | None:
    """The line of the last batch, stored or not."""
    lines = reversed(log_lines(settings, deployment))
    return next((line for line in lines if line.get("message") in (BATCH, BATCH_FAILED)), None)


def _events(settings: Settings, deployment: Deployment, since_ms: int) -> list[Event]:
    pages = client(settings, "logs").get_paginator("filter_log_events")
    pages = pages.paginate(logGroupName=deployment.log_group, startTime=since_ms)
    return sorted((event for page in pages for event in page["events"]), key=lambda event: event["timestamp"])


def _new_events(settings: Settings, deployment: Deployment, events: list[Event]) -> Iterator[Event]:
    """The events after `events`."""
    while True:
        seen = {event["eventId"] for event in events}
        since_ms = events[-1]["timestamp"] - LATE_MS if events else 0
        time.sleep(POLL_SECS)
        events = _events(settings, deployment, since_ms) or events
        yield from (event for event in events if event["eventId"] not in seen)


def readable(events: Iterable[Event]) -> Iterator[Text]:
    """Log events as readable lines, each whole, so that it can be found with `grep`."""
    told = ""
    for event in events:
        fields = _fields(event["message"].strip())
        level, message, reason = (fields.pop(name, "") for name in ("level", "message", "reason"))
        written = datetime.fromtimestamp(event["timestamp"] / 1000).astimezone()
        if "timestamp" in fields:
            written = datetime.fromisoformat(fields.pop("timestamp")).astimezone()
        # The runtime and Lambda repeat the error of an invocation, which the function has logged in detail.
        repeated = reason if message == INVOCATION_FAILED else message
        if not (message or reason) or (told and told in repeated):
            continue
        yield _aligned(written, level, message, fields, " ".join(reason.splitlines()))
        told = reason or told


def _fields(text: str) -> dict[str, Any]:
    """The fields of a log line, whoever wrote it; none if only machines read it."""
    parsed = _parsed(text)
    if error := parsed.get("record", {}).get("error"):
        return {"level": "ERROR", "message": INVOCATION_FAILED, "reason": _of_lambda(error)}
    if "_aws" in parsed:
        metrics = parsed.pop("_aws")["CloudWatchMetrics"][0]["Metrics"]
        for name in ("Rule", "Function", "Table", *(metric["Name"] for metric in metrics)):
            parsed.pop(name, None)
        return parsed
    return parsed if parsed.keys() & {"record", "message"} else {"reason": text}


def _parsed(text: str) -> dict[str, Any]:
    """A JSON object; empty if it is something else."""
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _of_lambda(error: str) -> str:
    parsed = _parsed(error)
    return f"{parsed['errorType']}: {parsed['errorMessage']}" if "errorMessage" in parsed else error


def _aligned(written: datetime, level: str, message: str, fields: dict[str, Any], reason: str) -> Text:
    details = {
        "message failed": _message,
        "more messages failed": _more,
        BATCH: _batch,
        "retrying": _retry,
    }.get(message, _others)
    head = Text.assemble(
        (written.strftime("%H:%M:%S.%f")[:-3], "dim"),
        ("  " + level.ljust(5), LEVELS.get(level, "")),
        ("  " + message.ljust(MESSAGE_WIDTH), "bold"),
    )
    text = Text("  ").join(part for part in [head, *details(fields), Text(reason)] if part)
    text.rstrip()
    return text


def _message(fields: dict[str, Any]) -> list[Text]:
    rule, attempt = fields.get("rule", ""), fields.get("attempt", "?")
    id = Text(fields.get("message_id", ""))
    return [Text(rule.ljust(RULE_WIDTH), "yellow"), id, Text(f"try {attempt}", "dim")]


def _more(fields: dict[str, Any]) -> list[Text]:
    return [Text(fields["rule"].ljust(RULE_WIDTH), "yellow"), Text(f"{fields['messages']} without a line")]


def _batch(fields: dict[str, Any]) -> list[Text]:
    def count(name: str, style: str) -> Text:
        return Text(f"{fields[name]:>5} {name.replace('_', ' ')}", style if fields[name] else "dim")

    rows = ("duplicates", "stale", "deleted", "tombstones", "skipped", "empty_rows")
    extras = [name for name in (*rows, "dead_lettered", "retries") if fields.get(name)]
    return [
        count("received", ""),
        count("stored", "green"),
        count("failed", "yellow"),
        Text(f"{fields['millis']:>8.1f} ms"),
        *(count(name, "yellow") for name in extras),
        Text(fields["failed_by_rule"], "yellow"),
        Text("cold start" if fields.get("span", {}).get("cold_start") else "", "cyan"),
    ]


def _retry(fields: dict[str, Any]) -> list[Text]:
    return [Text(f"in {fields['wait_millis']} ms".ljust(RULE_WIDTH), "dim")]


def _others(fields: dict[str, Any]) -> list[Text]:
    pairs = (f"{name}={value}" for name, value in fields.items() if name != "span")
    return [Text("  ".join(pairs), "dim")]
