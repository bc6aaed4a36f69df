"""A mapping, and the name of what is deployed for it."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from stack.settings import Settings, StackError

SHIPPED_NAME = "sqs-to-postgres"
SHIPPED_FILE = "pipeline.toml"
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
        """One of the user's own, which is called as its file."""
        name = re.sub(r"[^A-Za-z0-9]+", "-", file.stem).strip("-")
        if not NAME.fullmatch(name) or name == SHIPPED_NAME:
            raise StackError(
                f"the name of '{file}' cannot be that of a function and its queue: rename the file, for "
                "example to orders.toml."
            )
        return cls(name, file.absolute())

    def tables(self) -> list[str]:
        """Their names, as SQL has them."""
        named = tomllib.loads(self.file.read_text())["table"]
        names = [named] if isinstance(named, str) else [table["name"] for table in named]
        return [".".join(f'"{part}"' for part in name.split(".")) for name in names]
