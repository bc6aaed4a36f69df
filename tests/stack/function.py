"""The function in an execution environment of its own, with the mapping of a folder."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from shell import Shell

from stack.deploy import program
from stack.runtime_api import Invocation
from stack.sandbox import Sandbox
from stack.settings import REGION, Settings

NAME = "sqs-to-postgres"
ARN = f"arn:aws:lambda:{REGION}:000000000000:function:{NAME}"
QUEUE_ARN = f"arn:aws:sqs:{REGION}:000000000000:queue"
PATIENCE_SECS = 180
SET_BY_LAMBDA = {
    "AWS_LAMBDA_FUNCTION_NAME": NAME,
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
}


class Function:
    """Takes messages as Lambda passes them on."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def store(self, body: str) -> None:
        """One batch of one message, which is stored."""
        attributes = {"SentTimestamp": str(time.time_ns() // 1_000_000)}
        identity = {"messageId": str(uuid.uuid4()), "eventSourceARN": QUEUE_ARN}
        record = identity | {"body": body, "attributes": attributes}
        event = json.dumps({"Records": [record]}).encode()
        outcome = self._sandbox.invoke(Invocation(uuid.uuid4().hex, ARN, "Root=1-2", event, PATIENCE_SECS))
        assert json.loads(outcome.payload) == {"batchItemFailures": []}, self.output()

    def output(self) -> str:
        return self._sandbox.take_output()


@contextmanager
def running(settings: Settings, shell: Shell) -> Iterator[Function]:
    """The function that was built, with the settings and in the folder of a shell."""
    env = shell.env | SET_BY_LAMBDA | {"AWS_REGION": REGION, "LAMBDA_TASK_ROOT": str(shell.folder)}
    sandbox = Sandbox([str(program(settings, "bootstrap"))], env, shell.folder)
    try:
        sandbox.wait_ready(PATIENCE_SECS)
        yield Function(sandbox)
    finally:
        sandbox.stop()
