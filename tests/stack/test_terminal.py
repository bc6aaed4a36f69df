"""At a terminal the function, as `make watch` runs it, writes lines for a person and no metrics, and the tool
escapes text from others."""

import json
import os
import pty
import select
import subprocess

import pytest
from shell import Shell

from stack.runtime_api import Invocation, RuntimeApi
from stack.settings import Settings

PATIENCE_SECS = 180


@pytest.mark.usefixtures("steady_build")
def test_at_a_terminal_the_function_writes_lines_for_a_person_and_no_metrics() -> None:
    settings, api = Settings.of_repo(), RuntimeApi()
    env = {
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "LAMBDA_TASK_ROOT": str(settings.root),
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


# It sets the title, clears the screen, hides text and writes to the clipboard.
STEERING = "\x1b]0;title\x07\x1b[2J\x1b[8m\x9b2J\x1b]52;c;eA==\x07\r\n"
MAPPING = """
table = "t"
key = ["id"]
[[column]]
name = "id"
type = "uuid"
from = "@message_id"
[[column]]
name = "name"
type = "text"
"""


def at_a_terminal(shell: Shell, command: str) -> str:
    """The output of a command at a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["bash", "-c", command], cwd=shell.folder, env=shell.env | {"TERM": "xterm"}, stdout=theirs
    ):
        os.close(theirs)
        seen = b""
        while part := _read(ours):
            seen += part
    return seen.decode().replace("\r\n", "\n")  # as a terminal ends its lines


def _read(terminal: int) -> bytes:
    assert select.select([terminal], [], [], PATIENCE_SECS)[0]
    try:
        return os.read(terminal, 65_536)
    except OSError:  # the writer has closed it
        return b""


@pytest.mark.parametrize("mask", ["", 'mask = "aes-siv"'])
def test_at_a_terminal_the_tool_shows_what_would_steer_it(shell: Shell, mask: str) -> None:
    (shell.folder / "pipeline.toml").write_text(MAPPING + mask)
    (shell.folder / "message.json").write_text(json.dumps({"name": STEERING}))
    show = "sqs-to-postgres explain --show-values message.json"
    if mask:
        explained = json.loads(shell.output("sqs-to-postgres explain --json message.json"))
        (shell.folder / "token").write_text(explained["columns"][1]["token"])
        show = "sqs-to-postgres unmask < token"
    seen = at_a_terminal(shell, show)
    assert r"\u{1b}]0;title\u{7}\u{1b}[2J" in seen
    assert all(character.isprintable() or character == "\n" for character in seen), seen
