"""A Lambda function in a few lines of Python, run by the real sandbox."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from stack.runtime_api import Invocation
from stack.sandbox import Sandbox

RUNTIME = """\
#!{python}
import http.client, json, os, signal, sys, time
from itertools import count

api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
INVOCATION = "/2018-06-01/runtime/invocation"

def call(method, path, body=None, **options):
    api.request(method, path, body, **options)
    reply = api.getresponse()
    return reply, reply.read()

def next_event():
    reply, body = call("GET", INVOCATION + "/next")
    return reply.headers, json.loads(body)

def post(event_headers, kind, body, **options):
    path = f"{{INVOCATION}}/{{event_headers['Lambda-Runtime-Aws-Request-Id']}}/{{kind}}"
    return call("POST", path, body, **options)

"""

Function = Callable[[str], Path]
Start = Callable[[str], Sandbox]


@pytest.fixture
def function(tmp_path: Path) -> Function:
    """Writes a `bootstrap` whose body is the given code, and gives its path."""

    def write(code: str) -> Path:
        bootstrap = tmp_path / "bootstrap"
        bootstrap.write_text(RUNTIME.format(python=sys.executable) + dedent(code))
        bootstrap.chmod(0o755)
        return bootstrap

    return write


@pytest.fixture
def start(function: Function, tmp_path: Path) -> Iterator[Start]:
    """Starts a sandbox for the given code; it is stopped after the test."""
    sandboxes = []

    def run(code: str) -> Sandbox:
        sandboxes.append(Sandbox([str(function(code))], {"GREETING": "hello"}, tmp_path))
        return sandboxes[-1]

    yield run
    for sandbox in sandboxes:
        sandbox.stop()


@pytest.fixture
def event() -> Callable[..., Invocation]:
    """Makes an invocation with sensible values."""

    def make(payload: bytes = b"{}", request_id: str = "id-1", timeout_secs: float = 180) -> Invocation:
        return Invocation(request_id, "arn:of:the:function", "Root=1-2", payload, timeout_secs)

    return make
