"""What a person types when no stack is up."""

import socket
import sys
from pathlib import Path

import pytest

from stack import __main__ as commands
from stack.settings import Settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Commands find a state folder of their own, where nothing runs."""
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


def test_a_port_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCALSTACK_PORT", "4566a")
    assert stack(monkeypatch, "up") == 1
    assert "LOCALSTACK_PORT=4566a is no port number" in capsys.readouterr().err


def test_invoke_wants_a_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert stack(monkeypatch, "invoke", "events/none.json") == 1
    assert "there is no file 'events/none.json'" in capsys.readouterr().err
