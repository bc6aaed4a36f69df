"""Random conditions on random messages: they hold where EventBridge's documentation says so."""

import json
from random import Random

from shell import Shell
from stored import passed, seeded

from stack.settings import Settings

TABLES = 40
MESSAGES = 150
PATHS = ["a", "b", "o.a", "o.p.b", "l.0", '"x.y"']
TEXTS = ["", "t", "te", "temp", "temp.in", "Temp", "é", "e\u0301", "日本", "1", "true", "null", " temp"]
NUMBERS = [0, 1, -1, 1.0, 1.5, 100, 1e2, 9007199254740993, 9007199254740992, 0.1, -0.0, 1e-7]


def test_conditions_hold_for_the_messages_that_eventbridge_would_pass(
    settings: Settings, shell: Shell
) -> None:
    random = seeded()
    whens = [conditions(random) for _ in range(TABLES)]
    messages = [message(random) for _ in range(MESSAGES)]
    mapping = 'unmatched = "skip"\n' + "".join(table(n, when) for n, when in enumerate(whens))
    rules = passed(settings, shell, mapping, [json.dumps(each) for each in messages])
    assert rules == {}
    counted = " UNION ALL ".join(f"SELECT {n} AS t, id::int FROM t{n}" for n in range(TABLES))
    found = {
        tuple(json.loads(row)) for row in shell.sql(f"SELECT json_build_array(t, id) FROM ({counted}) AS t")
    }
    held = 0
    for n, when in enumerate(whens):
        for m, each in enumerate(messages):
            holds = all(passes(field(each, path), tests) for path, tests in when.items())
            assert ((n, m) in found) == holds, f"{when}\nof {each}"
            held += holds
    assert TABLES * MESSAGES / 20 < held < TABLES * MESSAGES / 2


def table(n: int, when: dict[str, list[object]]) -> str:
    written = ", ".join(f"{json.dumps(path)} = {toml(tests)}" for path, tests in when.items())
    return (
        f'[[table]]\nname = "t{n}"\nkey = ["id"]\nwhen = {{ {written} }}\n'
        'column = [{ name = "id", type = "text", from = "@message_id" }]\n'
    )


def toml(value: object) -> str:
    """A value on a line of TOML, which has the literals of JSON."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {toml(of)}" for name, of in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def conditions(random: Random) -> dict[str, list[object]]:
    paths = random.sample(PATHS, random.choice([1, 1, 2]))
    return {path: [one_of(random) for _ in range(random.choice([1, 1, 2, 3]))] for path in paths}


def one_of(random: Random) -> object:
    kind = random.randrange(5)
    if kind == 0:
        return {"exists": random.random() < 0.5}
    if kind == 1:
        return {"prefix": random.choice([prefix(random), [prefix(random), prefix(random)]])}
    if kind == 2:
        several = [scalar(random) for _ in range(random.randrange(1, 4))]
        return {"anything-but": random.choice([several, several[0], {"prefix": prefix(random)}])}
    return scalar(random)


def prefix(random: Random) -> str:
    return random.choice(TEXTS[1:])


def scalar(random: Random) -> object:
    return random.choice(
        [random.choice(TEXTS), random.choice(TEXTS), random.choice(NUMBERS), random.random() < 0.5]
    )


def message(random: Random) -> dict[str, object]:
    def value() -> object:
        return random.choice(
            [scalar(random), scalar(random), scalar(random), None, {}, {"a": 1}, [], ["temp"]]
        )

    made = {
        "a": value(),
        "b": value(),
        "o": random.choice([{"a": value()}, {"a": value(), "p": {"b": value()}}, {"p": value()}, value()]),
        "l": random.choice([[value()], [value(), "temp"], value()]),
        "x.y": value(),
        "x": {"y": "temp"},
    }
    return {name: made[name] for name in made if random.random() < 0.85}


def field(message: object, path: str) -> object:
    """What is at a path; nothing where there is none."""
    if path.startswith('"'):
        return message.get(path.strip('"'))
    for step in path.split("."):
        if isinstance(message, list) and step.isdecimal():
            message = message[int(step)] if int(step) < len(message) else None
        else:
            message = message.get(step) if isinstance(message, dict) else None
    return message


def passes(value: object, tests: list[object]) -> bool:
    """As EventBridge passes events, but for the differences that docs/MAPPING.md names.

    An event must have each field of the pattern, and its value one of those in the list.
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html (read 2026-11)
    """
    return any(holds(test, value) for test in tests)


def holds(test: object, value: object) -> bool:
    if not isinstance(test, dict):
        return equal(test, value)
    ((word, of),) = test.items()
    if word == "exists":
        return (value is not None) == of
    if word == "prefix":
        return isinstance(value, str) and value.startswith(tuple(listed(of)))
    if not isinstance(value, str | int | float):
        return False
    if isinstance(of, dict):
        return not holds(of, value)
    return not any(equal(each, value) for each in listed(of))


def listed(value: object) -> list:
    return value if isinstance(value, list) else [value]


def equal(one: object, other: object) -> bool:
    """True is not 1, and 1 is 1.0, without rounding."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other
