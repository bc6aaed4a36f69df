"""At a terminal the function, as `make watch` runs it, writes lines for a person and no metrics; `drain`
prints what `make logs` prints, and the tool escapes text from others."""

import json
import os
import pty
import re
import secrets
import select
import signal
import subprocess
import termios
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import pytest
from shell import Shell

from stack.deploy import client, program
from stack.logs import readable
from stack.runtime_api import Invocation, RuntimeApi
from stack.settings import PATIENCE_SECS, Settings


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
    bootstrap = program(settings, "bootstrap")
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


WIDTH = 80


def at_a_terminal(shell: Shell, command: str, width: int = WIDTH) -> str:
    """The output of a command at a terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, width))
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
    others = seen.replace("\x1b[2m", "").replace("\x1b[0m", "")  # the tool dims what is beside the value
    assert all(character.isprintable() or character == "\n" for character in others), seen


def test_explain_fits_into_the_terminal_and_a_pipe_gets_all_of_it(shell: Shell) -> None:
    example = f"{Settings.of_repo().root}/examples/stripe"
    # A cell per line: name and value, and dimmed type and path.
    show = f"sqs-to-postgres explain --show-values --pipeline {example}.toml {example}.jsonl"
    for width in (WIDTH, 50):
        seen = at_a_terminal(shell, show, width)
        cells = [line for line in seen.splitlines() if line.startswith("  ") and "\x1b[2m" in line]
        assert len(cells) > 500
        plain = [re.sub(r"\x1b\[\d+m", "", line) for line in cells]
        assert max(map(len, plain)) == width
        assert f"  {'object_id':16}" in seen
        assert "\x1b[31mrejected\x1b[0m by rule" in seen
    assert "\x1b" not in at_a_terminal(shell, f"NO_COLOR=1 {show}")
    seen = at_a_terminal(shell, show)
    assert re.search(r"\n  null: \w+(, \w+)*\n", seen)
    piped = shell.run(show).stdout
    assert "\x1b" not in piped
    assert "…" not in piped.partition("all messages")[0]
    assert "tax_exempt" in piped


def test_at_a_terminal_a_watched_result_is_drawn_anew_until_ctrl_c(shell: Shell) -> None:
    mapping = shell.folder / "pipeline.toml"
    mapping.write_text(MAPPING)
    (shell.folder / "message.json").write_text('{"name": "Ada"}')
    ours, theirs = pty.openpty()
    command = ["bash", "-c", "exec sqs-to-postgres explain --watch --summary message.json"]
    with subprocess.Popen(command, cwd=shell.folder, env=shell.env, stdout=theirs, stderr=theirs) as watch:
        os.close(theirs)
        for column in ("name", "title"):
            mapping.write_text(MAPPING.replace('"name"', f'"{column}"'))
            seen = b""
            drawn = rb"\x1b\[H\x1b\[2J(?:(?!\x1b\[2J).)*%s.*Ctrl-C" % column.encode()
            while not re.search(drawn, seen, re.DOTALL):
                part = _read(ours)
                assert part, seen
                seen += part
        watch.send_signal(signal.SIGINT)
        assert watch.wait() == 0
        os.close(ours)


NUMBERS = """
table = "numbers"
key = ["id"]
[[column]]
name = "id"
type = "uuid"
from = "@message_id"
[[column]]
name = "number"
type = "integer"
"""
# The first statement fails, as another one would after a deadlock, and is tried again.
TABLE = """
CREATE TABLE numbers (id uuid PRIMARY KEY, number integer CONSTRAINT odd CHECK (number % 2 = 1));
CREATE SEQUENCE statements;
CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('statements') = 1 THEN RAISE serialization_failure; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER fail_once BEFORE INSERT ON numbers EXECUTE FUNCTION fail_once();
"""


@pytest.fixture
def drain(shell: Shell, settings: Settings) -> Iterator[Callable[[list[object]], tuple[Shell, str]]]:
    """Sends messages with these numbers to a new queue; the shell and the command that drain it."""
    sqs, urls = client(settings, "sqs"), []

    def send(numbers: list[object]) -> tuple[Shell, str]:
        urls.append(sqs.create_queue(QueueName=f"terminal-{secrets.token_hex(4)}")["QueueUrl"])
        for number in numbers:
            sqs.send_message(QueueUrl=urls[-1], MessageBody=json.dumps({"number": number}))
        command = f"sqs-to-postgres drain --batch-window 3 --wait-time-seconds 1 --queue-url {urls[-1]}"
        return replace(shell, env=shell.env | settings.aws_env()), command

    (shell.folder / "pipeline.toml").write_text(NUMBERS)
    shell.sql(TABLE)
    yield send
    for url in urls:
        sqs.delete_queue(QueueUrl=url)


def log_lines(seen: str) -> list[str]:
    """The lines of the log without colours and times of day. The bar is redrawn after a carriage return."""
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)
    return [line[14:] for line in re.split(r"[\r\n]+", plain) if re.match(r"\d\d:\d\d:\d\d\.\d{3}  ", line)]


def comparable(line: str) -> str:
    """A line without what differs from run to run."""
    line = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", line)
    line = re.sub(r"in \d+ ms *", "in N ms  ", line)
    return re.sub(r" *\d+\.\d ms", "  N ms", line)


def of_the_messages(lines: Iterable[str]) -> list[str]:
    """Without those of a connection for which the machine was too busy at first."""
    return [comparable(line) for line in lines if "no connection in time" not in line]


def test_at_a_terminal_drain_prints_what_make_logs_prints(
    drain: Callable[[list[object]], tuple[Shell, str]],
) -> None:
    numbers = [1, "x", 3, "y", 5]
    shell, command = drain(numbers)
    shell.output(f"{command} 2> log || test $? = 1")
    events = [{"message": line, "timestamp": 0} for line in (shell.folder / "log").read_text().splitlines()]
    expected = of_the_messages(str(text)[14:] for text in readable(events))
    told = " | ".join(expected)
    reason = 'column "number" from "number": the value is not a valid integer'
    assert [reason in line for line in expected] == [False, False, True, True, False], told
    shell.sql("TRUNCATE numbers; ALTER SEQUENCE statements RESTART")
    shell, command = drain(numbers)
    seen = at_a_terminal(shell, f"{command} 2>&1")
    assert of_the_messages(log_lines(seen)) == expected
    assert "\x1b[33mWARN " in seen
    shell, command = drain(["z"])
    seen = at_a_terminal(shell, f"AWS_LAMBDA_LOG_FORMAT=JSON {command} 2>&1")
    assert '"message":"message failed"' in seen


def test_at_a_terminal_many_rows_refused_by_one_constraint_are_one_line_with_a_count(
    drain: Callable[[list[object]], tuple[Shell, str]],
) -> None:
    shell, command = drain([2, 4, 6, 8, 10, 1, "x"])
    (shell.folder / "pipeline.toml").rename(shell.folder / "\x1b[2J.toml")
    seen = at_a_terminal(shell, f"NO_COLOR=1 {command} --pipeline $'\\e[2J.toml' 2>&1")
    lines = [comparable(line) for line in log_lines(seen)]
    assert any(r"file=\u{1b}[2J.toml" in line for line in lines), lines
    told = 'Postgres refused the row with SQLSTATE 23514 table "numbers" constraint "odd": fix the producer'
    (refused,) = (line for line in lines if "odd" in line)
    assert refused.startswith(f"WARN   messages failed       refused         5 messages  ID ID …  {told}")
    (other,) = (line for line in lines if "message failed" in line)
    assert other.startswith("WARN   message failed        type            ID  try 1  ")
    assert "\x1b[33m" not in seen


@pytest.mark.parametrize("width", [WIDTH, 40])
def test_progress_has_percentage_and_rate_and_is_never_wider_than_the_terminal(
    drain: Callable[[list[object]], tuple[Shell, str]], width: int
) -> None:
    shell, command = drain([])
    lines = "\n".join(json.dumps({"number": 2 * number + 1}) for number in range(2_000))
    (shell.folder / "lines").write_text(lines)
    send = f"sqs-to-postgres send --queue-url {command.split()[-1]} lines"
    for typed, noun in ((send, "messages sent"), (f"{command} --batch-size 100", "stored")):
        seen = at_a_terminal(shell, f"{typed} 2>&1", width)
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)
        drawn = [line for line in re.split(r"[\r\n]+", plain) if " of 2,000 " in line]
        assert drawn, seen
        assert max(map(len, drawn)) <= width
        if width == WIDTH:
            assert any(
                re.search(rf"\d+% · [\d,]+ of 2,000 {noun} · [\d.,]+/s · \d", line) for line in drawn
            ), drawn
