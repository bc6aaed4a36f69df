"""The state of the stack in one table: processes, rows, messages, and the result of the last batch."""

from collections.abc import Mapping
from datetime import datetime

from stack import emulator, logs, postgres, run
from stack.deploy import Deployment
from stack.processes import Daemon
from stack.report import table
from stack.settings import LOOPBACK, Settings

Row = tuple[str, str, str]


def overview(settings: Settings, ports: Mapping[Daemon, int]) -> str:
    """As much of the state as is known while only parts of the stack run."""
    deployments = Deployment.all(settings)
    tables = dict.fromkeys(table for deployment in deployments for table in deployment.tables)
    rows = [(daemon.name, f"{LOOPBACK}:{port}", _process(daemon)) for daemon, port in ports.items()]
    if postgres.daemon(settings).pid():
        rows += [_table(settings, name) for name in tables]
    if emulator.daemon(settings).pid():
        rows += [row for deployment in deployments for row in _messages(settings, deployment)]
    return table([("what", "where", "now"), *rows])


def _process(daemon: Daemon) -> str:
    pid = daemon.pid()
    return f"up, process {pid}" if pid else "not running: make up"


def _table(settings: Settings, name: str) -> Row:
    there = postgres.query(settings, f"SELECT to_regclass($name${name}$name$)")
    now = f"{run.count_rows(settings, name)} rows" if there else "does not exist"
    return "table", name.replace('"', ""), now


def _messages(settings: Settings, deployment: Deployment) -> list[Row]:
    return [
        _queue("queue", settings, deployment.queue_url),
        _queue("dead-letter queue", settings, deployment.dead_letter_queue_url),
        _last_batch(settings, deployment),
    ]


def _queue(what: str, settings: Settings, url: str) -> Row:
    depth = run.queue_depths(settings, url)
    others = [f"{count} {how}" for how, count in depth.items() if how != "waiting" and count]
    return what, url.rpartition("/")[2], " · ".join([f"{depth['waiting']} waiting", *others])


def _last_batch(settings: Settings, deployment: Deployment) -> Row:
    line = logs.last_batch(settings, deployment)
    if line is None:
        return "last batch", deployment.function_name, "none yet"
    ago = (datetime.now().astimezone() - datetime.fromisoformat(line["timestamp"])).total_seconds()
    if "reason" in line:
        came_to = f"failed, {line['received']} received: {line['reason']}"
    else:
        counts = [f"{line[name]} {name}" for name in ("received", "stored", "duplicates", "failed")]
        came_to = " · ".join([*counts, f"{line['millis']:.1f} ms"])
    return "last batch", deployment.function_name, f"{_ago(ago)}: {came_to}"


def _ago(secs: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if secs >= size:
            return f"{secs / size:.0f} {unit} ago"
    return f"{max(secs, 0):.0f} s ago"
