"""A mapping, and the name of what is deployed for it."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stack.settings import Settings, StackError

SHIPPED_NAME = "sqs-to-postgres"
SHIPPED_FILE = "pipeline.toml"
EXAMPLES = "examples"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
"""What a stack and a function can be called."""


@dataclass(frozen=True)
class Mapping:
    """The file, and the name of its stack, function and queue."""

    name: str
    file: Path

    @classmethod
    def shipped(cls, settings: Settings) -> "Mapping":
        return cls(SHIPPED_NAME, settings.root / SHIPPED_FILE)

    @classmethod
    def of(cls, file: Path) -> "Mapping":
        """One of the user's own, which is called as its file, or an example, which is not in their way."""
        file = file.absolute()
        stem = f"example-{file.stem}" if file.parent == Settings.of_repo().root / EXAMPLES else file.stem
        name = re.sub(r"[^A-Za-z0-9]+", "-", stem).strip("-")
        if not NAME.fullmatch(name) or name == SHIPPED_NAME:
            raise StackError(
                f"the name of '{file}' cannot be the name of a function and its queue: rename the file, for "
                "example to orders.toml."
            )
        return cls(name, file)

    @classmethod
    def example(cls, settings: Settings, name: str) -> "Mapping":
        """One of examples/."""
        files = sorted((settings.root / EXAMPLES).glob("*.toml"))
        for file in files:
            if file.stem == name:
                return cls.of(file)
        names = ", ".join(file.stem for file in files)
        raise StackError(f"there is no example '{name}': name one with EXAMPLE=…, of {names}")

    def tables(self) -> list[str]:
        """Their names, as SQL has them."""
        return list(self.keys())

    def keys(self) -> dict[str, list[str]]:
        """The columns that identify a row of each table, as SQL has all of these names."""
        return {name: [*map(_quoted, table.get("key", []))] for name, table in self._tables()}

    def columns(self) -> dict[str, list[str]]:
        """All columns of each table."""
        return {name: _names(table.get("column", [])) for name, table in self._tables()}

    def masked(self) -> dict[str, list[str]]:
        """The columns of each table that hold tokens."""
        return {
            name: _names([column for column in table.get("column", []) if "mask" in column])
            for name, table in self._tables()
        }

    def _tables(self) -> list[tuple[str, dict[str, Any]]]:
        read = tomllib.loads(self.file.read_text())
        tables = read["table"]
        if isinstance(tables, str):
            tables = [read | {"name": tables}]
        return [(".".join(map(_quoted, table["name"].split("."))), table) for table in tables]


def _names(columns: list[dict[str, Any]]) -> list[str]:
    return [_quoted(column["name"]) for column in columns]


def _quoted(name: str) -> str:
    return f'"{name}"'
