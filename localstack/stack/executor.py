"""LocalStack's plugin that runs a Lambda function as a process of this machine.

LocalStack's own executor needs Docker. This one starts the function's `bootstrap` with a Runtime API
server (`sandbox`), so everything else is LocalStack's: the event source mapping, retries, CloudWatch Logs.
It is chosen by LAMBDA_RUNTIME_EXECUTOR=process.
"""

import json
import time
from pathlib import Path
from typing import Any

from localstack import config
from localstack.services.lambda_.invocation.lambda_models import FunctionVersion, InvocationResult
from localstack.services.lambda_.invocation.plugins import RuntimeExecutorPlugin
from localstack.services.lambda_.invocation.runtime_executor import (
    LambdaRuntimeException,
    RuntimeExecutor,
)

from stack.runtime_api import Invocation, Outcome
from stack.sandbox import InitError, Sandbox

LOOPBACK = "127.0.0.1"
TASK_ROOT = "/var/task"
"""Where the code is on Lambda."""
# Lambda's own value, on Amazon Linux: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
SYSTEM_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "en_US.UTF-8"}


class ProcessExecutorPlugin(RuntimeExecutorPlugin):
    """The entry point that LocalStack finds."""

    name = "process"

    def load(self, *_: object, **__: object) -> type[RuntimeExecutor]:
        return ProcessExecutor


class ProcessExecutor(RuntimeExecutor):
    """One execution environment of a function.

    Its process starts with the first invocation, not with `start`: then an error at init is the error of an
    invocation, with the function's output in CloudWatch Logs, as on Lambda. After a crash or a timeout the
    next invocation gets a new process.
    """

    def __init__(self, id: str, function_version: FunctionVersion) -> None:
        super().__init__(id=id, function_version=function_version)
        self._env: dict[str, str] = {}
        self._sandbox: Sandbox | None = None
        self._stopped = False

    def start(self, env_vars: dict[str, Any]) -> None:
        code = str(self._code())
        self._env = SYSTEM_ENV | {name: _at_home(str(value), code) for name, value in env_vars.items()}
        self._env |= {"LAMBDA_TASK_ROOT": code} | _logging_env(self.function_version)

    def stop(self) -> None:
        self._stopped = True
        self._end_sandbox()

    def invoke(self, payload: dict[str, str]) -> InvocationResult:
        request_id, began = payload["invoke-id"], time.monotonic()
        try:
            outcome = self._ready_sandbox().invoke(self._invocation(payload))
        except InitError as error:
            outcome = Outcome.error("Runtime.ExitError", f"RequestId: {request_id} Error: {error}")
        logs = self._logs(request_id, outcome, time.monotonic() - began)
        return InvocationResult(request_id, outcome.payload, outcome.is_error, logs)

    def get_logs(self) -> str:
        return self._sandbox.take_output() if self._sandbox else ""

    def get_address(self) -> str:
        return LOOPBACK

    def get_endpoint_from_executor(self) -> str:
        return LOOPBACK

    def get_runtime_endpoint(self) -> str:
        """Where LocalStack's own init program would report to; our functions talk to their sandbox."""
        return f"http://{LOOPBACK}:{config.GATEWAY_LISTEN[0].port}"

    @classmethod
    def prepare_version(cls, function_version: FunctionVersion) -> None:
        function_version.config.code.prepare_for_execution()

    @classmethod
    def cleanup_version(cls, function_version: FunctionVersion) -> None:
        """Does nothing: a version with only changed settings shares its code with the one before it."""

    def _code(self) -> Path:
        return Path(self.function_version.config.code.get_unzipped_code_location())

    def _ready_sandbox(self) -> Sandbox:
        """The running process, or a new one that is ready."""
        if self._stopped:
            raise LambdaRuntimeException(f"the execution environment {self.id} has been stopped")
        if self._sandbox and self._sandbox.alive:
            return self._sandbox
        self._end_sandbox()
        self._sandbox = Sandbox([str(self._code() / "bootstrap")], self._env, self._code())
        self._sandbox.wait_ready(config.LAMBDA_RUNTIME_ENVIRONMENT_TIMEOUT)
        return self._sandbox

    def _end_sandbox(self) -> None:
        sandbox, self._sandbox = self._sandbox, None
        if sandbox:
            sandbox.stop()

    def _invocation(self, payload: dict[str, str]) -> Invocation:
        return Invocation(
            request_id=payload["invoke-id"],
            function_arn=payload["invoked-function-arn"],
            trace_id=payload["trace-id"],
            payload=payload["payload"].encode(),
            timeout_secs=self.function_version.config.timeout,
        )

    def _logs(self, request_id: str, outcome: Outcome, secs: float) -> str:
        """The function's output between the two lines that Lambda writes around it."""
        output = self.get_logs()
        if output and not output.endswith("\n"):
            output += "\n"
        status = "error" if outcome.is_error else "success"
        report = {"requestId": request_id, "status": status, "metrics": {"durationMs": round(secs * 1000, 2)}}
        if outcome.is_error:
            report["error"] = outcome.payload.decode(errors="replace")
        start = _platform_line("platform.start", {"requestId": request_id})
        return start + output + _platform_line("platform.report", report)


def _at_home(value: str, code: str) -> str:
    """A setting that names a file of the code, which is elsewhere here."""
    return code + value.removeprefix(TASK_ROOT) if value.startswith(f"{TASK_ROOT}/") else value


def _platform_line(kind: str, record: dict[str, object]) -> str:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return json.dumps({"time": now, "type": kind, "record": record}) + "\n"


def _logging_env(function_version: FunctionVersion) -> dict[str, str]:
    """AWS_LAMBDA_LOG_FORMAT and _LEVEL as Lambda sets them: LocalStack writes the level as `Info`."""
    logging = function_version.config.logging_config or {}
    if logging.get("LogFormat") != "JSON":
        return {"AWS_LAMBDA_LOG_FORMAT": "Text"}
    level = logging.get("ApplicationLogLevel") or "INFO"
    return {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": level.upper()}
