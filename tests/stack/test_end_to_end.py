"""The deployed stack, end to end: real messages, a real queue, the real function, a real table.

What is stored is worked out here a second time, in Python and without the function's mapping, so that a
mistake in the mapping or in the masking does not go unseen.
"""

import hashlib
import hmac
import json
import time
from base64 import b64decode
from datetime import UTC, datetime
from typing import Any

import pytest

from stack import deploy, postgres, run
from stack.deploy import Deployment
from stack.settings import Settings

GOOD_BODY = {"user_id": "u-1", "app_version": "4.2", "ip": "192.0.2.1", "device_id": "dev-1"}


@pytest.fixture(scope="session")
def mask_key(settings: Settings) -> bytes:
    """The key from Secrets Manager, as for the function."""
    secrets_manager = deploy.client(settings, "secretsmanager")
    secret = secrets_manager.get_secret_value(SecretId=deploy.MASK_SECRET)["SecretString"]
    return b64decode(json.loads(secret)["mask_key"])


@pytest.fixture(scope="module")
def sent(settings: Settings, deployment: Deployment) -> dict[str, str]:
    """events/logins.jsonl, sent: message id to body."""
    lines = (settings.root / run.MESSAGES).read_text().splitlines()
    return dict(zip(run.send(settings, deployment, lines), lines, strict=True))


@pytest.fixture(scope="module")
def arrived(settings: Settings, deployment: Deployment, sent: dict[str, str]) -> run.Arrived:
    return run.wait_until_settled(settings, deployment, list(sent))


def expected_row(message_id: str, body: str, key: bytes) -> dict[str, object] | None:
    """The row of a message without the date, or None if it must not be stored."""
    try:
        message = json.loads(body)
        version = message.get("app_version")
        return {
            "message_id": message_id,
            "user_id": message["user_id"],
            "device_type": message.get("device_type"),
            "masked_ip": hmac.new(key, message["ip"].encode(), hashlib.sha256).hexdigest(),
            "masked_device_id": hmac.new(key, message["device_id"].encode(), hashlib.sha256).hexdigest(),
            "locale": message.get("locale"),
            "app_version": None if version is None else int(version.split(".")[0]),
        }
    except (ValueError, KeyError):
        return None


def stored_rows(settings: Settings, ids: list[str]) -> dict[str, dict[str, Any]]:
    among = f"message_id = ANY ('{{{','.join(ids)}}}')"
    rows = postgres.query(settings, f"SELECT row_to_json(user_logins) FROM user_logins WHERE {among}")
    return {row["message_id"]: row for row in map(json.loads, rows.splitlines())}


def event_of(bodies: dict[str, str], queue_arn: str) -> dict[str, object]:
    """The event that the event source mapping would pass to the function."""
    now_ms = str(int(time.time() * 1000))
    attributes = {
        "ApproximateReceiveCount": "2",
        "SentTimestamp": now_ms,
        "SenderId": "test",
        "ApproximateFirstReceiveTimestamp": now_ms,
    }
    shared = {
        "receiptHandle": "handle",
        "attributes": attributes,
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": queue_arn.split(":")[3],
    }
    return {"Records": [{"messageId": id_, "body": body, **shared} for id_, body in bodies.items()]}


def invoke(settings: Settings, deployment: Deployment, bodies: dict[str, str]) -> set[str]:
    """Calls the function through the Lambda API, and returns the ids that it reports as failed."""
    queue = {"QueueUrl": deployment.queue_url, "AttributeNames": ["QueueArn"]}
    queue_arn = deploy.client(settings, "sqs").get_queue_attributes(**queue)["Attributes"]["QueueArn"]
    answer = deploy.client(settings, "lambda").invoke(
        FunctionName=deployment.function_name, Payload=json.dumps(event_of(bodies, queue_arn))
    )
    payload = json.load(answer["Payload"])
    assert "FunctionError" not in answer, payload
    return {failure["itemIdentifier"] for failure in payload["batchItemFailures"]}


def test_the_good_messages_are_rows_and_the_bad_ones_dead_letters(
    sent: dict[str, str], arrived: run.Arrived, mask_key: bytes
) -> None:
    bad = {id_ for id_, body in sent.items() if expected_row(id_, body, mask_key) is None}
    assert len(bad) == run.BAD_MESSAGES
    assert arrived.dead_letters == bad
    assert arrived.rows == len(sent) - len(bad)
    assert arrived.waiting == 0


def test_every_stored_value_is_what_the_mapping_says(
    settings: Settings, sent: dict[str, str], arrived: run.Arrived, mask_key: bytes
) -> None:
    rows = stored_rows(settings, list(sent))
    assert len(rows) == arrived.rows
    today = datetime.now(UTC).date().isoformat()
    for id_, row in rows.items():
        day = row.pop("create_date")
        assert row == expected_row(id_, sent[id_], mask_key)
        assert day == today or datetime.now(UTC).hour == 0  # sent just before midnight


def test_every_dead_letter_has_its_reason_in_the_logs(
    settings: Settings, deployment: Deployment, sent: dict[str, str], arrived: run.Arrived
) -> None:
    reasons = run.wait_for_reasons(settings, deployment, arrived.dead_letters)
    assert set(reasons) == arrived.dead_letters
    assert len(set(reasons.values())) == run.BAD_MESSAGES


def test_no_log_line_holds_a_value_of_a_message(
    settings: Settings, deployment: Deployment, sent: dict[str, str], arrived: run.Arrived
) -> None:
    logged = json.dumps(run.log_lines(settings, deployment))
    for id_ in arrived.dead_letters:
        assert id_ in logged
    for body in sent.values():
        ip = body.partition('"ip": "')[2].partition('"')[0]
        assert not ip or ip not in logged


def test_the_same_batch_again_adds_no_row(
    settings: Settings, deployment: Deployment, sent: dict[str, str], arrived: run.Arrived
) -> None:
    before = stored_rows(settings, list(sent))
    again = {id_: body for id_, body in sent.items() if id_ in before}
    assert invoke(settings, deployment, again) == set()
    assert stored_rows(settings, list(sent)) == before


def test_only_the_bad_message_of_a_batch_becomes_a_dead_letter(
    settings: Settings, deployment: Deployment
) -> None:
    bad = "00000000-0000-4000-8000-00000000000b"
    bodies = {
        "00000000-0000-4000-8000-00000000000a": json.dumps(GOOD_BODY),
        bad: "no JSON",
        "00000000-0000-4000-8000-00000000000c": json.dumps(GOOD_BODY | {"user_id": "u-2"}),
    }
    assert invoke(settings, deployment, bodies) == set()
    assert set(stored_rows(settings, list(bodies))) == set(bodies) - {bad}
    assert bad in run.peek(settings, deployment.dead_letter_queue_url)
