"""Records a session at a terminal for the README: session.py FOLDER-OF-THE-TOOL OUTPUT.svg.

Types each command into a real shell, and draws what it prints. The same tool prints the same, so that a test
compares the picture with a new recording.
"""

import os
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TYPED = (
    "sqs-to-postgres infer --table orders events/orders.jsonl > orders.toml",
    "grep masked_email orders.toml",
    "sqs-to-postgres explain --pipeline orders.toml events/orders.jsonl > rows",
    "grep -m1 -A9 'line 1: a row of \"orders_lines\"' rows",
    "sqs-to-postgres ddl --pipeline orders.toml | grep -A5 'TABLE \"orders_lines\"'",
)
COLUMNS = 112
FONT_PX, LINE_PX, MARGIN_PX = 13, 19, 16
COLUMN_PX = FONT_PX * 0.6
TEXT, TYPED_TEXT, GROUND = "#c9d1d9", "#7ee787", "#0d1117"


def record(tool: Path) -> list[str]:
    """What the terminal shows, shortened to its width."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "events").symlink_to(ROOT / "events")
        env = {"PATH": f"{tool}{os.pathsep}{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
        for command in TYPED:
            done = subprocess.run(
                ["bash", "-c", f"({command}) 2>&1"], cwd=folder, env=env, capture_output=True, text=True
            )
            lines += [f"$ {command}", *done.stdout.splitlines()]
    return [line if len(line) <= COLUMNS else f"{line[: COLUMNS - 1]}…" for line in lines]


def drawn(lines: list[str]) -> str:
    width = round(COLUMNS * COLUMN_PX) + 2 * MARGIN_PX
    height = len(lines) * LINE_PX + 2 * MARGIN_PX
    said = " ".join(line.removeprefix("$ ") for line in lines if line.startswith("$ "))
    texts = "\n".join(
        f'<text x="{MARGIN_PX}" y="{MARGIN_PX + FONT_PX + number * LINE_PX}"'
        f' fill="{TYPED_TEXT if line.startswith("$ ") else TEXT}" xml:space="preserve">{escape(line)}</text>'
        for number, line in enumerate(lines)
        if line
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" role="img" font-family="ui-monospace, Menlo, Consolas, monospace"'
        f' font-size="{FONT_PX}">\n<title>{escape(said)}</title>\n'
        f'<rect width="{width}" height="{height}" rx="8" fill="{GROUND}"/>\n{texts}\n</svg>\n'
    )


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(drawn(record(Path(sys.argv[1]).resolve())))
