"""Hostile messages of each kind that a mapping can read: each is rejected alone, within 128 MiB."""

import gzip
import json
from base64 import b64encode

from function import running
from shell import Shell
from stored import KEY, asked

from stack.settings import Settings

MEBIBYTE = 1 << 20
MOST_BYTES = 128 * MEBIBYTE
LINES = """
body = "lines"
[[table]]
name = "t"
each = "@body"
key = ["id", "line"]
column = [
  { name = "id", type = "text", from = "@message_id" },
  { name = "line", type = "integer", from = "@index" },
  { name = "value", type = "integer", from = "@element", required = true },
]
"""
TIMES = """
table = "t"
key = ["id"]
column = [
  { name = "id", type = "text", from = "@message_id" },
  { name = "zurich", type = "timestamptz", zone = "Europe/Zurich" },
  { name = "apia", type = "timestamptz", zone = "Pacific/Apia" },
  { name = "lord_howe", type = "timestamptz", format = "%Y-%m-%d %H:%M", zone = "Australia/Lord_Howe" },
  { name = "at", type = "timestamptz", unit = "s" },
]
"""
CONDITIONS = """
[[table]]
name = "t"
key = ["id"]
when = { kind = { prefix = "temp." }, n = { anything-but = [7, "seven"] } }
column = [{ name = "id", type = "text", from = "@message_id" }]
"""


def check(settings: Settings, shell: Shell, mapping: str, good: str, hostile: list[tuple[str, str]]) -> None:
    """Passes each hostile body, with the rule that it breaks, between good ones, as a batch."""
    (shell.folder / "pipeline.toml").write_text(mapping)
    shell.output('sqs-to-postgres ddl | psql "$DATABASE_URL" -q -v ON_ERROR_STOP=1')
    with running(settings, shell) as function:
        for body, rule in hostile:
            assert function.store_or_reject([good, body, good]) == {1: rule}, body[:80]
            assert shell.sql("SELECT DISTINCT id FROM t ORDER BY id") == ["0", "2"]
            shell.sql("DELETE FROM t")
        peak = function.peak_bytes()
    assert peak < MOST_BYTES, f"{peak} bytes"


def bomb() -> str:
    return f"{{}}{' ' * 150 * MEBIBYTE}"


def packed(encoding: str) -> str:
    return f'table = "t"\nencoding = "{encoding}"\n{KEY}'


def test_a_bomb_of_gzip_fails_alone(settings: Settings, shell: Shell) -> None:
    good, large = (b64encode(gzip.compress(text.encode(), 1)).decode() for text in ("{}", bomb()))
    check(settings, shell, packed("gzip+base64"), good, [(large, "too_large")])


def test_a_bomb_of_zstd_fails_alone(settings: Settings, shell: Shell) -> None:
    question = {"pack": [["{}", 1, True, True], [bomb(), 1, True, False]], "unpack": []}
    (good, large), _ = asked(settings, "zstd_itself.py", question)
    half = large[: len(large) // 8 * 4]
    check(settings, shell, packed("zstd+base64"), good, [(large, "too_large"), (half, "too_large")])


def test_a_mebibyte_of_lines_fails_alone(settings: Settings, shell: Shell) -> None:
    rules = {"1": "too_many_rows", "[]": "type", "{": "line_not_json"}
    hostile = [(f"{line}\n" * (MEBIBYTE // (len(line) + 1)), rule) for line, rule in rules.items()]
    hostile += [("\n" * MEBIBYTE + "x", "line_not_json"), (" " * MEBIBYTE + "\n[", "line_not_json")]
    check(settings, shell, LINES, "1\n2", hostile)


def test_local_times_and_numbers_that_are_no_instant_fail_alone(settings: Settings, shell: Shell) -> None:
    hostile = {
        "local_time": [
            {"zurich": "2026-03-29T02:30:00"},
            {"zurich": "2026-10-25T02:00:00"},
            {"apia": "2011-12-30T12:00:00"},
            {"lord_howe": "2026-04-05 01:30"},
            {"lord_howe": "2026-10-04 02:29"},
        ],
        "range": [{"at": number} for number in [-1, 7258118400, 1793610000000, 1e308, 10**400]],
        "type": [{"at": text} for text in ["", "9" * MEBIBYTE + "x", "1e", "NaN"]],
    }
    bodies = [(json.dumps(body), rule) for rule, of_rule in hostile.items() for body in of_rule]
    bodies.append((f'{{"at": 1e{"9" * 1000}}}', "range"))
    good = {"zurich": "2026-10-25T03:00:00", "apia": "2011-12-31T00:00:00", "at": 0}
    check(settings, shell, TIMES, json.dumps(good), bodies)


def test_conditions_on_huge_values_fail_alone(settings: Settings, shell: Shell) -> None:
    huge = [
        {"kind": "x" * MEBIBYTE, "n": 1},
        {"kind": ["temp.in"] * 80_000, "n": 1},
        {"kind": "temp.", "n": [7] * 300_000},
        {"kind": "temp.", "n": json.loads("[" * 900 + "]" * 900)},
    ]
    bodies = [json.dumps(each) for each in huge]
    bodies += [f'{{"kind": "temp.", "n": {n}}}' for n in [f"7.{'0' * MEBIBYTE}", f"70e-{'0' * 100_000}1"]]
    good = json.dumps({"kind": f"temp.{'x' * MEBIBYTE}", "n": 10**1000})
    check(settings, shell, CONDITIONS, good, [(body, "unmatched") for body in bodies])
