"""A real server in a temporary folder."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack import postgres
from stack.processes import free_port, started_at
from stack.settings import Settings, StackError

REPO = Settings.of_repo().root


@pytest.fixture(scope="module")
def arguments() -> list[str]:
    """All arguments of the programs that were run until the server was up."""
    return []


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, arguments: list[str]) -> Iterator[Settings]:
    run = subprocess.run

    def noted(command: list[str], **options: object) -> "subprocess.CompletedProcess[str]":
        arguments.extend(command)
        return run(command, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSTGRES_PORT", str(free_port()))
        patch.setattr(postgres.subprocess, "run", noted)
        settings = Settings(REPO, tmp_path_factory.mktemp("a path with blanks"))
        settings.keep_identity()
        postgres.start(settings)
        patch.setattr(postgres.subprocess, "run", run)
        yield settings
        postgres.daemon(settings).stop()


def as_app(settings: Settings, sql: str) -> "subprocess.CompletedProcess[str]":
    command = [str(postgres.programs() / "psql"), settings.app_url, "-XAtc", sql]
    return subprocess.run(command, capture_output=True, text=True)


def test_starting_twice_is_harmless(settings: Settings) -> None:
    pid = postgres.daemon(settings).pid()
    postgres.start(settings)
    assert postgres.daemon(settings).pid() == pid


def test_the_functions_role_may_do_what_the_loader_does(settings: Settings) -> None:
    insert = (
        "INSERT INTO user_logins VALUES "
        "('00000000-0000-4000-8000-000000000001', 'u', NULL, 'a', 'b', NULL, 1, '2026-01-01') "
        "ON CONFLICT (message_id) DO UPDATE SET locale = EXCLUDED.locale"
    )
    assert as_app(settings, insert).stderr == ""
    assert as_app(settings, "SELECT user_id FROM user_logins").stdout == "u\n"


def test_the_functions_role_may_write_to_every_table_that_is_made_later(settings: Settings) -> None:
    postgres.execute(settings, "CREATE SCHEMA shop;\nCREATE TABLE shop.orders (id integer);\n")
    assert as_app(settings, "INSERT INTO shop.orders VALUES (1)").stderr == ""
    assert as_app(settings, "SELECT id FROM shop.orders").stdout == "1\n"


@pytest.mark.parametrize(
    "sql", ["DELETE FROM user_logins", "TRUNCATE user_logins", "DROP TABLE user_logins", "CREATE TABLE t ()"]
)
def test_the_functions_role_may_do_nothing_else(settings: Settings, sql: str) -> None:
    refused = as_app(settings, sql)
    assert refused.returncode != 0
    assert "permission denied" in refused.stderr or "must be owner" in refused.stderr


def test_no_program_has_a_password_among_its_arguments(settings: Settings, arguments: list[str]) -> None:
    assert str(postgres.programs() / "psql") in arguments
    secrets = (settings.identity.app_password, settings.identity.admin_password)
    assert not [argument for argument in arguments if any(secret in argument for secret in secrets)]


def test_a_wrong_password_is_refused(settings: Settings) -> None:
    url = settings.app_url.replace(settings.identity.app_password, "wrong")
    done = subprocess.run([str(postgres.programs() / "psql"), url, "-c", ""], capture_output=True, text=True)
    assert "password authentication failed" in done.stderr


@pytest.mark.parametrize(
    ("setting", "value"), [("fsync", "on"), ("listen_addresses", "127.0.0.1"), ("server_version_num", "18")]
)
def test_the_server_is_set_up_as_promised(settings: Settings, setting: str, value: str) -> None:
    assert postgres.query(settings, f"SHOW {setting}").startswith(value)


def test_it_does_not_run_as_root(settings: Settings) -> None:
    pid = postgres.daemon(settings).pid()
    own_view = Path(f"/proc/{pid}/uid_map").read_text().split()
    assert os.geteuid() != 0 or own_view[0] != "0" or Path(f"/proc/{pid}").stat().st_uid != 0


def test_after_a_stop_no_process_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PORT", str(free_port()))
    settings = Settings(REPO, tmp_path)
    settings.keep_identity()
    postgres.start(settings)
    server = postgres.daemon(settings)
    pid = server.pid()
    assert pid
    assert server.stop()
    assert started_at(pid) is None
    shutil.rmtree(settings.running)  # we may remove every file


def test_where_namespaces_are_forbidden_root_becomes_nobody_or_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(postgres, "USER_NAMESPACE", ["false"])
    monkeypatch.setattr(postgres.shutil, "chown", lambda *_: None)
    monkeypatch.setattr(postgres, "AS_NOBODY", ["env"])  # a prefix that changes nothing
    assert postgres._unprivileged(tmp_path) == ["env"]
    monkeypatch.setattr(postgres, "AS_NOBODY", ["no-such-program"])
    with pytest.raises(StackError, match="run make as another user"):
        postgres._unprivileged(tmp_path)
