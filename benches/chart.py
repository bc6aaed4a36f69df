"""Writes the figures of a run (benches/results.jsonl) into both pages, and draws the chart: `make chart`.

Another run is kept beside it (benches/results-other.jsonl), to show what both say. With `--check` it only
says whether the figures are there. A line of a run is a measurement: what was measured, in which case, and
for each contender its figures: the least, the median and the most of all rounds.
"""

import json
import math
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LAST_RUN = HERE.parent / ".local" / "bench" / "bench.jsonl"
KEPT = HERE / "results.jsonl"
OTHER = HERE / "results-other.jsonl"
PAGE = HERE / "README.md"
FRONT_PAGE = HERE.parent / "README.md"
CHART = HERE / "throughput.svg"

# On both pages the figures stand between these two lines.
FROM = "<!-- figures, written by `make chart` -->\n"
TO = "<!-- end of figures -->\n"

WIDTH, HEIGHT = 800, 420
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 76, 78
FILLED = 0.86  # the share of a batch size's width that its bars take up
GRID_STEP = 100_000
NOTE_CHARS = 140  # about as many as fit on a line

# The limits in gray, ours in blue, the peers in warm colours; each in light and in dark.
COLOURS = [
    ("#6e7781", "#8b949e"),
    ("#afb8c1", "#545d68"),
    ("#0969da", "#4493f8"),
    ("#bc6c00", "#e3a13b"),
    ("#b3324b", "#ff7b8a"),
]

Spread = tuple[float, float, float]
Measurement = dict[str, Any]
Contender = dict[str, Any]


def main() -> None:
    is_check = sys.argv[1:] == ["--check"]
    if not is_check:
        if not LAST_RUN.exists():
            sys.exit("there are no figures: run `make bench-peers` first")
        if not any(line["what"] == "throughput" for line in read(LAST_RUN)):
            sys.exit("the last run did not measure throughput: run `make bench-peers` without BENCH_PARTS")
        keep(LAST_RUN)
    run = read(KEPT)
    files = {
        CHART: chart(of(run, "throughput"), run[0]["machine"]),
        PAGE: between_markers(PAGE, figures(run, read(OTHER))),
        FRONT_PAGE: between_markers(FRONT_PAGE, table(cases(run, "throughput", speed_and_share))),
    }
    for file, text in files.items():
        name = file.relative_to(HERE.parent)
        if not is_check:
            file.write_text(text)
            print(f"wrote {name}")
        elif file.read_text() != text:
            sys.exit(f"{name} does not hold the figures of {KEPT.relative_to(HERE.parent)}: run `make chart`")


def keep(run: Path) -> None:
    """The run that was kept becomes the other one, unless this is the same."""
    if run.read_bytes() != KEPT.read_bytes():
        shutil.copy(KEPT, OTHER)
        shutil.copy(run, KEPT)


def read(file: Path) -> list[Measurement]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def of(run: list[Measurement], what: str) -> list[Measurement]:
    return [measurement for measurement in run if measurement["what"] == what]


def between_markers(page: Path, text: str) -> str:
    head, rest = page.read_text().split(FROM)
    _, tail = rest.split(TO)
    return f"{head}{FROM}\n{text}\n{TO}{tail}"


# The tables. Those of parts that were not measured are missing.


def figures(run: list[Measurement], other: list[Measurement]) -> str:
    largest = of(run, "throughput")[-1]
    at_largest = largest["case"].replace("batch of ", "at ")
    memory = [(f"peak memory {at_largest}", lambda row: spread(row["peak_mib"], 0, " MiB"))]
    functions = [
        {**line, "figures": [row for row in line["figures"] if "peak_mib" in row]}
        for line in of(run, "throughput")
    ]
    parts = [
        (cases(run, "throughput", speed_range_and_share), of(run, "throughput")),
        (cases(run, "throughput", postgres_cpu, POSTGRES_CPU), []),
        (cases(functions, "throughput", own_cpu, "CPU of the function per million"), []),
        (contenders("function", functions[-1:], memory), []),
        (cases(run, "distance", speed_range_and_share), of(run, "distance")),
        (cases(run, "distance", postgres_cpu, POSTGRES_CPU), []),
        (cases(run, "functions", speed_range_and_share), of(run, "functions")),
        (cases(run, "functions", postgres_cpu, POSTGRES_CPU), []),
        (cases(run, "wide", speed_range_and_share), of(run, "wide")),
        (cases(run, "orders", speed_range_and_share), of(run, "orders")),
        (contenders("cold start", of(run, "cold start"), COLD_START), of(run, "cold start")),
        (contenders("drain", of(run, "drain"), DRAIN), of(run, "drain")),
        (cases(run, "round trips", round_trips, "round trips"), of(run, "round trips")),
        (bill(of(run, "bill")), of(run, "bill")),
    ]
    tables = [table(rows) + disturbed(measured) for rows, measured in parts if len(rows) > 1]
    note = f"Medians of {largest['rounds']} rounds, with the least and the most. {run[0]['machine']}.\n"
    return "\n".join([*tables, note, table(both(run, other))])


def both(run: list[Measurement], other: list[Measurement]) -> list[list[str]]:
    """A row for each case of both runs: the share of the first contender that ours reached in each."""
    shares = {line["case"]: share_of_ours(line) for line in other if is_race(line)}
    rows = [["sqs-to-postgres, of the first column", "this run", "another run"]]
    for line in filter(is_race, run):
        if line["case"] in shares:
            rows.append([line["case"], share_of_ours(line), shares[line["case"]]])
    return rows


def is_race(line: Measurement) -> bool:
    return "share_percent" in line.get("figures", [{}])[0]


def share_of_ours(line: Measurement) -> str:
    row = next(row for row in line["figures"] if row["name"] == "sqs-to-postgres")
    return spread(row["share_percent"], 0, "%")


def cases(
    run: list[Measurement], what: str, cell: Callable[[Contender, Contender], str], head: str = "messages/s"
) -> list[list[str]]:
    """A row for each case, a column for each contender, the first of which is the measure of the others."""
    measured = of(run, what)
    if not measured:
        return []
    rows = [[head, *(row["name"] for row in measured[0]["figures"])]]
    for measurement in measured:
        cells = [cell(row, measurement["figures"][0]) for row in measurement["figures"]]
        rows.append([measurement["case"], *cells])
    return rows


def contenders(
    head: str, measured: list[Measurement], columns: list[tuple[str, Callable[[Contender], str]]]
) -> list[list[str]]:
    """A row for each contender, a column for each figure."""
    rows = [[head, *(name for name, _ in columns)]]
    for measurement in measured:
        rows += [[row["name"], *(cell(row) for _, cell in columns)] for row in measurement["figures"]]
    return rows


def bill(measured: list[Measurement]) -> list[list[str]]:
    """A row for each case: what all pay, and each function's compute, also as a share of the second one's."""
    if not measured:
        return []
    names = [row["name"] for row in measured[0]["figures"]]
    rows = [["a million records", "SQS", "Lambda: requests", *(f"compute: {name}" for name in names)]]
    for measurement in measured:
        functions = measurement["figures"]
        both = [f"${functions[0][figure][1]:.4f}" for figure in ("sqs_dollars", "request_dollars")]
        peer = functions[1]["compute_dollars"][1] if len(functions) > 1 else None
        cells = [compute(row, peer) for row in functions]
        rows.append([measurement["case"], *both, *cells, *[""] * (len(names) - len(cells))])
    return rows


def compute(row: Contender, peer: float | None) -> str:
    """`$0.000123 · 2.9 s billed · 20%`"""
    dollars, billed = row["compute_dollars"][1], row["billed_secs"]
    text = f"${dollars:.6f} · {spread(billed, 1, ' s')} billed"
    return f"{text} · {100 * dollars / peer:.0f}%" if peer else text


def speed_and_share(row: Contender, first: Contender) -> str:
    speed = f"{row['messages_per_sec'][1] / 1e3:.1f}k"
    return speed if row is first else f"{speed} · {row['share_percent'][1]:.0f}%"


def speed_range_and_share(row: Contender, _: Contender) -> str:
    return f"{thousands(row['messages_per_sec'])} · {row['share_percent'][1]:.0f}%"


def postgres_cpu(row: Contender, first: Contender) -> str:
    """`2.3 s (2.1–2.7) · 0.77`"""
    figures = row["postgres_secs_per_million"]
    return f"{spread(figures, 1, ' s')} · {figures[1] / first['postgres_secs_per_million'][1]:.2f}"


def own_cpu(row: Contender, first: Contender) -> str:
    """`11.6 s (11.1–11.9) · 6.4×`"""
    figures = row["cpu_secs_per_million"]
    return f"{spread(figures, 1, ' s')} · {figures[1] / first['cpu_secs_per_million'][1]:.1f}×"


def round_trips(row: Contender, _: Contender) -> str:
    return spread(row["round_trips"], 2)


def millis(figure: str) -> Callable[[Contender], str]:
    return lambda row: spread(row[figure], 1, " ms")


def secs(figure: str) -> Callable[[Contender], str]:
    return lambda row: spread(row[figure], 1, " s")


def cores_in_use(row: Contender) -> str:
    per_million = sum(row[figure][1] for figure in ("cpu_secs", "postgres_cpu_secs", "queue_cpu_secs"))
    return f"{per_million * row['messages_per_sec'][1] / 1e6:.1f}"


POSTGRES_CPU = "CPU of Postgres per million"

COLD_START = [
    ("to first /next", millis("next_millis")),
    ("to first answer", millis("answer_millis")),
    ("CPU until then", millis("cpu_millis")),
    ("CPU for its batch of 10", millis("batch_cpu_millis")),
]

DRAIN = [
    ("messages/s", lambda row: thousands(row["messages_per_sec"])),
    ("peak memory", lambda row: spread(row["peak_mib"], 0, " MiB")),
    ("CPU per million", secs("cpu_secs")),
    ("of Postgres", secs("postgres_cpu_secs")),
    ("of the queue", secs("queue_cpu_secs")),
    ("cores in use", cores_in_use),
]


def table(rows: list[list[str]]) -> str:
    """Markdown that is also readable in a terminal: all columns but the first to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    first, *others = widths
    rule = f"|{'|'.join(['-' * (first + 2), *('-' * (width + 1) + ':' for width in others)])}|"
    lines = []
    for name, *cells in rows:
        right = [f"{cell:>{width}}" for cell, width in zip(cells, others, strict=True)]
        lines.append(f"| {' | '.join([f'{name:<{first}}', *right])} |")
    return "".join(f"{line}\n" for line in [lines[0], rule, *lines[1:]])


def disturbed(measured: list[Measurement]) -> str:
    if not measured:
        return ""
    count, rounds = (sum(line[name] for line in measured) for name in ("disturbed_rounds", "rounds"))
    return f"\n{count} of {rounds} rounds were disturbed.\n"


def spread(figures: Spread, decimals: int, unit: str = "") -> str:
    """`12.3 ms (11.9–14.0)`"""
    least, median, most = figures
    return f"{median:.{decimals}f}{unit} ({least:.{decimals}f}–{most:.{decimals}f})"


def thousands(figures: Spread) -> str:
    """`98.4k (91–104)`"""
    least, median, most = (figure / 1e3 for figure in figures)
    decimals = int(median < 10)
    return f"{median:.1f}k ({least:.{decimals}f}–{most:.{decimals}f})"


# The chart, for light and dark backgrounds.


def chart(races: list[Measurement], machine: str) -> str:
    fastest = max(row["messages_per_sec"][1] for race in races for row in race["figures"])
    top = math.ceil(fastest / GRID_STEP) * GRID_STEP
    parts = [*head(races), *grid(top)]
    for place, race in enumerate(races):
        parts += group(race, place, (WIDTH - LEFT - RIGHT) / len(races), top)
    parts += [*legend(races[0]), *note(machine), "</svg>"]
    return "".join(f"{part}\n" for part in parts)


def head(races: list[Measurement]) -> list[str]:
    title = "Messages per second by batch size"
    light = "".join(f".c{number}{{fill:{colour}}}" for number, (colour, _) in enumerate(COLOURS))
    dark = "".join(f".c{number}{{fill:{colour}}}" for number, (_, colour) in enumerate(COLOURS))
    # The description for screen readers.
    words = "; ".join(
        f"{race['case']}: "
        + ", ".join(f"{row['name']} {label(row['messages_per_sec'][1])}" for row in race["figures"])
        for race in races
    )
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        ' aria-labelledby="title">',
        f'<title id="title">{title}: {words}</title>',
        "<style>text{font:12px system-ui,sans-serif;fill:#1f2328}.big{font-size:15px;font-weight:600}"
        f".small{{font-size:10.5px}}line{{stroke:#d1d9e0}}{light}@media(prefers-color-scheme:dark)"
        f"{{text{{fill:#e6edf3}}line{{stroke:#3d444d}}{dark}}}</style>",
        f'<text class="big" x="{LEFT}" y="22">{title}</text>',
    ]


def height_of(per_sec: float, top: int) -> float:
    return (HEIGHT - TOP - BOTTOM) * per_sec / top


def grid(top: int) -> list[str]:
    lines = []
    for per_sec in range(0, top + 1, GRID_STEP):
        y = HEIGHT - BOTTOM - height_of(per_sec, top)
        lines.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label(per_sec)}</text>'
        )
    return lines


def group(race: Measurement, place: int, room: float, top: int) -> list[str]:
    bar = room * FILLED / len(race["figures"])
    start = LEFT + room * place + room * (1 - FILLED) / 2
    bars = []
    for number, row in enumerate(race["figures"]):
        per_sec = row["messages_per_sec"][1]
        x, height = start + bar * number, height_of(per_sec, top)
        y = HEIGHT - BOTTOM - height
        bars.append(
            f'<rect class="c{number}" x="{x + 1:.1f}" y="{y:.1f}" width="{bar - 2:.1f}"'
            f' height="{height:.1f}"/>'
            f'<text class="small" x="{x + bar / 2:.1f}" y="{y - 4:.1f}" text-anchor="middle">'
            f"{label(per_sec)}</text>"
        )
    x, y = LEFT + room * (place + 0.5), HEIGHT - BOTTOM + 18
    return [*bars, f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{race["case"]}</text>']


def legend(race: Measurement) -> list[str]:
    parts, x = [], float(LEFT)
    for number, row in enumerate(race["figures"]):
        name = f"limit: {row['name']}" if number < 2 else row["name"]
        parts.append(
            f'<rect class="c{number}" x="{x:.1f}" y="36" width="11" height="11"/>'
            f'<text x="{x + 16:.1f}" y="46">{name}</text>'
        )
        x += 36 + 6.6 * len(name)
    return parts


def note(machine: str) -> list[str]:
    lines = textwrap.wrap(machine, NOTE_CHARS, break_long_words=False)
    y = HEIGHT - BOTTOM + 42
    return [
        f'<text class="small" x="{LEFT}" y="{y + 14 * number}">{line}</text>'
        for number, line in enumerate(lines)
    ]


def label(per_sec: float) -> str:
    """`0`, `4.2k`, `384k`"""
    if per_sec == 0:
        return "0"
    return f"{per_sec / 1e3:.{int(per_sec < 10_000)}f}k"


if __name__ == "__main__":
    main()
