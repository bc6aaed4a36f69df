"""Random values of every type: what the function stores is what Postgres casts the same text to."""

import json
import re
from random import Random

from shell import Shell
from stored import seeded, store

from stack.settings import Settings

EACH = 60
"""Values of each type."""
JSON_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
INTEGERS = ["smallint", "integer", "bigint"]
DECIMALS = ["numeric", "numeric(12,2)", "numeric(5,0)", "real", "double precision"]
# The cast of the text, and of what a type reads differently than Postgres, by docs/MAPPING.md:
# integers also as `2.0` and `1e3`; of an instant, its UTC day; base64 also without its padding.
CASTS = {kind: f"t::numeric::{kind}" for kind in INTEGERS} | {
    "date": r"(CASE WHEN t ~ '\d[zZ]$|:\d+.*[+-]\d\d' THEN t::timestamptz::date ELSE t::date END)",
    "bytea": "decode(rpad(bare, (length(bare) + 3) / 4 * 4, '='), 'base64')",
}
# Rounded silently by Postgres, and rejected by the function.
ROUNDED = {kind: f"t::numeric <> t::numeric::{kind}" for kind in [*INTEGERS, "numeric(12,2)", "numeric(5,0)"]}
DIGITS = ["0", "1", "7", "42", "127", "32767", "32768", "2147483647", "2147483648", "9223372036854775807"]
DIGITS += [
    "9223372036854775808",
    "9007199254740993",
    "999",
    "99999",
    "9999999999",
    "12345678901234567890123",
    "00",
]
FRACTIONS = ["", "", "", ".0", ".5", ".25", ".125", ".10", ".00", ".999", ".", ".0000001"]
EXPONENTS = ["", "", "", "", "e2", "E+3", "e-2", "e0", "e", "e10", "e-40", "e39", "e400", "e-400"]
TIMES = [
    "00:00:00",
    "09:30",
    "23:59:59.999999",
    "12:00:00.5",
    "24:00:00",
    "9:05",
    "25:00",
    "12:60",
    "12:00:60",
    "T09:00",
]
DAYS = [
    "2026-11-02",
    "2000-02-29",
    "1900-02-29",
    "0001-01-01",
    "9999-12-31",
    "2026-02-30",
    "20261102",
    "2026-1-2",
]
DAYS += ["2026-01-31", "1969-12-31", "2026-11-30", "1582-10-10", "11/02/2026", "0000-01-01", "10000-01-01"]
OFFSETS = [
    "Z",
    "z",
    "+00",
    "+01",
    "-0530",
    "+05:45",
    " UTC",
    "+01:00:30",
    "-15:59",
    "+16:00",
    "",
    " Europe/Zurich",
]
HEX = "0123456789abcdefABCDEF"
TEXTS = ["", "a", "Zoë", "日本", " a ", "NULL", "{}", '"', "\\", "a,b", "😀", "e\u0301", "\n"]


def number(random: Random) -> str:
    sign = random.choice(["", "", "", "-", "-", "+"])
    digits = sign + random.choice(DIGITS) + random.choice(FRACTIONS) + random.choice(EXPONENTS)
    odd = ["NaN", "Infinity", "0x1F", "1_000", "", "one", ".5", "1,5", "-0", "1 ", " 1"]
    return random.choice([digits] * 12 + [random.choice(odd)])


def boolean(random: Random) -> str:
    words = [
        "true",
        "false",
        "yes",
        "no",
        "on",
        "off",
        "1",
        "0",
        "t",
        "f",
        "y",
        "n",
        "of",
        "o",
        "2",
        "maybe",
        "",
    ]
    word = random.choice(words)
    return random.choice([word, word, word.upper(), f" {word} "])


def uuid(random: Random) -> str:
    digits = "".join(random.choice(HEX) for _ in range(random.choice([32] * 8 + [31, 33])))
    parts = [digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]]
    plain = "-".join(parts)
    return random.choice([plain, plain, plain, digits, f"{{{plain}}}", plain.replace("-", ""), f"{plain} "])


def inet(random: Random) -> str:
    four = ".".join(
        str(random.choice([0, 1, 10, 127, 255, 256, "01"])) for _ in range(random.choice([4] * 8 + [3]))
    )
    six = random.choice(
        ["::", "::1", "2001:db8::1", "2001:DB8:0:0:0:0:0:1", "::ffff:10.0.0.1", "fe80::1%eth0", "1:2"]
    )
    mask = random.choice(["", "", "", "/0", "/8", "/24", "/32", "/33", "/64", "/128", "/129", "/"])
    return random.choice([four, six]) + mask


def bytea(random: Random) -> str:
    digits = "".join(random.choice("ABCxyz019+/") for _ in range(random.randrange(9)))
    return digits + "=" * random.choice([-len(digits) % 4, -len(digits) % 4, 0, 1])


def timestamp(random: Random) -> str:
    return random.choice(DAYS) + random.choice("T  ") + random.choice(TIMES)


def timestamptz(random: Random) -> str:
    return timestamp(random) + random.choice(OFFSETS)


def date(random: Random) -> str:
    return random.choice([random.choice(DAYS), timestamptz(random)])


KINDS = dict.fromkeys([*INTEGERS, *DECIMALS], number) | {
    "boolean": boolean,
    "uuid": uuid,
    "inet": inet,
    "bytea": bytea,
    "date": date,
    "time": lambda random: random.choice(TIMES) + random.choice(["", "", "", "Z", " PM"]),
    "timestamp": timestamp,
    "timestamptz": timestamptz,
}


def test_a_value_is_stored_as_postgres_casts_its_text(settings: Settings, shell: Shell) -> None:
    random = seeded()
    columns = {kind: f'type = "{kind}"' for kind in KINDS}
    given = [(kind, make(random)) for kind, make in KINDS.items() for _ in range(EACH)]
    bodies = [body(random, kind, text) for kind, text in given]
    stored = store(settings, shell, columns, bodies)
    wanted = casts(shell, given)
    kept = dict.fromkeys(KINDS, 0)
    for n, (kind, text) in enumerate(given):
        if n in stored.rows:
            found = dict(zip(columns, stored.rows[n], strict=True))[kind]
            assert found == wanted[n], f"{kind}: {bodies[n]}"
            kept[kind] += found is not None
        elif kind in [*INTEGERS, *DECIMALS] and JSON_NUMBER.fullmatch(text):
            assert wanted[n] is None, f"{kind}: {bodies[n]} breaks {stored.rules[n]}"
    assert min(kept.values()) > 0, kept


def body(random: Random, kind: str, text: str) -> str:
    bare = kind in [*INTEGERS, *DECIMALS] and JSON_NUMBER.fullmatch(text) and random.random() < 0.7
    return f'{{"{kind}": {text if bare else json.dumps(text)}}}'


def casts(shell: Shell, given: list[tuple[str, str]]) -> list[str | None]:
    """What Postgres makes of texts of types, as text; null if it refuses or rounds them."""
    shell.sql(
        "CREATE FUNCTION cast_of(kind text, t text) RETURNS text LANGUAGE plpgsql AS $f$ "
        "DECLARE found text; bare text := rtrim(t, '='); BEGIN "
        + "".join(
            f"IF kind = '{kind}' THEN SELECT CASE WHEN {ROUNDED.get(kind, 'false')} THEN NULL "
            f"ELSE ({CASTS.get(kind, f't::{kind}')})::text END INTO found; END IF; "
            for kind in KINDS
        )
        + "RETURN found; EXCEPTION WHEN data_exception OR feature_not_supported THEN RETURN NULL; END $f$"
    )
    (answer,) = shell.sql(
        "SET TimeZone = 'UTC'; SELECT json_agg(cast_of(pair ->> 0, pair ->> 1) ORDER BY n) "
        f"FROM json_array_elements($j${json.dumps(given)}$j$) WITH ORDINALITY AS e(pair, n)"
    )
    return json.loads(answer)


def test_json_and_arrays_are_stored_as_postgres_reads_them(settings: Settings, shell: Shell) -> None:
    random = seeded()
    kinds = ["jsonb", "json", "text[]", "integer[]"]
    fields = [(kind, nested(random, kind)) for kind in kinds for _ in range(EACH)]
    columns = {f"c{n}": f'type = "{kind}"' for n, kind in enumerate(kinds)}
    bodies = [f'{{"c{kinds.index(kind)}": {text}}}' for kind, text in fields]
    stored = store(settings, shell, columns, bodies)
    assert stored.rules == {}
    elements = "(SELECT coalesce(array_agg(e::{} ORDER BY n), '{{}}') FROM json_array_elements_text(t::json) "
    elements += "WITH ORDINALITY AS elements (e, n))::text"
    (answer,) = shell.sql(
        "SELECT json_agg(CASE kind WHEN 'jsonb' THEN t::jsonb::text WHEN 'json' THEN t "
        f"WHEN 'text[]' THEN {elements.format('text')} ELSE {elements.format('integer')} END ORDER BY n) "
        f"FROM json_array_elements($j${json.dumps(fields)}$j$) WITH ORDINALITY AS pairs (pair, n), "
        "LATERAL (SELECT pair ->> 0 AS kind, pair ->> 1 AS t) AS given"
    )
    for n, (wanted, (kind, text)) in enumerate(zip(json.loads(answer), fields, strict=True)):
        found = stored.rows[n][kinds.index(kind)]
        if kind == "json" and text.startswith('"'):
            found, wanted = json.loads(found), json.loads(text)  # its escapes are not kept
        assert found == (None if text == "null" else wanted), bodies[n]


def nested(random: Random, kind: str) -> str:
    """JSON of a type, with white space, escapes, and a key that occurs twice."""
    if kind == "text[]":
        elements = [json.dumps(random.choice(TEXTS), ensure_ascii=random.random() < 0.5) for _ in range(4)]
        return f"[{', '.join(random.sample([*elements, 'null', '1.50', 'true'], random.randrange(5)))}]"
    if kind == "integer[]":
        return f"[{','.join(random.sample(['1', '-7', 'null', '2147483647', '0'], random.randrange(5)))}]"
    return value(random, 3)


def value(random: Random, depth: int) -> str:
    scalars = [
        "null",
        "true",
        json.dumps(random.choice(TEXTS)),
        "-0",
        "1.50",
        "1e3",
        "12345678901234567890.10",
        "1E-7",
    ]
    if depth == 0 or random.random() < 0.3:
        return random.choice(scalars)
    space = random.choice(["", " ", "\t"])
    parts = [value(random, depth - 1) for _ in range(random.randrange(4))]
    if random.random() < 0.5:
        return f"[{space}{f',{space}'.join(parts)}]"
    keys = [random.choice(["a", "b", "aa", "é", "", r"\u0062"]) for _ in parts]
    return (
        "{" + f",{space}".join(f'"{key}":{space}{part}' for key, part in zip(keys, parts, strict=True)) + "}"
    )
