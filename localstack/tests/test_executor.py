"""The plugin, as LocalStack calls it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from localstack.services.lambda_.invocation.lambda_models import InvocationResult
from localstack.services.lambda_.invocation.runtime_executor import EXECUTOR_PLUGIN_MANAGER

from stack.executor import ProcessExecutor

JSON_LOGGING = {"LogFormat": "JSON", "ApplicationLogLevel": "Debug"}
Start = Callable[..., ProcessExecutor]

ECHO = """
while True:
    headers, event = next_event()
    print("handled", event, flush=True)
    if event == "fall":
        os._exit(3)
    if event == "dawdle":
        time.sleep(600)
    post(headers, "response", json.dumps(dict(os.environ)))
"""


@pytest.fixture
def start(function: Callable[[str], Path]) -> Iterator[Start]:
    """An executor for a function of the given code, stopped after the test."""
    executors = []

    def run(code: str = ECHO, timeout: float = 180, logging: dict[str, str] | None = None) -> ProcessExecutor:
        code_location = function(code).parent
        config = SimpleNamespace(
            timeout=timeout,
            logging_config=logging or JSON_LOGGING,
            code=SimpleNamespace(get_unzipped_code_location=lambda: code_location),
        )
        executor: Any = ProcessExecutor("id", SimpleNamespace(config=config))
        executor.start(
            {
                "AWS_LAMBDA_FUNCTION_TIMEOUT": 20,
                "AWS_LAMBDA_LOG_LEVEL": "Debug",
                "AUTHORITIES": "/var/task/ca.pem",
            }
        )
        executors.append(executor)
        return executor

    yield run
    for executor in executors:
        executor.stop()


def invoke(executor: ProcessExecutor, event: str = "hello", request_id: str = "id-1") -> InvocationResult:
    ids = {"invoke-id": request_id, "invoked-function-arn": "arn", "trace-id": "Root=1"}
    return executor.invoke({**ids, "payload": json.dumps(event)})


def records(result: InvocationResult) -> list[str]:
    return (result.logs or "").splitlines()


def test_a_file_of_the_code_is_found_by_its_path_on_lambda(start: Start) -> None:
    env = json.loads(invoke(start()).payload)
    assert env["AUTHORITIES"] == f"{env['LAMBDA_TASK_ROOT']}/ca.pem"


def test_localstack_finds_it_by_its_name() -> None:
    assert EXECUTOR_PLUGIN_MANAGER.load("process").load() is ProcessExecutor


def test_the_environment_is_localstacks_and_the_logging_configs(start: Start) -> None:
    env = json.loads(invoke(start()).payload or b"")
    assert env["AWS_LAMBDA_FUNCTION_TIMEOUT"] == "20"
    assert env["AWS_LAMBDA_LOG_FORMAT"] == "JSON"
    assert env["AWS_LAMBDA_LOG_LEVEL"] == "DEBUG"
    assert Path(env["LAMBDA_TASK_ROOT"], "bootstrap").is_file()


def test_text_logging_sets_no_level_of_its_own(start: Start) -> None:
    env = json.loads(invoke(start(logging={"LogFormat": "Text"})).payload or b"")
    assert env["AWS_LAMBDA_LOG_FORMAT"] == "Text"


def test_the_log_holds_the_output_between_start_and_report(start: Start) -> None:
    result = invoke(start(), request_id="id-7")
    first, output, last = records(result)
    assert json.loads(first)["type"] == "platform.start"
    assert output == "handled hello"
    report = json.loads(last)["record"]
    assert (report["requestId"], report["status"]) == ("id-7", "success")


def test_after_a_crash_the_next_invocation_gets_a_new_process(start: Start) -> None:
    executor = start()
    fallen = invoke(executor, "fall")
    assert fallen.is_error
    assert "exit status 3" in json.loads(fallen.payload or b"")["errorMessage"]
    assert "handled fall" in records(fallen)
    assert not invoke(executor).is_error


def test_after_a_timeout_the_next_invocation_gets_a_new_process(start: Start) -> None:
    executor = start(timeout=0.5)
    late = invoke(executor, "dawdle")
    assert late.is_error
    assert "Task timed out after 0.50 seconds" in json.loads(late.payload or b"")["errorMessage"]
    executor.function_version.config.timeout = 180
    assert not invoke(executor).is_error


def test_an_error_at_init_is_the_error_of_the_invocation_and_in_its_log(start: Start) -> None:
    result = invoke(start("print('no database setting'); sys.exit(1)"))
    assert result.is_error
    error = json.loads(result.payload or b"")
    assert error["errorType"] == "Runtime.ExitError"
    assert "no database setting" in error["errorMessage"]
    assert "no database setting" in records(result)


def test_stop_ends_the_process_and_may_come_twice(start: Start) -> None:
    executor = start()
    invoke(executor)
    pid = executor._sandbox.pid if executor._sandbox else 0
    executor.stop()
    executor.stop()
    assert not Path(f"/proc/{pid}").exists()
