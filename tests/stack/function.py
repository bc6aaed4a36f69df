"""The function in an execution environment of its own, with the mapping of a folder."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shell import Shell

from stack.deploy import program
from stack.runtime_api import Invocation
from stack.sandbox import Sandbox
from stack.settings import PATIENCE_SECS, REGION, Settings

NAME = "sqs-to-postgres"
ARN = f"arn:aws:lambda:{REGION}:000000000000:function:{NAME}"
QUEUE_ARN = f"arn:aws:sqs:{REGION}:000000000000:queue"
BATCH = 100
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
        assert self._failed({str(uuid.uuid4()): body}) == [], self.output()

    def store_or_reject(self, bodies: list[str]) -> dict[int, str]:
        """Stores messages whose ids are their positions. Returns the rules that the rejected ones break."""
        rules = {}
        for start in range(0, len(bodies), BATCH):
            failed = self._failed({str(n): body for n, body in enumerate(bodies[start:][:BATCH], start)})
            said = [json.loads(line) for line in self.output().splitlines() if '"message failed"' in line]
            assert sorted(failed) == sorted(line["message_id"] for line in said)
            rules |= {int(line["message_id"]): line["rule"] for line in said}
        return rules

    def _failed(self, batch: dict[str, str]) -> list[str]:
        """The ids of the messages that are reported as failed, of a batch with these ids and bodies."""
        common = {
            "eventSourceARN": QUEUE_ARN,
            "attributes": {"SentTimestamp": str(time.time_ns() // 1_000_000)},
        }
        records = [common | {"messageId": identity, "body": body} for identity, body in batch.items()]
        event = json.dumps({"Records": records}).encode()
        outcome = self._sandbox.invoke(Invocation(uuid.uuid4().hex, ARN, "Root=1-2", event, PATIENCE_SECS))
        assert not outcome.is_error, f"{outcome.payload!r}\n{self.output()}"
        return [failure["itemIdentifier"] for failure in json.loads(outcome.payload)["batchItemFailures"]]

    def peak_bytes(self) -> int:
        """The most memory that it has taken."""
        status = Path(f"/proc/{self._sandbox.pid}/status").read_text()
        (kibibytes,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        return int(kibibytes) * 1024

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
