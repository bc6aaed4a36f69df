"""A Python function as the documentation of Powertools for AWS Lambda advises: one record at a time.

Source: https://docs.aws.amazon.com/powertools/python/latest/utilities/batch/ (2026-11).
"""

import os
from typing import Any

import psycopg
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from logins import login
from runtime import serve

INSERT = "INSERT INTO user_logins VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (message_id) DO NOTHING"

connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
cursor = connection.cursor()
# Bad messages are not an error of the function, even if a batch has no others.
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


def store(record: SQSRecord) -> None:
    # The raw record, because orjson parses its body faster than record.json_body does.
    cursor.execute(INSERT, login(record.raw_event), prepare=True)


def handle(event: dict[str, Any]) -> dict[str, Any]:
    return process_partial_response(event=event, record_handler=store, processor=processor, context=None)


if __name__ == "__main__":
    serve(handle)
