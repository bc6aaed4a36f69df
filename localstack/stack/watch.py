"""The function outside LocalStack, compiled and started again at every change of its code or its mapping.

It answers the events that `make invoke` sends. After a change the last of them is sent to it again.
"""

import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rich.console import Console

from stack import deploy, tool
from stack.logs import readable
from stack.mapping import Mapping
from stack.processes import require_free_port
from stack.report import counted, say, step
from stack.runtime_api import Invocation
from stack.sandbox import InitError, Sandbox
from stack.settings import LOOPBACK, Settings, StackError

CODE = ("Cargo.toml", "Cargo.lock", "src", "crates")
POLL_SECS = 0.3
START_SECS, ANSWER_SECS = 30.0, 60.0
NAME_HEADER = "Event-Name"
PORT_VARIABLE = "WATCH_PORT"


class Watch:
    """The function of a mapping. `invoke` waits while it is compiled or started."""

    def __init__(self, settings: Settings, mapping: Mapping) -> None:
        self._settings, self._mapping = settings, mapping
        self._console = Console(highlight=False, soft_wrap=True)
        self._function: Sandbox | None = None
        self._problem = "the function has not been started yet"
        self._last: tuple[str, bytes] | None = None
        self._lock = threading.Lock()

    def run(self) -> None:
        """Until it is interrupted."""
        port = self._settings.watch_port
        require_free_port(port, "make watch", PORT_VARIABLE)
        try:
            with ThreadingHTTPServer((LOOPBACK, port), _handler_for(self)) as server:
                threading.Thread(target=server.serve_forever, daemon=True).start()
                self._follow()
        finally:
            if self._function:
                self._function.stop()

    def _follow(self) -> None:
        code, mapping = self._code(), _changed_at(self._mapping.file)
        self._renew(is_code=True)
        say("· watching the mapping and the code; in another terminal: make invoke EVENT=events/….json")
        while True:
            time.sleep(POLL_SECS)
            code_now, mapping_now = self._code(), _changed_at(self._mapping.file)
            if code_now == code and mapping_now == mapping:
                continue
            is_code = code_now != code
            code, mapping = code_now, mapping_now
            say(f"\n· {'the code' if is_code else self._mapping.file.name} has changed")
            self._renew(is_code=is_code)

    def _renew(self, *, is_code: bool) -> None:
        """Compiles and starts the function, and shows what it makes of the last event.

        If anything is wrong, the function from before goes on.
        """
        with self._lock:
            try:
                if is_code:
                    deploy.build(self._settings)
                tool.make_tables(self._settings, self._mapping)
                function = self._start()
            except StackError as error:
                say(f"error: {error}")
                self._problem = str(error)
                if self._function:
                    say("· the function from before the change goes on")
                return
            if self._function:
                self._function.stop()
            self._function = function
        if self._last:
            self.invoke(*self._last)

    def _start(self) -> Sandbox:
        settings, file = self._settings, self._mapping.file
        env = settings.aws_env() | {
            "DATABASE_URL": settings.app_url,
            "MASK_KEY": settings.identity.mask_key,
            "PIPELINE_FILE": str(file),
            "LAMBDA_TASK_ROOT": str(file.parent),
            "AWS_LAMBDA_FUNCTION_NAME": self._mapping.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
        }
        with step(f"starting the function with {file.name}"):
            function = Sandbox([str(deploy.program(settings, "bootstrap"))], env, settings.root)
            try:
                function.wait_ready(START_SECS)
            except InitError:
                self._print(function.take_output())
                function.stop()
                raise StackError("the function does not start: its log is above.") from None
        self._print(function.take_output())
        return function

    def invoke(self, name: str, event: bytes) -> tuple[bytes, bool]:
        """The answer to an event, and whether it is an error."""
        with self._lock:
            self._last = (name, event)
            if self._function is None:
                return self._problem.encode(), True
            began = time.monotonic()
            invocation = Invocation(
                str(uuid.uuid4()), "arn:aws:lambda:::function:watched", "Root=1-0-0", event, ANSWER_SECS
            )
            outcome = self._function.invoke(invocation)
            self._print(self._function.take_output())
            if not self._function.alive:
                self._problem = "the function has ended; it is started again after the next change"
                self._function = None
        say(f"· {name}: {_said(event, outcome.payload, outcome.is_error)}  {time.monotonic() - began:.1f} s")
        return outcome.payload, outcome.is_error

    def _print(self, output: str) -> None:
        now = int(time.time() * 1000)
        for text in readable({"message": line, "timestamp": now} for line in output.splitlines()):
            self._console.print(text)

    def _code(self) -> dict[Path, int]:
        """When each file of the code was changed."""
        return {file: _changed_at(file) for name in CODE for file in _files(self._settings.root / name)}


def send(settings: Settings, file: Path) -> int:
    """Sends an event to the function that is watched, and prints its answer."""
    headers = {"Content-Type": "application/json", NAME_HEADER: str(file)}
    url = f"http://{LOOPBACK}:{settings.watch_port}/"
    request = urllib.request.Request(url, file.read_bytes(), headers)
    say("· waiting for the function, which may be compiled first")
    try:
        with urllib.request.urlopen(request) as answer:
            print(answer.read().decode())
            return 0
    except urllib.error.HTTPError as error:
        say(f"error: {error.read().decode()}")
        return 1
    except (urllib.error.URLError, OSError):
        raise StackError(
            "no function is being watched: run `make watch` in another terminal first."
        ) from None


def _said(event: bytes, answer: bytes, is_error: bool) -> str:
    """The answer in words."""
    if is_error:
        return f"the function failed: {_field(answer, 'errorMessage') or answer.decode(errors='replace')}"
    received = len(_field(event, "Records") or [])
    failed = len(_field(answer, "batchItemFailures") or [])
    return f"{counted(received, 'message')}, {failed} failed"


def _field(text: bytes, name: str) -> object:
    try:
        return json.loads(text).get(name)
    except (ValueError, AttributeError):
        return None


def _changed_at(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:  # an editor replaces it just now
        return 0


def _files(path: Path) -> Iterator[Path]:
    return path.rglob("*") if path.is_dir() else iter([path])


class _Handler(BaseHTTPRequestHandler):
    watch: Watch

    def do_POST(self) -> None:
        event = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer, is_error = self.watch.invoke(self.headers.get(NAME_HEADER, "an event"), event)
        self.send_response(HTTPStatus.BAD_GATEWAY if is_error else HTTPStatus.OK)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """The event has a line of its own."""


def _handler_for(watch: Watch) -> type[_Handler]:
    return type("Handler", (_Handler,), {"watch": watch})
