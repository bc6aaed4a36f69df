"""Output for people: steps with the time they took, a progress line, short tables."""

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

STEP_WIDTH = 62


def say(text: str = "") -> None:
    """Progress, to stderr."""
    print(text, file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Results, to stdout."""
    print(text, flush=True)


@contextmanager
def step(text: str, *, chatty: bool = False) -> Iterator[None]:
    """Prints what is being done, then how long it took. A chatty step has output of its own in between."""
    began = time.monotonic()
    print(f"· {text} ".ljust(STEP_WIDTH), end="\n" if chatty else "", file=sys.stderr, flush=True)
    try:
        yield
    except BaseException:
        say()
        raise
    secs = time.monotonic() - began
    say(f"  done in {secs:.1f} s" if chatty else f" {secs:5.1f} s")


class Progress:
    """One line that changes in place on a terminal, and one line per change elsewhere."""

    def __init__(self, total: int) -> None:
        self._total, self._last = total, ""

    def show(self, done: int, text: str) -> None:
        if not sys.stderr.isatty():
            if text != self._last:
                say(f"  {text}")
        else:
            filled = 30 * min(done, self._total) // self._total
            line = f"  [{'█' * filled}{'·' * (30 - filled)}] {text}"
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{line[:width]:<{width}}", end="", file=sys.stderr, flush=True)
        self._last = text

    def end(self) -> None:
        if sys.stderr.isatty():
            say()


def counted(count: int, noun: str) -> str:
    """A number and a noun: `1 row`, `2 rows`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned columns, two blanks apart."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"  {line.rstrip()}" for line in lines)
