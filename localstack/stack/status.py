"""The state of the stack: its processes, and for each mapping its queues, tables and last batch."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

from botocore.exceptions import ClientError

from stack import emulator, logs, postgres, run
from stack.deploy import Deployment
from stack.processes import Daemon
from stack.report import counted, table
from stack.settings import LOOPBACK, Settings

Row = tuple[str, str, str]
T = TypeVar("T")
MISSING = "does not exist"
ERRORS_OF_MISSING = ("AWS.SimpleQueueService.NonExistentQueue", "ResourceNotFoundException")


def overview(settings: Settings, ports: Mapping[Daemon, int]) -> str:
    """As much of the state as is known while only parts of the stack run."""
    parts = {"": [(daemon.name, f"{LOOPBACK}:{port}", _process(daemon)) for daemon, port in ports.items()]}
    for deployment in Deployment.all(settings):
        parts[deployment.function_name] = _of_mapping(settings, deployment)
    rows = table([row for part in parts.values() for row in part]).splitlines()
    lines = []
    for name, part in parts.items():
        lines += ["", name] if name else []
        lines += [rows.pop(0) for _ in part]
    return "\n".join(lines)


def _of_mapping(settings: Settings, deployment: Deployment) -> list[Row]:
    rows: list[Row] = []
    if emulator.daemon(settings).pid():
        rows.append(_queue("queue", settings, deployment.queue_url))
        rows.append(_queue("dead-letter queue", settings, deployment.dead_letter_queue_url))
    if postgres.daemon(settings).pid():
        rows += [_table(settings, name) for name in deployment.tables]
    if emulator.daemon(settings).pid():
        rows += _last_batch(settings, deployment)
    return rows


def _process(daemon: Daemon) -> str:
    pid = daemon.pid()
    return f"up, process {pid}" if pid else "not running: make up"


def _table(settings: Settings, name: str) -> Row:
    there = postgres.query(settings, f"SELECT to_regclass($name${name}$name$)")
    now = counted(run.count_rows(settings, name), "row") if there else MISSING
    return "table", name.replace('"', ""), now


def _queue(what: str, settings: Settings, url: str) -> Row:
    name = url.rpartition("/")[2]
    depth = _unless_missing(lambda: run.queue_depths(settings, url))
    if depth is None:
        return what, name, MISSING
    others = [f"{count} {how}" for how, count in depth.items() if how != "waiting" and count]
    waiting = counted(depth["waiting"], "message")
    return what, name, " · ".join([f"{waiting} waiting", *others])


def _last_batch(settings: Settings, deployment: Deployment) -> list[Row]:
    line = _unless_missing(lambda: logs.last_batch(settings, deployment))
    if line is None:
        return [("last batch", "-", "none yet")]
    ago = (datetime.now().astimezone() - datetime.fromisoformat(line["timestamp"])).total_seconds()
    received = counted(line["received"], "message")
    if "reason" in line:
        return [("last batch", _ago(ago), f"{received}, failed: {line['reason']}")]
    came_to = f"{received}, {line['failed']} failed · {line['millis']:.0f} ms"
    rows = f"rows: {line['stored']} stored, {line['duplicates']} duplicate"
    return [("last batch", _ago(ago), came_to), ("", "", rows)]


def _unless_missing(read: Callable[[], T]) -> T | None:
    """`None` if a stack was deleted, and with it what is read."""
    try:
        return read()
    except ClientError as error:
        if error.response["Error"]["Code"] not in ERRORS_OF_MISSING:
            raise
        return None


def _ago(secs: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if secs >= size:
            return f"{secs / size:.0f} {unit} ago"
    return f"{max(secs, 0):.0f} s ago"
