"""Random programs of jq, of the functions that a mapping can use, and random messages for them."""

# ruff: noqa: E501 (a kind of program a line)

import json
from collections.abc import Callable
from functools import partial
from random import Random

WORDS = [
    "",
    "a",
    "b",
    "ab",
    "abc",
    "A-1",
    " a b ",
    "a,b",
    "true",
    "12",
    "-0.5",
    "x=1&y=2",
    "<a href='x'>",
    "it's",
]
WORDS += [
    "Zoë",
    "ÅSE",
    "日本",
    "😀b",
    "e\u0301",
    "\u00a0x",
    "1e3",
    "2026-11-02T09:00:00Z",
    "[1, 2]",
    '{"a": "b"}',
    "\t\n",
]
NUMBERS = [0, 1, 2, 3, -1, -7, 10, 0.5, -2.5, 1.25, 100, 1000000]
# One that is larger than a double counts exactly, and digits that a double does not keep.
LONG_NUMBERS = ["12345678901234567890123", "9007199254740993", "12.50", "0.10000000000000000001"]
KEYS = ["a", "b", "k", "n", "é", "a b"]
EXPRESSIONS = [
    "a",
    "[ab]+",
    "^a",
    "b$",
    "(?<x>[a-z])(?<n>\\\\d)?",
    "[ \\\\t]+",
    "\\\\d+",
    ",",
    ".",
    "(a)|(b)",
    "日|😀",
]


class Messages:
    """Messages with the fields that the programs read: their types mostly as a program expects them."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def message(self) -> str:
        fields = {
            "n": self.number(),
            "m": self.number(),
            "s": self.text(),
            "t": self.text(),
            "f": self.random.random() < 0.5,
            "a": [self.number() for _ in range(self.random.randrange(5))],
            "c": [self.text() for _ in range(self.random.randrange(5))],
            "b": [self.value(1) for _ in range(self.random.randrange(4))],
            "o": self.object(2),
            "l": [
                {"k": self.text(), "n": self.number(), "v": self.value(1)}
                for _ in range(self.random.randrange(4))
            ],
            "x": self.value(3),
        }
        for name in list(fields):
            if self.random.random() < 0.03:
                # `.a[0]` of an object is null for jaq.
                fields[name] = self.value(1) if name in "xo" else self.value(0)
            elif self.random.random() < 0.02:
                del fields[name]
        return json.dumps(fields, ensure_ascii=self.random.random() < 0.5)

    def number(self) -> float:
        return self.random.choice(NUMBERS)

    def text(self) -> str:
        return self.random.choice(WORDS)

    def object(self, depth: int) -> dict[str, object]:
        return {key: self.value(depth - 1) for key in self.random.sample(KEYS, self.random.randrange(4))}

    def value(self, depth: int) -> object:
        makes = [lambda: None, lambda: self.random.random() < 0.5, self.number, self.text, self.text]
        if depth > 0:
            makes += [
                lambda: [self.value(depth - 1) for _ in range(self.random.randrange(4))],
                lambda: self.object(depth),
            ]
        return self.random.choice(makes)()


class Programs:
    """Programs, by the type of what they give."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def program(self) -> str:
        return f'{TYPES} [try ({self.any(3)}) catch "fails"] | {FINITE}'

    def pick(self, depth: int, leaves: list[str], inner: list[Callable[[], str]]) -> str:
        if self.random.random() < 0.03:
            return self.any(depth - 1)  # perhaps of another type
        if depth <= 0 or self.random.random() < 0.15:
            return self.random.choice(leaves)
        return self.random.choice(inner)()

    def any(self, depth: int) -> str:
        if depth <= 0:
            return self.random.choice(
                [".x", ".o.a", ".missing", ".l[0].v", ".b[-1]", "null", ".s", ".n", "."]
            )
        makes = [
            self.number,
            self.text,
            self.array,
            self.array,
            self.object,
            self.object,
            self.boolean,
            self.mixed,
        ]
        return self.random.choice(makes)(depth)

    def mixed(self, depth: int) -> str:
        a = partial(self.any, depth - 1)
        return self.pick(
            depth,
            [".x", ".x.a?", ".b[1]", ".l[1]", '.["s"]', ".o | .k"],
            [
                lambda: f"({a()} // {a()})",
                lambda: f"(if {self.boolean(depth - 1)} then {a()} else {a()} end)",
                lambda: f"(if {self.boolean(depth - 1)} then {a()} end)",
                lambda: f"({a()} | tojson | fromjson)",
                lambda: f'(try ({a()}) catch "caught")',
                lambda: f"first(({a()})?, null)",
                lambda: f"first({self.several(depth - 1)}, null)",
                lambda: f"({self.array(depth - 1)} | list | first(.[], null))",
                lambda: f"({self.array(depth - 1)} | list | last(null, .[]))",
                lambda: f"({self.array(depth - 1)} | min)",
                lambda: f"({self.array(depth - 1)} | max)",
                lambda: f"({self.array(depth - 1)} | max_by(type))",
                lambda: f"({self.array(depth - 1)} | min_by(.k?))",
                lambda: f"({self.array(depth - 1)} | list | nth({self.random.randrange(3)}))",
                lambda: f"({self.array(depth - 1)} | add | whole)",
                lambda: f"({a()} as $v | {a()} | [$v, .])",
                lambda: f'({a()} | walk(if type == "number" then . + 1 else . end))',
                lambda: f'({a()} | walk(if type == "array" then sort else . end))',
                lambda: f"(reduce {self.several(depth - 1)} as $i (null; [., $i]))",
                lambda: f"(label $out | ({self.several(depth - 1)}, null) | ., break $out)",
                lambda: (
                    f"(def f($p; g): [$p, g]; {a()} | f({self.number(depth - 2)}; {self.text(depth - 2)}))"
                ),
                lambda: f"first(({a()} | fromjson?), null)",
                lambda: f"({self.text(depth - 1)} | fromjson)",
                lambda: f'first(({self.text(depth - 1)} | capture("{self.expression()}")), null)',
            ],
        )

    def several(self, depth: int) -> str:
        return self.random.choice(
            [
                lambda: f"{self.array(depth)}[]",
                lambda: f"({self.any(depth)}, {self.any(depth)})",
                lambda: f"{self.object(depth)}[]",
                lambda: f"({self.any(depth)} | ..)",
                lambda: f"({self.any(depth)} | .[]?)",
                lambda: f"range({self.random.randrange(-1, 5)})",
                lambda: f"range({self.random.randrange(-2, 2)}; {self.random.randrange(4)})",
                lambda: f"limit({self.random.randrange(3)}; {self.array(depth)}[])",
                lambda: f"skip({self.random.randrange(3)}; {self.array(depth)}[])",
                lambda: f"({self.array(depth)}[] | {self.random.choice(KINDS)})",
                lambda: f"({self.array(depth)}[] | select({self.about(depth)}))",
                lambda: f'({self.text(depth)} | scan("{self.expression()}"))',
                lambda: f'({self.text(depth)} | match("{self.expression()}"; "g"))',
                lambda: f'({self.text(depth)} | splits("{self.expression()}"))',
                lambda: f"foreach {self.array(depth)}[] as $e (0; . + 1; [$e, .])",
                lambda: "empty",
            ]
        )()

    def about(self, depth: int) -> str:
        """A condition on a value of any type."""
        return self.random.choice(
            [
                'type == "number"',
                'type != "string"',
                ". == null",
                "not",
                f". > {self.number(0)}",
                f". <= {self.text(0)}",
                "length > 0",
                'has("a")?',
                '.k? == "a"',
                'tostring | test("a")',
                "scalars",
            ]
        )

    def expression(self) -> str:
        return self.random.choice(EXPRESSIONS)

    def number(self, depth: int) -> str:
        n = partial(self.number, depth - 1)
        literal = str(self.random.choice([0, 1, 2, 3, 5, 10, 0.5, 1.25]))
        return self.pick(
            depth,
            [literal, ".n", ".m", ".a[0]", ".l[0].n", "(.s | length)", "(.a | length)"],
            [
                lambda: f"({n()} + {n()} | whole)",
                lambda: f"({n()} - {n()} | whole)",
                lambda: f"({n()} * {n()} | whole)",
                lambda: f"({n()} / {self.random.choice([2, 4, 0.5])} | whole)",
                lambda: f"({n()} / ({n()} | if . == 0 then 1 end) | whole)",
                lambda: f"(({n()} | floor) % {self.random.choice([3, 7, -2])})",
                lambda: f"(0 - {n()} | whole)",
                lambda: f"({n()} | {self.random.choice(['floor', 'ceil', 'round', 'trunc', 'abs'])})",
                lambda: f"({n()} | abs | sqrt | whole)",
                lambda: f"(pow({n()}; {self.random.randrange(3)}) | whole)",
                lambda: f"({n()} | abs + 1 | {self.random.choice(['log', 'log2', 'log10'])} | whole)",
                lambda: f"({self.any(depth - 1)} | length)",
                lambda: f"({self.text(depth - 1)} | utf8bytelength)",
                lambda: f"({self.text(depth - 1)} | tonumber)",
                lambda: f"({self.any(depth - 1)} | tonumber)",
                lambda: f"({self.text(depth - 1)} | text | index({self.text(0)}))",
                lambda: f"({self.text(depth - 1)} | text | rindex({self.text(0)}))",
                lambda: f"({self.array(depth - 1)} | list | index({self.any(0)}))",
                lambda: f"(add({self.array(depth - 1)}[] | numbers) | whole)",
                lambda: f"(reduce {self.array(depth - 1)}[] as $i (0; . + ($i | length)) | whole)",
                lambda: f"([{self.several(depth - 1)}] | length)",
                lambda: f"({self.text(depth - 1)} | fromdate)",
            ],
        )

    def text(self, depth: int) -> str:
        t = partial(self.text, depth - 1)
        word = json.dumps(self.random.choice(WORDS), ensure_ascii=False)
        return self.pick(
            depth,
            [word, word, ".s", ".t", ".c[0]", ".l[0].k"],
            [
                lambda: f"({t()} + {t()})",
                lambda: f"({self.any(depth - 1)} | tostring)",
                lambda: f"({self.any(depth - 1)} | tojson)",
                lambda: f"({self.any(depth - 1)} | type)",
                lambda: (
                    f"({t()} | {self.random.choice(['ascii_downcase', 'ascii_upcase', 'trim', 'ltrim', 'rtrim'])})"
                ),
                lambda: f"({t()} | {self.random.choice(['ltrimstr', 'rtrimstr'])}({self.text(0)}))",
                lambda: f"({t()} | text | .[{self.slice()}])",
                lambda: f'"<\\({self.any(depth - 1)})>"',
                lambda: f'@{self.random.choice(FORMATS)} "<\\({self.any(depth - 1)})>"',
                lambda: f"({self.any(depth - 1)} | @{self.random.choice(FORMATS)})",
                lambda: f"({t()} | @base64 | @base64d)",
                lambda: f"({t()} | @uri | @urid)",
                lambda: f"({self.array(depth - 1)} | list | join({self.text(0)}))",
                lambda: f"({t()} | explode | implode)",
                lambda: f'({t()} | sub("{self.expression()}"; "<\\(length)>"))',
                lambda: f'({t()} | gsub("{self.expression()}"; "-"))',
                lambda: f'({t()} | gsub("(?<q>[a-z])"; "\\(.q)!"))',
                lambda: f"({t()} * {self.random.randrange(1, 4)})",
                lambda: f"({self.number(depth - 1)} | floor | abs | todate)",
            ],
        )

    def slice(self) -> str:
        ends = ["", "", "0", "1", "2", "-1", "-2", "10"]
        start, end = self.random.choice(ends), self.random.choice(ends)
        return f"{start}:{end}" if start or end else "1:"

    def array(self, depth: int) -> str:
        a = partial(self.array, depth - 1)
        return self.pick(
            depth,
            [".a", ".b", ".c", ".l", "[]", "[.n, .s, null]"],
            [
                lambda: f"[{self.several(depth - 1)}]",
                lambda: f"[{self.any(depth - 1)}, {self.any(depth - 1)}]",
                lambda: f"({a()} | map({self.within(depth - 1)}))",
                lambda: (
                    f"({a()} | list | {self.random.choice(['sort', 'unique', 'reverse', 'flatten', 'map(list) | transpose'])})"
                ),
                lambda: (
                    f"({a()} | {self.random.choice(['sort_by', 'unique_by', 'group_by'])}({self.within(depth - 1)}))"
                ),
                lambda: f"({a()} | list | flatten({self.random.randrange(3)}))",
                lambda: (
                    f"({self.object(depth - 1)} | {self.random.choice(['keys', 'to_entries', 'keys_unsorted'])})"
                ),
                lambda: f"({a()} | {self.random.choice(['keys', 'to_entries'])})",
                lambda: f"({self.text(depth - 1)} | split({self.text(0)}))",
                lambda: f'({self.text(depth - 1)} | split("{self.expression()}"; null))',
                lambda: f"({self.text(depth - 1)} | explode)",
                lambda: f"({a()} | list | .[{self.slice()}])",
                lambda: f"({a()} + {a()})",
                lambda: f"({a()} - {a()})",
                lambda: f"({a()} | list | indices({self.any(0)}))",
                lambda: f"({self.text(depth - 1)} | text | indices({self.text(0)}))",
                lambda: (
                    f"({a()} | list | if length > 1 then del(.[{self.random.choice(['0', '-1', ':1'])}]) end)"
                ),
                lambda: (
                    f"({a()} | list | if length > 1 then .[{self.random.choice(['0', '1', '-1'])}] = {self.any(depth - 1)} end)"
                ),
                lambda: f"({a()} | list | if length > 0 then .[0] |= {self.single(depth - 1)} end)",
                lambda: f"({a()} | .[] |= {self.single(depth - 1)})",
                lambda: f"({a()} | map_values({self.single(depth - 1)}))",
                lambda: f"({a()} | list | .[{self.slice()}] = {a()})",
                lambda: f"({a()} | .[] += 1)",
                lambda: f"({a()} | map(select({self.about(depth - 1)})))",
                lambda: f"([{self.array(depth - 1)}[] | tostring | ascii_downcase])",
                lambda: f"({a()} | add(.[]) | [whole])",
            ],
        )

    def within(self, depth: int) -> str:
        """What an element becomes."""
        return self.random.choice(
            [
                ".",
                "type",
                "tostring",
                "length",
                ".k?",
                "[.]",
                "empty",
                "(., .)",
                "not",
                "{v: .}",
                ". + 1",
                '(if type == "string" then length else . end)',
                f"select({self.about(depth)})",
            ]
        )

    def single(self, depth: int) -> str:
        """What an element becomes, as one value."""
        return f"first({self.within(depth)})"

    def object(self, depth: int) -> str:
        o = partial(self.object, depth - 1)
        key = self.random.choice(["a", "b", "k", "n"])
        return self.pick(
            depth,
            [".o", ".l[0]", "{}", "{n, s}", "."],
            [
                lambda: f'{{{key}: {self.any(depth - 1)}, "é": {self.any(depth - 1)}}}',
                lambda: f"{{({self.text(depth - 1)} | tostring): {self.any(depth - 1)}}}",
                lambda: "{n, s, (.t | tostring): 1}",
                lambda: f"({o()} + {o()})",
                lambda: f"({o()} * {o()})",
                lambda: f"({o()} | with_entries(.value |= {self.single(depth - 1)}))",
                lambda: f"({o()} | with_entries(select(.value | {self.about(depth - 1)})))",
                lambda: f'({o()} | with_entries(.key |= "k_" + .))',
                lambda: f"({o()} | to_entries | from_entries)",
                lambda: f"({o()} | map_values({self.single(depth - 1)}))",
                lambda: f"({o()} | object | del(.{key}))",
                lambda: f"({o()} | object | del(.[] | select({self.about(depth - 1)})))",
                lambda: f"({o()} | object | pick(.{key}))",
                lambda: f"({o()} | object | .{key} = {self.any(depth - 1)})",
                lambda: f"({o()} | object | .{key} |= {self.single(depth - 1)})",
                lambda: f"({o()} | object | .{key} += {self.number(depth - 1)})",
                lambda: f"({o()} | object | .{key} //= {self.any(depth - 1)})",
                lambda: f"({o()} | object | .{key} = {{}} | .{key}.b = 1)",
                lambda: f"(reduce {self.array(depth - 1)}[] as $i ({{}}; .[$i | tostring] += 1))",
                lambda: "(. as {n: $n, o: {a: $p}} | {$n, $p})",
                lambda: f"({self.array(depth - 1)} | list as [$p, $q] | {{$p, $q}})",
            ],
        )

    def boolean(self, depth: int) -> str:
        b = partial(self.boolean, depth - 1)
        word = json.dumps(self.random.choice(WORDS), ensure_ascii=False)
        compared = self.random.choice(["==", "!=", "<", "<=", ">", ">="])
        return self.pick(
            depth,
            [".f", "true", "false", "(.n > 1)", '(.s == "a")'],
            [
                lambda: f"({self.any(depth - 1)} {compared} {self.any(depth - 1)})",
                lambda: f"({self.number(depth - 1)} {compared} {self.number(depth - 1)})",
                lambda: f"({b()} and {b()})",
                lambda: f"({b()} or {b()})",
                lambda: f"({self.any(depth - 1)} | not)",
                lambda: f'({self.text(depth - 1)} | test("{self.expression()}"))',
                lambda: f'({self.text(depth - 1)} | test("{self.expression()}"; "i"))',
                lambda: f"({self.text(depth - 1)} | startswith({self.text(0)}))",
                lambda: f"({self.text(depth - 1)} | endswith({self.text(0)}))",
                lambda: f"({self.text(depth - 1)} | text | contains({word}))",
                lambda: f"({self.array(depth - 1)} | map(tojson) | contains([{word}]))",
                lambda: f"({self.object(depth - 1)} | object | map_values(tojson) | contains({{a: {word}}}))",
                lambda: f"({word} | inside({self.text(depth - 1)} | text))",
                lambda: f"({self.object(depth - 1)} | has({self.text(0)} | tostring))",
                lambda: f"({self.array(depth - 1)} | has({self.random.randrange(3)}))",
                lambda: f"({self.text(0)} | tostring | in({self.object(depth - 1)}))",
                lambda: f"({self.array(depth - 1)} | any)",
                lambda: f"({self.array(depth - 1)} | all)",
                lambda: f"({self.array(depth - 1)} | any({self.about(depth - 1)}))",
                lambda: f"all({self.array(depth - 1)}[]; {self.about(depth - 1)})",
                lambda: f"isempty({self.several(depth - 1)})",
                lambda: (
                    f"({self.number(depth - 1)} | {self.random.choice(['isnan', 'isinfinite', 'isnormal'])})"
                ),
                lambda: f"({self.any(depth - 1)} | toboolean)",
            ],
        )


KINDS = [
    "numbers",
    "strings",
    "nulls",
    "booleans",
    "arrays",
    "objects",
    "iterables",
    "scalars",
    "values",
    "finites",
]
FORMATS = ["base64", "html", "json", "sh", "text", "uri"]

# What docs/MAPPING.md says about how jaq differs is avoided: a condition or a type of its own comes before.
# jaq gives null, or fails, where jq fails, or gives null: slices, assignments and indices of null, `.[0]` of an object.
TYPES = (
    'def list: if type == "array" then . else [] end; def object: if type == "object" then . else {} end; '
)
TYPES += 'def text: if type == "string" then . else "" end;'
# jaq writes a calculated 5.0 into texts as `5.0`.
TYPES += ' def whole: if type == "number" and . == floor then floor end;'
# jq writes these as null or as the largest number, and jaq refuses them.
FINITE = 'walk(if type == "number" and (isnan or isinfinite) then "nan" end)'
