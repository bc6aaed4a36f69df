"""Random programs on random messages: what the function stores is what jq gives."""

import json
import math
from decimal import Decimal

from random_jq import Messages, Programs
from shell import Shell
from stored import asked, seeded, store

from stack.settings import Settings

PROGRAMS = 40
MESSAGES = 40


def test_what_random_programs_store_is_what_jq_gives(settings: Settings, shell: Shell) -> None:
    random = seeded()
    programs, messages = Programs(random), Messages(random)
    texts = [programs.program() for _ in range(PROGRAMS)]
    bodies = [messages.message() for _ in range(MESSAGES)]
    expected = asked(settings, "jq_itself.py", {"programs": texts, "inputs": bodies})
    columns = {f"c{n}": f"type = \"jsonb\"\njq = '''{text}'''" for n, text in enumerate(texts)}
    stored = store(settings, shell, columns, bodies)
    assert stored.rules == {}
    succeeded = 0
    for position, cells in stored.rows.items():
        for text, cell, given in zip(texts, cells, expected, strict=True):
            wanted = given[position]
            assert same(parsed(cell), parsed(wanted)), (
                f"{text}\nof {bodies[position]}\nstores {cell}, not {wanted}"
            )
            succeeded += wanted != '["fails"]'
    assert succeeded > PROGRAMS * MESSAGES / 2, "too many programs fail to say much"


def parsed(text: str | None) -> object:
    assert text is not None
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def same(one: object, other: object) -> bool:
    """Whether two values are equal, calculated numbers up to the last digit of a double."""
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return one == other or math.isclose(one, other, rel_tol=1e-15)
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other
