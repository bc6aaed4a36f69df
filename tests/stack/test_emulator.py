"""LocalStack counts messages as SQS does: otherwise nobody could wait until a queue is empty."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stack import run
from stack.deploy import client
from stack.settings import PATIENCE_SECS, Settings

WINDOW = {
    "x-localstack-sqs-override-wait-time-seconds": str(PATIENCE_SECS),
    "x-localstack-sqs-override-message-count": "2",
}
"""How LocalStack's event source mappings ask for a batch of two within a batching window."""


def receive_two(settings: Settings, queue_url: str) -> list[dict[str, Any]]:
    sqs = client(settings, "sqs")
    sqs.meta.events.register(
        "before-call.sqs.ReceiveMessage", lambda params, **_: params["headers"].update(WINDOW)
    )
    return sqs.receive_message(QueueUrl=queue_url)["Messages"]


@pytest.mark.parametrize("suffix", ["", ".fifo"])
def test_a_message_is_in_flight_while_its_batch_is_filled(settings: Settings, suffix: str) -> None:
    sqs, name = client(settings, "sqs"), f"filled-{secrets.token_hex(3)}{suffix}"
    kind = {"FifoQueue": "true"} if suffix else {}
    url = sqs.create_queue(QueueName=name, Attributes=kind)["QueueUrl"]

    def send(body: str) -> None:
        order = {"MessageGroupId": body, "MessageDeduplicationId": body} if suffix else {}
        sqs.send_message(QueueUrl=url, MessageBody=body, **order)

    with ThreadPoolExecutor(1) as pool:
        try:
            send("first")
            batch = pool.submit(receive_two, settings, url)
            taken = run.until(
                lambda: (depths := run.queue_depths(settings, url))["waiting"] == 0 and depths,
                PATIENCE_SECS,
                "nobody receives it",
            )
        finally:
            send("second")
    assert taken["in flight"] == 1
    assert [message["Body"] for message in batch.result()] == ["first", "second"]
    sqs.delete_queue(QueueUrl=url)
