"""The Lambda Runtime API (2018-06-01), as a custom runtime such as `lambda_runtime` speaks it.

The function asks for `/next`, gets an invocation, posts its response or its error, and asks again. The
other side of the desk is `RuntimeApi.start`: it takes an event and gives a future of the answer.
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html (read 2026-11)

Of the Extensions API (2020-01-01) there is what an internal extension without events needs, as which a
function registers to get SIGTERM: its request for the next event is never answered.
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html (read 2026-11)
"""

import json
import queue
import re
import threading
import time
import uuid
from concurrent.futures import Future
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

API = "/2018-06-01/runtime"
EXTENSIONS = "/2020-01-01/extension"
ANSWER = re.compile(rf"{API}/invocation/(?P<request_id>[^/]+)/(?P<kind>response|error)")


@dataclass(frozen=True)
class Outcome:
    """The result of an invocation: the body that Lambda returns to its caller."""

    payload: bytes
    is_error: bool = False

    @classmethod
    def error(cls, error_type: str, message: str) -> "Outcome":
        return cls(json.dumps({"errorType": error_type, "errorMessage": message}).encode(), is_error=True)


@dataclass(frozen=True)
class Invocation:
    """One event on its way to the function."""

    request_id: str
    function_arn: str
    trace_id: str
    payload: bytes
    timeout_secs: float
    outcome: "Future[Outcome]" = field(default_factory=Future)

    def headers(self) -> dict[str, str]:
        deadline_ms = int((time.time() + self.timeout_secs) * 1000)
        return {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": self.request_id,
            "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": self.function_arn,
            "Lambda-Runtime-Trace-Id": self.trace_id,
        }


class RuntimeApi:
    """A Runtime API server for one process, on a loopback port of its own."""

    def __init__(self) -> None:
        self.asked_for_next: Future[None] = Future()
        """Done when the function is up; an exception when it reported that it cannot start."""
        self._waiting: queue.SimpleQueue[Invocation | None] = queue.SimpleQueue()
        self._running: Invocation | None = None
        self._failure: Outcome | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        """The value of AWS_LAMBDA_RUNTIME_API."""
        return f"127.0.0.1:{self._server.server_port}"

    def start(self, invocation: Invocation) -> "Future[Outcome]":
        """Queues an event for the function. After `fail` it fails at once."""
        with self._lock:
            self._running = invocation
            if self._failure:
                invocation.outcome.set_result(self._failure)
        self._waiting.put(invocation)
        return invocation.outcome

    def fail(self, outcome: Outcome) -> None:
        """The function has ended: ends the running invocation, and every later one, with this error."""
        with self._lock:
            self._failure = outcome
            if self._running and not self._running.outcome.done():
                self._running.outcome.set_result(outcome)

    def close(self) -> None:
        self._closed.set()
        self._waiting.put(None)
        self._server.shutdown()
        self._server.server_close()

    # The requests of the function.

    def next(self) -> Invocation | None:
        """Waits for the next event; None when the server closes."""
        with self._lock:
            if not self.asked_for_next.done():
                self.asked_for_next.set_result(None)
        return self._waiting.get()

    def next_of_extension(self) -> None:
        """Waits until the server closes: there are no events."""
        self._closed.wait()

    def answer(self, request_id: str, outcome: Outcome) -> bool:
        """Accepts an answer. False if no invocation of this id waits for one."""
        with self._lock:
            running = self._running
            if running is None or running.request_id != request_id or running.outcome.done():
                return False
            running.outcome.set_result(outcome)
            return True

    def init_failed(self, reason: str) -> None:
        with self._lock:
            if not self.asked_for_next.done():
                self.asked_for_next.set_exception(RuntimeError(reason))


class _Handler(BaseHTTPRequestHandler):
    """Turns the HTTP of the Runtime API into calls of `RuntimeApi`."""

    api: RuntimeApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == f"{EXTENSIONS}/event/next":
            self.api.next_of_extension()
            self.close_connection = True
            return None
        if self.path != f"{API}/invocation/next":
            return self._reply(HTTPStatus.NOT_FOUND)
        invocation = self.api.next()
        if invocation is None:
            self.close_connection = True
            return None
        return self._reply(HTTPStatus.OK, invocation.payload, invocation.headers())

    def do_POST(self) -> None:
        body = self._body()
        if self.path == f"{EXTENSIONS}/register":
            return self._reply(HTTPStatus.OK, headers={"Lambda-Extension-Identifier": str(uuid.uuid4())})
        if self.path == f"{API}/init/error":
            self.api.init_failed(body.decode(errors="replace"))
            return self._reply(HTTPStatus.ACCEPTED)
        answer = ANSWER.fullmatch(self.path)
        if answer is None:
            return self._reply(HTTPStatus.NOT_FOUND)
        outcome = Outcome(body, is_error=answer["kind"] == "error")
        known = self.api.answer(answer["request_id"], outcome)
        return self._reply(HTTPStatus.ACCEPTED if known else HTTPStatus.BAD_REQUEST)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers, up to the empty line
            pass
        return body

    def _reply(self, status: HTTPStatus, body: bytes = b"{}", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keeps LocalStack's log free of a line per request."""


def _handler_for(api: RuntimeApi) -> type[_Handler]:
    return type("Handler", (_Handler,), {"api": api})
