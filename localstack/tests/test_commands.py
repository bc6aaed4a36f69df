"""The commands when no stack is up."""

import socket
import sys
from pathlib import Path

import pytest

from stack import __main__ as commands
from stack import deploy, emulator, postgres
from stack.processes import require_free_port
from stack.settings import LOOPBACK, Settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Commands use their own state folder, in which nothing runs."""
    settings = Settings(Settings.of_repo().root, tmp_path)
    monkeypatch.setattr(Settings, "of_repo", lambda: settings)
    return settings


def stack(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["stack", *words])
    return commands.main()


def test_env_prints_nothing_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stack(monkeypatch, "env") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "the stack is not up: run `make up` first" in printed.err


def test_down_is_harmless(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert stack(monkeypatch, "down") == 0
    assert "was not up" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "who"), [("POSTGRES_PORT", "postgres"), ("LOCALSTACK_PORT", "localstack")]
)
def test_a_taken_port_stops_up_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    elsewhere: Settings,
    variable: str,
    who: str,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as free:
        port, other = server.getsockname()[1], free.getsockname()[1]
        free.close()
        for name in ("POSTGRES_PORT", "LOCALSTACK_PORT"):
            monkeypatch.setenv(name, str(port if name == variable else other))
        assert stack(monkeypatch, "up") == 1
    error = capsys.readouterr().err
    assert f"port {port} is taken" in error
    assert f"{who} needs it" in error
    assert f"{variable}=…" in error
    assert [daemon.pid() for daemon in commands._daemons(elsewhere)] == [None, None]


@pytest.fixture
def broken_postgres(elsewhere: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Nothing is compiled, LocalStack starts, and Postgres cannot start."""
    programs = elsewhere.state / "programs"
    programs.mkdir()
    for name in ("initdb", "postgres"):
        (programs / name).write_text("#!/bin/sh\necho 'no space left on device'; exit 1\n")
        (programs / name).chmod(0o755)
    monkeypatch.setattr(postgres, "programs", lambda: programs)
    monkeypatch.setattr(postgres, "_unprivileged", lambda _: [])
    monkeypatch.setattr(deploy, "build", lambda _: None)
    with socket.create_server((LOOPBACK, 0)) as one, socket.create_server((LOOPBACK, 0)) as other:
        monkeypatch.setenv("POSTGRES_PORT", str(one.getsockname()[1]))
        monkeypatch.setenv("LOCALSTACK_PORT", str(other.getsockname()[1]))
    return elsewhere


@pytest.mark.parametrize("command", ["up", "run"])
def test_what_was_started_is_stopped_when_the_rest_cannot_start(
    broken_postgres: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    assert stack(monkeypatch, command) == 1
    assert "no space left on device" in capsys.readouterr().err
    try:
        assert emulator.daemon(broken_postgres).log.exists()
        assert emulator.daemon(broken_postgres).pid() is None
        require_free_port(broken_postgres.identity.localstack_port, "LocalStack", "LOCALSTACK_PORT")
    finally:
        emulator.daemon(broken_postgres).stop()


def test_what_was_up_before_stays_up_when_the_rest_cannot_start(
    broken_postgres: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_postgres.keep_identity()
    emulator.start(broken_postgres)
    pid = emulator.daemon(broken_postgres).pid()
    try:
        assert stack(monkeypatch, "up") == 1
        assert emulator.daemon(broken_postgres).pid() == pid is not None
    finally:
        emulator.daemon(broken_postgres).stop()


def test_an_invalid_port_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCALSTACK_PORT", "4566a")
    assert stack(monkeypatch, "up") == 1
    assert "LOCALSTACK_PORT=4566a is not a port number" in capsys.readouterr().err


def test_invoke_requires_a_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert stack(monkeypatch, "invoke", "events/none.json") == 1
    assert "there is no file 'events/none.json'" in capsys.readouterr().err
