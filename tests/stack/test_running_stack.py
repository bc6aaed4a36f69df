"""The commands on the running stack."""

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from shell import stack

from stack import __main__ as commands
from stack import run
from stack.deploy import Deployment
from stack.settings import PATIENCE_SECS, Settings


def pids() -> list[int | None]:
    return [daemon.pid() for daemon in commands._daemons(Settings.of_repo())]


def send_bad() -> str:
    settings = Settings.of_repo()
    return run.send(settings, Deployment.of(settings), ["no JSON"])[0]


@pytest.fixture(scope="module")
def told() -> str:
    """The id of a bad message that the log mentions."""
    message_id, settings = send_bad(), Settings.of_repo()
    assert run.wait_for_reasons(settings, Deployment.of(settings), frozenset([message_id]))
    return message_id


class Following:
    """`logs` while it runs, and its output so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", output: int) -> None:
        self.process, self._output, self.printed = process, output, ""

    def wait_for(self, text: str) -> None:
        while text not in self.printed:
            readable, _, _ = select.select([self._output], [], [], PATIENCE_SECS)
            assert readable, self.printed
            more = os.read(self._output, 65_536).decode()
            assert more, f"it has ended: {self.printed}"
            self.printed += more


@contextmanager
def following(stdout: int, output: int | None = None) -> Iterator[Following]:
    """Interrupts it at the end, which counts as success."""
    command = [sys.executable, "-P", "-m", "stack", "logs"]
    environment = os.environ | {"TERM": "xterm"}
    with subprocess.Popen(command, stdout=stdout, env=environment, preexec_fn=_heed_interrupts) as process:
        try:
            yield Following(process, output or process.stdout.fileno())
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_SECS) == 0
        finally:
            process.kill()


def _heed_interrupts() -> None:
    """A shell makes background processes, and so everything started here, ignore interrupts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def shell() -> dict[str, str]:
    """The environment of a shell that has evaluated `make env`."""
    printed = stack("env").stdout
    assert all(line.startswith("export ") for line in printed.splitlines())
    script = f"{printed}\nenv -0"
    bash = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    out = subprocess.run(["bash", "-c", script], env=bash, capture_output=True, text=True, check=True).stdout
    return dict(pair.split("=", 1) for pair in out.split("\0") if pair)


def run_in(shell: dict[str, str], command: str) -> str:
    done = subprocess.run(["bash", "-c", command], env=shell, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_up_again_changes_nothing() -> None:
    before = pids()
    assert None not in before
    again = stack("up")
    assert again.returncode == 0, again.stderr
    assert pids() == before
    # The end says what to do next.
    up, step, then = again.stderr.splitlines()[-3:]
    assert up == "up: queue sqs-to-postgres"
    assert step == 'next: eval "$(make -s env)" && sqs-to-postgres send FILE'
    assert then == "then: make status; make logs"


def test_another_port_is_refused_while_it_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALSTACK_PORT", "4999")
    refused = stack("up")
    assert refused.returncode == 1
    assert "run `make down` before LOCALSTACK_PORT=" in refused.stderr


def test_env_serves_psql(shell: dict[str, str]) -> None:
    assert run_in(shell, 'psql "$DATABASE_URL" -Atc "SELECT count(*) >= 0 FROM user_logins"') == "t\n"


def test_env_serves_aws(shell: dict[str, str]) -> None:
    get = "aws sqs get-queue-attributes --attribute-names QueueArn --output text --queue-url"
    assert ":sqs-to-postgres\n" in run_in(shell, f'{get} "$QUEUE_URL"')
    assert ":sqs-to-postgres-dlq\n" in run_in(shell, f'{get} "$DLQ_URL"')


def test_env_adds_only_aws_psql_and_the_tool_to_the_path(shell: dict[str, str]) -> None:
    added = Path(shell["PATH"].split(":")[0])
    assert sorted(program.name for program in added.iterdir()) == ["aws", "psql", "sqs-to-postgres"]


def test_nothing_listens_beyond_the_loopback_interface() -> None:
    import psutil

    for pid in filter(None, pids()):
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
                sockets = process.net_connections("inet")
                listening = {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}
                assert listening <= {"127.0.0.1"}


def test_status_says_what_runs_and_for_each_mapping_where_what_is_and_what_was_last(told: str) -> None:
    processes, shipped, *_ = stack("status").stdout.split("\n\n")
    assert re.fullmatch(r"(  (postgres|localstack) +127\.0\.0\.1:\d+ +up, process \d+\n?){2}", processes)
    name, *lines = shipped.splitlines()
    assert name == "sqs-to-postgres"
    shown = (
        r"  queue              sqs-to-postgres +\d+ messages? waiting.*",
        r"  dead-letter queue  sqs-to-postgres-dlq +\d+ messages? waiting.*",
        r"  table              user_logins +\d+ rows?",
        r"  last batch         \d+ \w+ ago +1 message, 1 failed · \d+ ms",
        r" +rows: 0 stored, 0 duplicate",
    )
    assert len(lines) == len(shown)
    for line, pattern in zip(lines, shown, strict=True):
        assert re.fullmatch(pattern, line), line


def test_logs_show_what_was_and_what_comes_and_are_plain_when_piped(told: str) -> None:
    with following(subprocess.PIPE) as logs:
        logs.wait_for(f"WARN   message failed        body_not_json   {told}  try ")
        logs.wait_for(f"WARN   message failed        body_not_json   {send_bad()}  try 1")
    assert "\x1b" not in logs.printed
    assert "MessagesReceived" not in logs.printed


def test_logs_are_coloured_at_a_terminal(told: str) -> None:
    ours, theirs = pty.openpty()
    with following(theirs, ours) as logs:
        logs.wait_for("\x1b[33m  WARN ")
        logs.wait_for(told)
