"""Random times: what the function stores is what `date`, Python and Postgres itself make of their texts."""

import json
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from random import Random
from zoneinfo import ZoneInfo

from shell import Shell
from stored import seeded, store

from stack.settings import Settings

SECONDS_OF_A_DAY = 86400
END_OF_2199 = 7258118400
"""Numbers are times of 1970 to 2199, so that one of another unit is noticed."""
UNITS = {
    "s": Decimal(1),
    "ms": Decimal("1e-3"),
    "us": Decimal("1e-6"),
    "ns": Decimal("1e-9"),
    "days": Decimal(86400),
}
INSTANTS = ["timestamptz", "timestamp", "date"]
# With odd offsets, and odd changes of the clocks: by half an hour, by two hours, past midnight, by a day.
ZONES = [
    "Europe/Zurich",
    "America/New_York",
    "America/St_Johns",
    "America/Caracas",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Antarctica/Troll",
]
YEARS = range(1980, 2022)
"""No later version of the time zone database has changed these zones in these years."""
FORMATS = [
    "%Y-%m-%d %H:%M:%S",
    "%d/%b/%Y:%H:%M:%S",
    "%A, %d %B %Y, %I:%M:%S %p",
    "%m/%d/%Y %I:%M:%S %p",
    "%Y%m%dT%H%M%S",
    "%Y %j %T",
]
OFFSET = "%a, %d %b %Y %H:%M:%S %z"
EACH = 400


def test_a_number_is_stored_as_the_time_that_date_prints_for_it(settings: Settings, shell: Shell) -> None:
    random = seeded()
    kinds = [(kind, unit) for kind in INSTANTS for unit in UNITS]
    kinds += [("time", unit) for unit in UNITS if unit != "days"]
    columns = {f"{kind}_{unit}": f'type = "{kind}"\nunit = "{unit}"' for kind, unit in kinds}
    asked = [random.choice(kinds) for _ in range(2 * EACH)]
    numbers = [number(random, kind, unit) for kind, unit in asked]
    bodies = [
        f'{{"{kind}_{unit}": {spelled(random, digits)}}}'
        for (kind, unit), digits in zip(asked, numbers, strict=True)
    ]
    seconds = [
        nearest(Decimal(digits) * UNITS[unit]) for (kind, unit), digits in zip(asked, numbers, strict=True)
    ]
    printed = date("UTC", [f"@{second}" for second in seconds], "%Y-%m-%d %H:%M:%S.%N")
    part = {"date": slice(10), "time": slice(11, None)}
    texts = [text[part.get(kind, slice(None))] for (kind, _), text in zip(asked, printed, strict=True)]
    wanted = casts(shell, [(kind, text) for (kind, _), text in zip(asked, texts, strict=True)])
    stored = store(settings, shell, columns, bodies)
    for position, (kind, _) in enumerate(asked):
        second, body = seconds[position], bodies[position]
        most = SECONDS_OF_A_DAY if kind == "time" else END_OF_2199
        if kind == "time" and second == most:
            assert value(stored.rows, position, body) == "24:00:00", body
        elif 0 <= second < most:
            assert value(stored.rows, position, body) == wanted[position], body
        else:
            assert stored.rules.get(position) == "range", body


def nearest(second: Decimal) -> Decimal:
    """Half a microsecond is rounded to the even one, which the floats of Postgres do not always do."""
    return second.quantize(Decimal("1e-6"), ROUND_HALF_EVEN)


def number(random: Random, kind: str, unit: str) -> str:
    """A number of seconds or of another unit, exact to the nanosecond."""
    if unit == "days":
        return str(random.randrange(-3, END_OF_2199 // SECONDS_OF_A_DAY + 3))
    most = SECONDS_OF_A_DAY if kind == "time" else END_OF_2199
    near = random.choice([0, most, random.randrange(most), random.randrange(most), random.randrange(most)])
    nanos = near * 10**9 + random.choice([0, 1, -1, 10**9, -(10**9), random.randrange(10**9)])
    if nanos > 0:
        nanos = nanos // 10**3 * 10**3 + random.choice([0, 0, 0, 499, 500, 501])
    return f"{Decimal(nanos).scaleb(-9) / UNITS[unit]:f}"


def spelled(random: Random, digits: str) -> str:
    """A number as JSON writes it, or in a string."""
    plain = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return random.choice([plain, f'"{plain}"', f"{Decimal(plain):e}", f'"{digits}"'])


def date(zone: str, texts: list[str], form: str) -> list[str]:
    """What the program `date` prints for texts."""
    done = subprocess.run(
        ["date", "-f", "-", f"+{form}"],
        input="\n".join(texts),
        env={"TZ": zone, "LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def casts(shell: Shell, typed: list[tuple[str, str]]) -> list[str | None]:
    """What Postgres makes of texts of types, as text; null if it refuses them."""
    kinds = {kind for kind, _ in typed}
    whens = "".join(
        f"WHEN kind = '{kind}' AND pg_input_is_valid(t, '{kind}') THEN t::{kind}::text " for kind in kinds
    )
    sql = f"SELECT json_agg(CASE {whens} END ORDER BY n) FROM json_array_elements($j${json.dumps(typed)}$j$)"
    (answer,) = shell.sql(
        f"SET TimeZone = 'UTC'; {sql} WITH ORDINALITY AS e(pair, n), "
        "LATERAL (SELECT pair ->> 0 AS kind, pair ->> 1 AS t) AS typed"
    )
    return json.loads(answer)


def value(rows: dict[int, list[str | None]], position: int, body: str) -> str | None:
    """The only value of a row."""
    assert position in rows, f"rejected: {body}"
    (found,) = [cell for cell in rows[position] if cell is not None]
    return found


@dataclass(frozen=True)
class Local:
    """A local time of a zone, and the instants at which its clocks showed it."""

    zone: str
    time: datetime

    def instants(self) -> set[datetime]:
        aware = self.time.replace(tzinfo=ZoneInfo(self.zone))
        both = {aware.replace(fold=fold).astimezone(UTC) for fold in (0, 1)}
        shown = {
            instant for instant in both if instant.astimezone(aware.tzinfo).replace(tzinfo=None) == self.time
        }
        return {instant.replace(tzinfo=None) for instant in shown}


def local(random: Random) -> Local:
    """A local time, mostly near a change of the clocks."""
    zone = random.choice(ZONES)
    day = datetime(random.choice(YEARS), 1, 1, tzinfo=UTC) + timedelta(seconds=random.randrange(365 * 86400))
    change = last_change(ZoneInfo(zone), day) if random.random() < 0.8 else None
    shown = (change or day).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    before = ((change or day) - timedelta(seconds=1)).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    between = random.randrange(int(abs(shown - before).total_seconds()) + 1)
    near = random.choice([0, 0, 1, -1, between, between, between, random.randrange(-9000, 9000)])
    return Local(zone, min(shown, before) + timedelta(seconds=near))


def last_change(zone: ZoneInfo, end: datetime) -> datetime | None:
    """The first second after the last change of the clocks in the year before an instant."""
    offset = end.astimezone(zone).utcoffset()
    for days in range(1, 366):
        start = end - timedelta(days=days)
        if start.astimezone(zone).utcoffset() != offset:
            low, high = 0, SECONDS_OF_A_DAY
            while high - low > 1:
                middle = (low + high) // 2
                same = (start + timedelta(seconds=middle)).astimezone(zone).utcoffset() == offset
                low, high = (low, middle) if same else (middle, high)
            return start + timedelta(seconds=high)
    return None


def test_a_local_time_is_the_instant_that_date_python_and_postgres_name_or_is_rejected(
    settings: Settings, shell: Shell
) -> None:
    random = seeded()
    columns = {}
    for zone in ZONES:
        columns[zone] = f'type = "timestamptz"\nzone = "{zone}"'
        for n, form in enumerate(FORMATS):
            columns[f"{zone} {n}"] = f'type = "timestamptz"\nformat = "{form}"\nzone = "{zone}"'
    times = [local(random) for _ in range(EACH)]
    bodies = [json.dumps(dict([field(random, time)])) for time in times]
    stored = store(settings, shell, columns, bodies)
    once = {n: time.instants().pop() for n, time in enumerate(times) if len(time.instants()) == 1}
    assert EACH / 4 < len(once) < EACH * 3 / 4, "too few that are ambiguous, or too few that are not"
    by_date = {}
    for zone in ZONES:
        asked = [n for n in once if times[n].zone == zone]
        by_date |= dict(zip(asked, date(zone, [str(times[n].time) for n in asked], "%s"), strict=True))
    by_postgres = in_zone(shell, [times[n] for n in once])
    for n, postgres in zip(once, by_postgres, strict=True):
        wanted = f"{once[n]}+00"
        assert value(stored.rows, n, bodies[n]) == wanted, bodies[n]
        assert postgres == wanted, bodies[n]
        assert int(by_date[n]) == once[n].replace(tzinfo=UTC).timestamp(), bodies[n]
    for n in range(EACH):
        if n not in once:
            assert stored.rules.get(n) == "local_time", f"{bodies[n]}: {times[n].instants()}"


def field(random: Random, time: Local) -> tuple[str, str]:
    """A field with a local time in one of its spellings."""
    n = random.randrange(len(FORMATS))
    plain = time.time.isoformat(sep=random.choice(" T"))
    return random.choice([(time.zone, plain), (f"{time.zone} {n}", time.time.strftime(FORMATS[n]))])


def in_zone(shell: Shell, times: list[Local]) -> list[str]:
    """The instants that Postgres finds for local times, in UTC."""
    given = json.dumps([[str(time.time), time.zone] for time in times])
    return shell.sql(
        "SET TimeZone = 'UTC'; SELECT (e ->> 0)::timestamp AT TIME ZONE (e ->> 1) "
        f"FROM json_array_elements($j${given}$j$) WITH ORDINALITY AS t(e, n) ORDER BY n"
    )


def test_a_time_in_a_format_is_the_one_that_python_wrote(settings: Settings, shell: Shell) -> None:
    random = seeded()
    forms = [("timestamp", form) for form in FORMATS]
    forms += [("date", "%d.%m.%Y"), ("date", "%b %d %Y"), ("date", "%Y-%j"), ("time", "%I:%M:%S %p")]
    forms += [("time", "%H%M%S"), ("timestamptz", OFFSET), ("timestamptz", "%Y-%m-%dT%H:%M:%S%z")]
    columns = {f"c{n}": f'type = "{kind}"\nformat = "{form}"' for n, (kind, form) in enumerate(forms)}
    bodies, expected = [], []
    for _ in range(EACH):
        n = random.randrange(len(forms))
        kind, form = forms[n]
        zone = ZoneInfo(random.choice(ZONES))
        time = datetime.fromtimestamp(random.randrange(157766400, 1640995200), zone)
        bodies.append(json.dumps({f"c{n}": time.strftime(form)}))
        plain = time.strftime("%Y-%m-%d %H:%M:%S%z" if kind == "timestamptz" else "%Y-%m-%d %H:%M:%S")
        expected.append((kind, plain))
    stored = store(settings, shell, columns, bodies)
    for n, wanted in enumerate(casts(shell, expected)):
        assert value(stored.rows, n, bodies[n]) == wanted, bodies[n]


def test_every_time_that_postgres_prints_is_stored_as_the_same_time(settings: Settings, shell: Shell) -> None:
    random = seeded()
    columns = {kind: f'type = "{kind}"' for kind in ["timestamptz", "timestamp", "date", "time"]}
    kinds = ["timestamptz", "timestamptz", "timestamp", "date", "time"]
    written = ", ".join(f"'{kind}', at::{kind}::text, to_json(at::{kind}) #>> '{{}}'" for kind in kinds)
    sql = ""
    for zone in [*ZONES, "UTC", "Etc/GMT+12", "Asia/Kolkata"]:
        seconds = [random.uniform(*span) for span in [(-30e9, 200e9), (0, 4e9)] for _ in range(8)]
        given = ", ".join(f"({second:.{random.choice([0, 1, 3, 6])}f})" for second in seconds)
        sql += f"SET TimeZone = '{zone}'; SELECT json_build_array({written}) "
        sql += f"FROM (VALUES {given}) AS t(s), LATERAL (SELECT to_timestamp(s) AS at) AS a;\n"
    printed = []
    for line in shell.sql(sql):
        parts = json.loads(line)
        for kind, *texts in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            printed.append((kind, random.choice(texts)))
    bodies = [json.dumps({kind: text}) for kind, text in printed]
    stored = store(settings, shell, columns, bodies)
    for n, wanted in enumerate(casts(shell, printed)):
        assert value(stored.rows, n, bodies[n]) == wanted, bodies[n]
