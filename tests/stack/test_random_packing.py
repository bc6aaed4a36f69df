"""Random messages, packed or several to a body: the function stores what other programs unpack and read."""

import json
import subprocess
from base64 import b64decode, b64encode
from random import Random

from random_jq import Messages
from shell import Shell
from stored import asked, passed, seeded, store

from stack.settings import Settings

EACH = 60
BODY = {"body": 'type = "text"\nfrom = "@body"'}
LINES = """
body = "lines"

[[table]]
name = "t"
each = "@body"
key = ["id", "line"]
column = [
  { name = "id", type = "text", from = "@message_id" },
  { name = "line", type = "integer", from = "@index" },
  { name = "value", type = "jsonb", from = "@element" },
]
"""
# Ends of lines for Python's `splitlines`, but not for JSON Lines, where only `\n` is one.
# https://jsonlines.org (read 2026-11)
SEPARATORS = ["\u2028", "\u2029", "\u0085"]


def test_what_is_stored_of_a_gzip_is_what_zcat_prints(settings: Settings, shell: Shell) -> None:
    random = seeded()
    texts = [Messages(random).message() for _ in range(EACH)]
    intact = [gzip(random, text.encode()) for text in texts]
    damaged = [flipped(random, packed) for packed in intact]
    printed = [zcat(packed) for packed in damaged]
    compare(settings, shell, random, "gzip+base64", texts, intact + damaged, printed)


def gzip(random: Random, content: bytes) -> bytes:
    """Packed by `gzip`, in one or two members."""
    split = random.choice([0, random.randrange(len(content))])
    members = [content[:split], content[split:]] if split else [content]
    level = f"-{random.randrange(1, 10)}"
    return b"".join(
        subprocess.run(["gzip", level], input=part, capture_output=True).stdout for part in members
    )


def zcat(packed: bytes) -> bytes | None:
    done = subprocess.run(["zcat"], input=packed, capture_output=True)
    return done.stdout if done.returncode == 0 else None


def flipped(random: Random, packed: bytes) -> bytes:
    """With a bit that is another, or cut off."""
    at = random.randrange(len(packed))
    other = bytes([packed[at] ^ 1 << random.randrange(8)])
    return random.choice([packed[:at] + other + packed[at + 1 :]] * 4 + [packed[:at]])


def compare(
    settings: Settings,
    shell: Shell,
    random: Random,
    encoding: str,
    texts: list[str],
    packed: list[bytes],
    printed: list[bytes | None],
) -> None:
    """Messages as they are packed, and after these what is damaged: it is stored as printed or not at all."""
    stored = store(
        settings, shell, BODY, [base64(random, each) for each in packed], f'encoding = "{encoding}"'
    )
    for n, text in enumerate(texts):
        assert stored.rows.get(n) == [text], f"rejected: {stored.rules.get(n)}"
    for n, content in enumerate(printed, len(texts)):
        wanted = text_of(content)
        if n in stored.rows:
            assert stored.rows[n] == [wanted], b64encode(packed[n]).decode()
        elif wanted is not None:
            assert stored.rules[n] == "not_encoded"
    assert len(stored.rules) > len(printed) / 2


def text_of(content: bytes | None) -> str | None:
    try:
        return content.decode() if content is not None else None
    except UnicodeDecodeError:
        return None


def base64(random: Random, packed: bytes) -> str:
    width = random.choice(["0", "76", "64"])
    return subprocess.run(["base64", "-w", width], input=packed, capture_output=True).stdout.decode()


def test_what_is_stored_of_zstd_is_what_its_own_library_unpacks(settings: Settings, shell: Shell) -> None:
    random = seeded()
    texts = [Messages(random).message() for _ in range(EACH)]
    options = [[random.randrange(1, 20), random.random() < 0.5, random.random() < 0.5] for _ in texts]
    halves = [random.choice([0, len(text) // 2]) for text in texts]
    parts = [[text[half:], *each] for text, half, each in zip(texts, halves, options, strict=True)]
    parts += [[text[:half], *each] for text, half, each in zip(texts, halves, options, strict=True)]
    frames, _ = asked(settings, "zstd_itself.py", {"pack": parts, "unpack": []})
    frames = [b64decode(frame) for frame in frames]
    intact = [frames[n + EACH] + frames[n] if half else frames[n] for n, half in enumerate(halves)]
    # Without a checksum, no program can be sure to notice.
    checked = [packed for packed, (_, checksum, _) in zip(intact, options, strict=True) if checksum]
    damaged = [flipped(random, packed) for packed in checked * 2]
    question = {"pack": [], "unpack": [b64encode(packed).decode() for packed in damaged]}
    _, printed = asked(settings, "zstd_itself.py", question)
    contents = [None if content is None else b64decode(content) for content in printed]
    compare(settings, shell, random, "zstd+base64", texts, intact + damaged, contents)


def test_what_is_stored_of_base64_is_what_its_program_prints(settings: Settings, shell: Shell) -> None:
    random = seeded()
    texts = [Messages(random).message() for _ in range(EACH)]
    stored = store(
        settings, shell, BODY, [base64(random, text.encode()) for text in texts], 'encoding = "base64"'
    )
    assert [stored.rows[n] for n in range(EACH)] == [[text] for text in texts]


def test_the_lines_of_a_message_are_those_that_python_reads(settings: Settings, shell: Shell) -> None:
    random = seeded()
    bodies = [lines(random) for _ in range(2 * EACH)]
    rules = passed(settings, shell, LINES, bodies)
    found: dict[int, list[object]] = {n: [] for n in range(len(bodies)) if n not in rules}
    for row in shell.sql("SELECT json_build_array(id::int, line, value) FROM t ORDER BY id, line"):
        n, line, value = json.loads(row)
        assert line == len(found[n])
        found[n].append(value)
    for n, body in enumerate(bodies):
        assert found.get(n) == by_python(body), repr(body)
    assert set(rules.values()) == {"line_not_json"}
    assert EACH / 4 < len(rules) < EACH


def lines(random: Random) -> str:
    """Values of JSON a line, with empty lines; sometimes one that is not JSON."""
    messages = Messages(random)
    made = []
    for _ in range(random.randrange(1, 6)):
        made.append(random.choice(["", "", " ", "\t", "\r"]) if random.random() < 0.3 else "")
        text = json.dumps(messages.value(2), ensure_ascii=random.random() < 0.3)
        text = text.replace("a", f"a{random.choice(SEPARATORS)}") if random.random() < 0.3 else text
        if random.random() < 0.1:
            at = random.randrange(len(text))
            text = random.choice([text[:at], f"{text} {text}", text + random.choice(SEPARATORS), f"{text},"])
        made.append(random.choice(["", " "]) + text)
    return random.choice(["\n", "\r\n"]).join(made) + random.choice(["", "\n", "\r\n", "\n\n"])


def by_python(body: str) -> list[object] | None:
    """The values of the lines, or nothing if one of them is not JSON."""
    try:
        return [json.loads(line) for line in body.split("\n") if line.strip(" \t\r")]
    except json.JSONDecodeError:
        return None
