"""The messages of the chaos run, and what of them is in the tables."""

import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from stack.mapping import Mapping
from stack.settings import Settings

SHARE = 20
"""One in this many messages is bad, and another one is sent twice."""
REFUSED = "refused"
"""The value that a CHECK constraint of this test refuses."""


@dataclass(frozen=True)
class Message:
    """A message with an identity of its own, which a repetition shares."""

    id: str
    key: str
    """The key of what it stores. A later message of the same key replaces it."""
    body: str
    stored: str = ""
    """What the tables say once it is stored."""
    rule: str | None = None
    """The rule that a bad message breaks."""


class Traffic(ABC):
    """Messages for one mapping."""

    name: ClassVar[str]
    constraint: ClassVar[str]
    """Makes Postgres refuse some rows."""
    locked: ClassVar[str]
    """A table that every batch needs."""
    progress: ClassVar[str]
    """Counts the keys that are stored completely, and those that are stored only in part."""
    stored: ClassVar[str]
    """A line for each key with everything that is stored for it, and for each row that belongs to none."""

    @abstractmethod
    def mapping(self, settings: Settings) -> Mapping:
        """The mapping of the function."""

    @abstractmethod
    def good(self, number: int, ids: list[str]) -> Message:
        """The message of this number, whose id is the last one."""

    @abstractmethod
    def bad(self, ids: list[str]) -> dict[str, Message]:
        """By rule, a message that breaks it and holds the run's prefix."""

    def make(self, count: int, run: str) -> Iterator[Message]:
        """Good messages, bad ones of each kind in turn, and repetitions."""
        rules, ids = list(self.bad([""])), []
        for number in range(count):
            ids.append(f"{run}{str(uuid.uuid4())[len(run) :]}")
            if number % SHARE == 0:
                rule = rules[number // SHARE % len(rules)]
                yield replace(self.bad(ids)[rule], id=ids[-1], rule=rule)
            else:
                message = self.good(number, ids)
                yield message
                if number % SHARE == 1:
                    yield replace(message)


class Logins(Traffic):
    """One table: a row for each message."""

    name = "logins"
    constraint = f"ALTER TABLE user_logins ADD CONSTRAINT chaos CHECK (user_id NOT LIKE '{REFUSED}%')"
    locked = "user_logins"
    progress = "SELECT count(DISTINCT user_id), 0 FROM user_logins"
    stored = "SELECT user_id FROM user_logins"

    def mapping(self, settings: Settings) -> Mapping:
        return Mapping.shipped(settings)

    def good(self, number: int, ids: list[str]) -> Message:
        return Message(ids[-1], ids[-1], self._login(ids[-1]), stored=ids[-1])

    def bad(self, ids: list[str]) -> dict[str, Message]:
        id = ids[-1]
        bodies = {
            "body_not_json": f'{{"user_id": "{id}"',
            "required": self._login(id, ip=None),
            "type": self._login(id, device_type=["ios"]),
            "range": self._login(id, app_version="9999999999.1"),
            "length": self._login(id, locale="x" * 33),
            "transform": self._login(id, app_version="beta"),
            "nul_character": self._login(id, locale="D\0E"),
            "refused": self._login(f"{REFUSED} {id}"),
        }
        return {rule: Message(id, id, body) for rule, body in bodies.items()}

    def _login(self, user_id: str, **changes: object) -> str:
        login = {"user_id": user_id, "app_version": "1.2.3", "device_type": "ios", "locale": "DE"}
        return json.dumps(login | {"ip": "192.0.2.1", "device_id": "dev-1"} | changes)


class Orders(Traffic):
    """Orders with lines with discounts. Some are replaced by a newer version with other lines."""

    name = "orders"
    constraint = "ALTER TABLE discounts ADD CONSTRAINT chaos CHECK (percent <= 100)"
    locked = "order_lines"
    # An order says how many lines it has, and a line how many discounts.
    progress = """
        WITH lines AS (SELECT order_id, line, discount_count <> count(number) AS torn
            FROM order_lines LEFT JOIN discounts USING (order_id, line) GROUP BY order_id, line)
        SELECT count(*), count(*) FILTER (WHERE torn) FROM (
            SELECT line_count <> count(line) OR coalesce(bool_or(torn), false) AS torn
            FROM orders LEFT JOIN lines USING (order_id) GROUP BY order_id) AS each
    """
    stored = """
        WITH lines AS (SELECT order_id, line,
                sku || '[' || coalesce(string_agg(percent::text, ',' ORDER BY number), '') || ']' AS said
            FROM order_lines LEFT JOIN discounts USING (order_id, line) GROUP BY order_id, line)
        SELECT concat_ws(' ', order_id, 'v' || version, string_agg(said, ' ' ORDER BY line))
            FROM orders LEFT JOIN lines USING (order_id) GROUP BY order_id
        UNION ALL SELECT 'line of no order: ' || order_id
            FROM order_lines LEFT JOIN orders USING (order_id) WHERE version IS NULL
        UNION ALL SELECT 'discount of no line: ' || order_id
            FROM discounts LEFT JOIN order_lines USING (order_id, line) WHERE sku IS NULL
    """
    VERSIONS = 4
    """One in this many messages is a newer version of the order before it."""

    def mapping(self, settings: Settings) -> Mapping:
        return Mapping.of(settings.root / "localstack" / "chaos-orders.toml")

    def good(self, number: int, ids: list[str]) -> Message:
        is_newer = number % self.VERSIONS == self.VERSIONS - 1
        version, key = (2, ids[-2]) if is_newer else (1, ids[-1])
        # None to four lines, of none to two discounts each.
        lines = [
            (f"sku-{number}-{line}", [5 * line + discount for discount in range((number + line) % 3)])
            for line in range(number % 5)
        ]
        said = [f"{sku}[{','.join(map(str, discounts))}]" for sku, discounts in lines]
        return Message(
            ids[-1], key, self._order(key, version, lines), stored=" ".join([key, f"v{version}", *said])
        )

    def bad(self, ids: list[str]) -> dict[str, Message]:
        """A newer version of an order; nothing of it must be stored."""
        key, lines = ids[max(0, len(ids) - 3)], [("first", [1]), ("last", [2])]
        bodies = {
            "body_not_json": f'{{"order_id": "{key}"',
            "unmatched": self._order(key, 3, lines, type="invoice"),
            "required": self._order(key, 3, [("first", [1]), (None, [2])]),
            "type": self._order(key, 3, [("first", [1]), ("last", [2, "many"])]),
            "not_an_array": self._order(key, 3, lines, lines={"sku": "only"}),
            "refused": self._order(key, 3, [("first", [1]), ("last", [2, 101])]),
        }
        return {rule: Message(ids[-1], key, body) for rule, body in bodies.items()}

    def _order(self, order_id: str, version: int, of: list[tuple[Any, list[Any]]], **changes: object) -> str:
        lines = [
            {
                "sku": sku,
                "discount_count": len(percents),
                "discounts": [{"percent": each} for each in percents],
            }
            for sku, percents in of
        ]
        order = {"type": "order", "order_id": order_id, "version": version}
        return json.dumps(order | {"line_count": len(lines), "lines": lines} | changes)
