"""A server whose commits wait for an absent standby: meanwhile nothing is acknowledged."""

import json
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack import postgres
from stack.deploy import program
from stack.processes import free_port
from stack.runtime_api import Invocation, RuntimeApi
from stack.settings import PATIENCE_SECS, Settings

IN_VAIN_SECS = 15
"""For an invocation that waits for the standby until the deadline; to insert before, it has most of them."""


@pytest.fixture
def server(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A separate server, since all sessions of a server wait for its standbys."""
    monkeypatch.setenv("POSTGRES_PORT", str(free_port()))
    own = Settings(settings.root, tmp_path)
    own.keep_identity()
    postgres.start(own)
    yield own
    postgres.daemon(own).stop()


@pytest.fixture
def function(server: Settings, steady_build: None) -> Iterator[RuntimeApi]:
    api = RuntimeApi()
    env = {
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "LAMBDA_TASK_ROOT": str(server.root),
        "AWS_LAMBDA_FUNCTION_NAME": "sqs-to-postgres",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "DATABASE_URL": f"{server.app_url}?sslmode=disable",
        "MASK_KEY": server.identity.mask_key,
    }
    bootstrap = program(server, "bootstrap")
    with subprocess.Popen([bootstrap], env=env, stdout=subprocess.DEVNULL) as process:
        yield api
        process.kill()
        api.close()


def wait_for_standby(server: Settings, name: str) -> None:
    postgres.query(server, f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    postgres.query(server, "SELECT pg_reload_conf()")
    patience = time.monotonic() + PATIENCE_SECS
    while postgres.query(server, "SHOW synchronous_standby_names") != name:
        assert time.monotonic() < patience


def batch(size: int) -> tuple[bytes, set[str]]:
    """An event of messages that are all good, and their ids."""
    body = json.dumps({"user_id": "u", "ip": "192.0.2.1", "device_id": "d"})
    # Every event of SQS contains the time of sending.
    sent = {"SentTimestamp": str(int(time.time() * 1000)), "ApproximateReceiveCount": "1"}
    ids = {str(uuid.uuid4()) for _ in range(size)}
    records = [{"messageId": id_, "body": body, "attributes": sent} for id_ in sorted(ids)]
    return json.dumps({"Records": records}).encode(), ids


def failed(function: RuntimeApi, event: bytes, timeout_secs: float = PATIENCE_SECS) -> set[str]:
    """The messages that the function does not acknowledge."""
    invocation = Invocation(str(uuid.uuid4()), "arn:of:the:function", "Root=1-2", event, timeout_secs)
    outcome = function.start(invocation).result(PATIENCE_SECS)
    if outcome.is_error:  # then none is
        return {record["messageId"] for record in json.loads(event)["Records"]}
    failures = json.loads(outcome.payload)["batchItemFailures"]
    return {failure["itemIdentifier"] for failure in failures}


@pytest.mark.parametrize("size", [2, 3_000])  # inserted, and perhaps copied
def test_rows_on_no_standby_are_not_acknowledged(server: Settings, function: RuntimeApi, size: int) -> None:
    warm, _ = batch(1)
    assert failed(function, warm) == set()
    event, ids = batch(size)
    wait_for_standby(server, "nobody")
    assert failed(function, event, IN_VAIN_SECS) == ids
    # Postgres has committed locally, because the function asked it to stop waiting.
    patience = time.monotonic() + PATIENCE_SECS
    while postgres.query(server, "SELECT count(*) FROM user_logins") != str(size + 1):
        assert time.monotonic() < patience
    assert failed(function, event, IN_VAIN_SECS) == ids, "a redelivery was acknowledged that is on no standby"
    wait_for_standby(server, "")
    assert failed(function, event) == set()
    assert postgres.query(server, "SELECT count(*) FROM user_logins") == str(size + 1)
