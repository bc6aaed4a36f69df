"""The function at a terminal, as `make watch` runs it: lines for a person, and no metrics."""

import json
import os
import pty
import select
import subprocess

from stack.runtime_api import Invocation, RuntimeApi
from stack.settings import Settings

PATIENCE_SECS = 30


def test_at_a_terminal_the_function_writes_lines_for_a_person_and_no_metrics() -> None:
    settings, api = Settings.of_repo(), RuntimeApi()
    env = {
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "AWS_LAMBDA_FUNCTION_NAME": "sqs-to-postgres",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_FORMAT": "Text",
        "DATABASE_URL": f"{settings.app_url}?sslmode=disable",
        "MASK_KEY": settings.identity.mask_key,
    }
    event = json.dumps({"Records": [{"messageId": "m-1", "body": "no JSON"}]}).encode()
    ours, theirs = pty.openpty()
    bootstrap = settings.root / "target" / "lambda" / "bootstrap" / "bootstrap"
    with subprocess.Popen([bootstrap], env=env, stdout=theirs) as function:
        try:
            outcome = api.start(Invocation("id-1", "arn:of:the:function", "Root=1-2", event, PATIENCE_SECS))
            assert json.loads(outcome.result(PATIENCE_SECS).payload)["batchItemFailures"]
            printed = b""
            while b"received" not in printed:  # the line of the batch, the last one
                assert select.select([ours], [], [], PATIENCE_SECS)[0], printed
                printed += os.read(ours, 65_536)
        finally:
            function.kill()
            api.close()
    assert b"message failed" in printed
    assert b"_aws" not in printed
