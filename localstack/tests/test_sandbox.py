"""The process runner behaves as Lambda does, whatever the function does."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stack.runtime_api import Invocation
from stack.sandbox import InitError, Sandbox

Start = Callable[[str], Sandbox]
Event = Callable[..., Invocation]

ECHO = """
while True:
    headers, event = next_event()
    print("saw", event)
    sys.stdout.flush()
    post(headers, "response", json.dumps({"event": event, "headers": dict(headers)}))
"""


def gone(pid: int) -> bool:
    """Waits for a process that is not our child to end; a pidfd becomes readable then."""
    import select

    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    return bool(select.select([pidfd], [], [], 10)[0])


def test_an_event_gets_the_functions_response(start: Start, event: Event) -> None:
    sandbox = start(ECHO)
    sandbox.wait_ready(180)
    for number in range(3):
        outcome = sandbox.invoke(event(json.dumps(number).encode(), f"id-{number}"))
        assert not outcome.is_error
        assert json.loads(outcome.payload)["event"] == number


def test_the_headers_are_those_of_lambda(start: Start, event: Event) -> None:
    before = time.time()
    outcome = start(ECHO).invoke(event())
    headers = json.loads(outcome.payload)["headers"]
    assert headers["Lambda-Runtime-Aws-Request-Id"] == "id-1"
    assert headers["Lambda-Runtime-Invoked-Function-Arn"] == "arn:of:the:function"
    assert headers["Lambda-Runtime-Trace-Id"] == "Root=1-2"
    deadline = int(headers["Lambda-Runtime-Deadline-Ms"]) / 1000
    assert before + 179.9 <= deadline <= time.time() + 180


def test_output_is_complete_when_the_answer_comes_and_given_once(start: Start, event: Event) -> None:
    sandbox = start(ECHO)
    sandbox.invoke(event(b"1"))
    assert sandbox.take_output() == "saw 1\n"
    sandbox.invoke(event(b"2"))
    assert sandbox.take_output() == "saw 2\n"
    assert sandbox.take_output() == ""


def test_a_handler_error_is_passed_on(start: Start, event: Event) -> None:
    sandbox = start("""
        headers, _ = next_event()
        post(headers, "error", json.dumps({"errorType": "Broken", "errorMessage": "no database"}))
        next_event()
    """)
    outcome = sandbox.invoke(event())
    assert outcome.is_error
    assert json.loads(outcome.payload) == {"errorType": "Broken", "errorMessage": "no database"}
    assert sandbox.alive


def test_a_chunked_response_is_put_together(start: Start, event: Event) -> None:
    sandbox = start("""
        while True:
            headers, _ = next_event()
            parts = [b'{"part', b'ial":', b" " * 70_000, b"true}"]
            chunked = {"Transfer-Encoding": "chunked"}
            post(headers, "response", iter(parts), encode_chunked=True, headers=chunked)
    """)
    for number in range(2):  # the second needs a connection that the first left in order
        assert json.loads(sandbox.invoke(event(request_id=f"id-{number}")).payload) == {"partial": True}


def test_a_crash_during_an_invocation_is_reported_at_once(start: Start, event: Event) -> None:
    sandbox = start("next_event(); print('about to fall', flush=True); os._exit(7)")
    outcome = sandbox.invoke(event(timeout_secs=600))
    assert outcome.is_error
    error = json.loads(outcome.payload)
    assert error == {
        "errorType": "Runtime.ExitError",
        "errorMessage": "Runtime exited with error: exit status 7",
    }
    assert sandbox.take_output() == "about to fall\n"
    assert not sandbox.alive


def test_a_signal_is_named(start: Start, event: Event) -> None:
    outcome = start("next_event(); os.kill(os.getpid(), signal.SIGSEGV)").invoke(event(timeout_secs=600))
    assert json.loads(outcome.payload)["errorMessage"] == "Runtime exited with error: signal: SIGSEGV"


def test_after_its_end_every_invocation_fails(start: Start, event: Event) -> None:
    sandbox = start("headers, _ = next_event(); post(headers, 'response', '{}')")
    assert not sandbox.invoke(event()).is_error
    assert gone(sandbox.pid)
    outcome = sandbox.invoke(event(request_id="id-2", timeout_secs=600))
    assert json.loads(outcome.payload)["errorMessage"] == "Runtime exited without providing a reason"


def test_a_crash_at_init_quotes_the_last_output(start: Start) -> None:
    sandbox = start("print('DB_SECRET_ID is not set', file=sys.stderr); sys.exit(1)")
    with pytest.raises(InitError, match=r"(?s)exit status 1; its last output:\nDB_SECRET_ID is not set"):
        sandbox.wait_ready(180)


def test_a_reported_init_error_is_the_reason(start: Start) -> None:
    sandbox = start("""
        call("POST", "/2018-06-01/runtime/init/error", '{"errorMessage": "no such secret"}')
        time.sleep(600)
    """)
    with pytest.raises(InitError, match="no such secret"):
        sandbox.wait_ready(180)
    assert not sandbox.alive


def test_an_extension_is_registered_and_waits_for_an_event_that_never_comes(
    start: Start, event: Event
) -> None:
    sandbox = start("""
        import threading
        reply, _ = call("POST", "/2020-01-01/extension/register", '{"events": []}')
        of_extension = {"Lambda-Extension-Identifier": reply.headers["Lambda-Extension-Identifier"]}
        extension = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
        extension.request("GET", "/2020-01-01/extension/event/next", headers=of_extension)
        waiting = threading.Thread(target=extension.getresponse, daemon=True)
        waiting.start()
        headers, _ = next_event()
        post(headers, "response", json.dumps(waiting.is_alive()))
        next_event()
    """)
    assert sandbox.invoke(event()).payload == b"true"
    sandbox.stop()
    assert not sandbox.alive


def test_a_function_that_never_asks_is_ended(start: Start) -> None:
    sandbox = start("time.sleep(600)")
    with pytest.raises(InitError, match=r"not up within 0\.3 seconds, without any output"):
        sandbox.wait_ready(0.3)
    assert not sandbox.alive


def test_a_file_that_cannot_be_run_fails_at_init(tmp_path: Path) -> None:
    sandbox = Sandbox([str(tmp_path / "bootstrap")], {}, tmp_path)
    with pytest.raises(InitError, match="No such file or directory"):
        sandbox.wait_ready(180)
    sandbox.stop()


def test_the_timeout_kills_and_says_so(start: Start, event: Event) -> None:
    sandbox = start("print('working', flush=True); next_event(); time.sleep(600)")
    sandbox.wait_ready(180)
    outcome = sandbox.invoke(event(timeout_secs=0.5))
    assert outcome.is_error
    assert "id-1 Error: Task timed out after 0.50 seconds" in json.loads(outcome.payload)["errorMessage"]
    assert not sandbox.alive
    assert sandbox.take_output() == "working\n"


def test_an_answer_to_another_request_is_refused(start: Start, event: Event) -> None:
    sandbox = start("""
        headers, _ = next_event()
        reply, _ = call("POST", INVOCATION + "/some-other-id/response", '"wrong"')
        post(headers, "response", str(reply.status))
        next_event()
    """)
    assert sandbox.invoke(event()).payload == b"400"


@pytest.mark.parametrize("deaf", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"])
def test_stop_leaves_no_process(start: Start, deaf: str) -> None:
    sandbox = start(f"{deaf}\nnext_event()")
    sandbox.wait_ready(180)
    sandbox.stop()
    assert not sandbox.alive
    with pytest.raises(ProcessLookupError):
        os.kill(sandbox.pid, 0)


def test_no_function_outlives_a_killed_localstack(function: Callable[[str], object]) -> None:
    bootstrap = function("next_event()")
    parent_code = f"""
import time
from pathlib import Path
from stack.sandbox import Sandbox
sandbox = Sandbox([{str(bootstrap)!r}], {{}}, Path("/"))
sandbox.wait_ready(180)
print(sandbox.pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE)
    assert parent.stdout
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(pid)


def test_the_environment_is_what_was_given(start: Start, event: Event) -> None:
    sandbox = start("""
        headers, _ = next_event()
        post(headers, "response", json.dumps(dict(os.environ)))
        next_event()
    """)
    env = json.loads(sandbox.invoke(event()).payload)
    assert env.pop("AWS_LAMBDA_RUNTIME_API").startswith("127.0.0.1:")
    env.pop("LC_CTYPE", None)  # set by the Python of the test function itself
    assert env == {"GREETING": "hello"}
