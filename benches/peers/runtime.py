"""The loop of a Lambda function: requests events from the Runtime API and sends the answers back.

In place of awslambdaric, Lambda's own loop, because it is quicker: one socket kept open, orjson for the event
and the answer. So the peers are measured at their best, and not for what the standard library's json costs.
"""

import os
import socket
from collections.abc import Callable
from typing import Any, BinaryIO

import orjson

API = "/2018-06-01/runtime/invocation"
INVOCATION = "lambda-runtime-invocation-id"


def serve(handle: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Handles events until Lambda ends the process."""
    host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
    connection = socket.create_connection((host, int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answers = connection.makefile("rb", buffering=1 << 20)
    while True:
        connection.sendall(f"GET {API}/next HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        headers, event = _read(answers)
        answer = orjson.dumps(handle(orjson.loads(event)))
        path = f"{API}/{headers['lambda-runtime-aws-request-id']}/response"
        head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\n{INVOCATION}: {headers[INVOCATION]}\r\n"
        head += f"content-length: {len(answer)}\r\n\r\n"
        connection.sendall(head.encode() + answer)
        _read(answers)


def _read(answers: BinaryIO) -> tuple[dict[str, str], bytes]:
    """The headers of an HTTP answer by their lower-case names, and its body."""
    answers.readline()
    headers = {}
    while line := answers.readline().strip():
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return headers, answers.read(int(headers["content-length"]))
