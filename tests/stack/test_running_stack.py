"""What a person types, on the running stack."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stack import __main__ as commands
from stack.settings import Settings


def stack(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-P", "-m", "stack", *words], capture_output=True, text=True)


def pids() -> list[int | None]:
    return [daemon.pid() for daemon in commands._daemons(Settings.of_repo())]


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


def test_env_adds_only_aws_and_psql_to_the_path(shell: dict[str, str]) -> None:
    added = Path(shell["PATH"].split(":")[0])
    assert sorted(program.name for program in added.iterdir()) == ["aws", "psql"]


def test_nothing_listens_beyond_the_loopback_interface() -> None:
    import psutil

    for pid in filter(None, pids()):
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        sockets = [socket for process in family for socket in process.net_connections("inet")]
        listening = {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}
        assert listening <= {"127.0.0.1"}


def test_status_names_both_servers_and_all_three_places() -> None:
    printed = stack("status").stdout
    for what in ("postgres", "localstack", "queue", "dead-letter queue", "table user_logins"):
        assert what in printed


def test_invoke_without_a_watch_says_so() -> None:
    done = stack("invoke", "events/good-batch.json")
    assert done.returncode == 1
    assert "make watch" in done.stderr
    assert "Traceback" not in done.stderr
