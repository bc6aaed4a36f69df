"""Background processes: recognised later, never confused with others, reliably stopped."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stack.processes import Daemon, require_free_port, started_at, wait_for_exit
from stack.settings import StackError

SLEEP = "import signal, time; {}; print('started', flush=True); time.sleep(600)"
SLEEPER = [sys.executable, "-c", SLEEP.format("pass")]
DEAF = [sys.executable, "-c", SLEEP.format("signal.signal(signal.SIGTERM, signal.SIG_IGN)")]


def start(daemon: Daemon, command: list[str]) -> int:
    daemon.start(command, dict(os.environ), daemon.folder)
    daemon.wait_until(lambda: daemon.log.stat().st_size > 0, timeout_secs=180)
    pid = daemon.pid()
    assert pid
    return pid


def test_a_daemon_is_known_by_a_later_command(tmp_path: Path) -> None:
    pid = start(Daemon("sleeper", tmp_path), SLEEPER)
    assert Daemon("sleeper", tmp_path).pid() == pid
    assert Daemon("sleeper", tmp_path).stop()
    assert started_at(pid) is None


def test_one_that_ended_before_it_was_recorded_is_not_running(tmp_path: Path) -> None:
    daemon = Daemon("short", tmp_path)
    (tmp_path / "short.pid").write_text(json.dumps({"pid": 2**22 + 1, "started_at": None}))
    assert daemon.pid() is None


def test_one_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    daemon = Daemon("deaf", tmp_path)
    pid = start(daemon, DEAF)
    assert daemon.stop(patience_secs=0.2)
    assert started_at(pid) is None


def test_stopping_twice_is_harmless(tmp_path: Path) -> None:
    daemon = Daemon("sleeper", tmp_path)
    start(daemon, SLEEPER)
    assert daemon.stop()
    assert not daemon.stop()


def test_a_pid_that_now_belongs_to_another_process_is_left_alone(tmp_path: Path) -> None:
    other = subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL)
    record = {"pid": other.pid, "started_at": (started_at(other.pid) or 0) - 1}
    (tmp_path / "sleeper.pid").write_text(json.dumps(record))
    daemon = Daemon("sleeper", tmp_path)
    assert daemon.pid() is None
    assert not daemon.stop()
    assert other.poll() is None
    other.kill()
    assert other.wait() == -signal.SIGKILL


def test_one_that_ends_while_starting_is_reported_with_its_last_output(tmp_path: Path) -> None:
    daemon = Daemon("broken", tmp_path)
    daemon.start(["sh", "-c", "echo no such setting; exit 3"], {}, tmp_path)
    with pytest.raises(StackError, match=r"(?s)broken ended while starting.*no such setting"):
        daemon.wait_until(lambda: False, timeout_secs=180)


def test_waiting_for_one_that_is_gone_returns_at_once() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert wait_for_exit(process.pid, timeout_secs=600)


def test_a_taken_port_is_named_with_who_needs_it_and_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(StackError, match=rf"port {port} is taken.*Postgres needs it.*POSTGRES_PORT=…"):
            require_free_port(port, "Postgres", "POSTGRES_PORT")
    require_free_port(port, "Postgres", "POSTGRES_PORT")
