"""docs/MOVING.md: one pipeline in Vector, in Redpanda Connect and here gives the same rows."""

import json
import re
import subprocess
from typing import Any

import pytest
import yaml
from shell import Shell

from stack.settings import Settings

# What the statement of Vector's sink does: src/sinks/postgres/service.rs of vectordotdev/vector at 015112d.
SINK = "INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(NULL::{table}, $json${events}$json$)"
REMAP = """
import json, sys, pyvrl
given = json.load(sys.stdin)
transform = pyvrl.Transform(given["source"])
print(json.dumps([transform.remap({"message": body}) for body in given["bodies"]]))
"""


def blocks(settings: Settings, language: str) -> list[str]:
    page = (settings.root / "docs" / "MOVING.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


@pytest.fixture
def bodies(settings: Settings) -> list[str]:
    (samples,) = blocks(settings, "json")
    return samples.splitlines()


@pytest.fixture
def rows(settings: Settings) -> list[str]:
    """Of the table of the page, as psql prints them."""
    page = (settings.root / "docs" / "MOVING.md").read_text()
    return [row.replace(" | ", "|") for row in re.findall(r"^\| (10\d\d \| .*) \|$", page, re.MULTILINE)]


@pytest.fixture
def orders(settings: Settings, shell: Shell) -> Shell:
    """A shell with the mapping of the page and its table."""
    (mapping,) = blocks(settings, "toml")
    (shell.folder / "pipeline.toml").write_text(mapping)
    shell.output('sqs-to-postgres ddl | psql "$DATABASE_URL" -q -v ON_ERROR_STOP=1')
    return shell


STORED = "SELECT * FROM orders ORDER BY order_id"


def test_the_mapping_stores_the_rows_of_the_page(orders: Shell, bodies: list[str], rows: list[str]) -> None:
    explained = orders.run("sqs-to-postgres explain --json --show-values", "\n".join(bodies)).stdout
    for line in map(json.loads, explained.splitlines()):
        if line["outcome"] == "row":
            row = {column["column"]: column["value"] for column in line["columns"]}
            source = f"json_populate_recordset(NULL::orders, $json$[{json.dumps(row)}]$json$)"
            orders.sql(f"INSERT INTO orders SELECT * FROM {source} ON CONFLICT DO NOTHING")
    assert normal(orders.sql(STORED)) == rows
    assert len(rows) == 2


def normal(rows: list[str]) -> list[str]:
    """Without zeros at the end of a numeric, which JSON of others does not keep."""
    return [re.sub(r"(\.\d*?)0+$", r"\1", row) for row in rows]


def test_vector_makes_the_same_rows_of_the_same_messages_but_loses_a_batch_with_a_duplicate(
    settings: Settings, orders: Shell, bodies: list[str], rows: list[str]
) -> None:
    python = settings.state / "venv" / "examples" / "bin" / "python"
    if subprocess.run([python, "-c", "import pyvrl"], capture_output=True).returncode:
        pytest.skip("pyVRL has no wheel for this Python")
    vector = yaml.safe_load(blocks(settings, "yaml")[0])
    source = vector["transforms"]["rows"]["source"]
    done = subprocess.run(
        [python, "-c", REMAP],
        input=json.dumps({"source": source, "bodies": bodies}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    events = json.loads(done.stdout)
    insert(orders, events[:2])
    assert normal(orders.sql(STORED)) == rows
    orders.sql("TRUNCATE orders")
    with pytest.raises(AssertionError, match="duplicate key"):
        insert(orders, events)
    assert orders.sql(STORED) == []


def insert(orders: Shell, events: list[Any]) -> None:
    orders.sql(SINK.format(table="orders", events=json.dumps(events)))


def test_redpanda_connect_fills_the_columns_of_the_mapping(settings: Settings, orders: Shell) -> None:
    connect = yaml.safe_load(blocks(settings, "yaml")[1])
    of_the_table = "information_schema.columns WHERE table_name = 'orders' ORDER BY ordinal_position"
    columns = orders.sql(f"SELECT column_name FROM {of_the_table}")
    output = connect["output"]["sql_insert"]
    assert output["columns"] == columns
    (processor,) = connect["pipeline"]["processors"]
    assert re.findall(r"^root\.(\w+) =", processor["mapping"], re.MULTILINE) == columns
    assert re.findall(r"this\.(\w+)", output["args_mapping"]) == columns
