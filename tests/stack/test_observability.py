"""Alarms, the dashboard and the saved queries name what the real function writes.

One side is the template and what was deployed of it, the other are the lines in the log groups: neither a
metric nor a field can be renamed on one side alone.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from function import running
from shell import Shell

from stack import run
from stack.deploy import client
from stack.settings import PATIENCE_SECS, REGION, Settings
from stacks import ACCOUNT, Variant

OURS = "sqs-to-postgres"
QUEUE_ARN = f"arn:aws:sqs:{REGION}:{ACCOUNT}:queue"
FUNCTION_ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{OURS}"
Metric = tuple[str, frozenset[str]]
"""Name, and names of the dimensions."""
Line = dict[str, Any]

# Names and dimensions by AWS's documentation:
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
# https://docs.aws.amazon.com/sns/latest/dg/sns-monitoring-using-cloudwatch.html
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
OF_AWS = {
    "AWS/SQS": {
        (name, frozenset({"QueueName"}))
        for name in (
            "ApproximateAgeOfOldestMessage",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesVisible",
            "NumberOfMessagesSent",
        )
    },
    "AWS/SNS": {("NumberOfNotificationsFailedToRedriveToDlq", frozenset({"TopicName"}))},
    "AWS/Lambda": {
        (name, frozenset({"FunctionName"})) for name in ("Duration", "Errors", "Invocations", "Throttles")
    },
}
REDRIVEN = ("bulk", "other-account")
SEVERAL_TABLES = """
unmatched = "skip"

[[table]]
name = "payments"
when = { kind = "payment" }
key = ["id"]
column = [{ name = "id", type = "bigint", required = true }]

[[table]]
name = "customers"
when = { kind = "customer" }
delete_when = { is_deleted = true }
key = ["id"]
on_conflict = "update"
newer = "version"
column = [{ name = "id", type = "bigint", required = true }, { name = "version", type = "integer" }]

[[table]]
name = "members"
when = { kind = "member" }
delete_when = { is_deleted = true }
deleted = "deleted_at"
key = ["id"]
on_conflict = "update"
newer = "version"
column = [{ name = "id", type = "bigint", required = true }, { name = "version", type = "integer" }]

[[table]]
name = "pings"
when = { kind = "ping" }
key = ["id"]
column = [{ name = "id", type = "text", from = "@message_id" }, { name = "note", type = "text" }]
"""
INSIGHTS_WORDS = re.compile(r"\b(filter|stats|fields|sort|limit|by|as|in|asc|desc|like|\d+)\b")
STRINGS = re.compile(r'"[^"]*"')


@pytest.fixture(scope="module")
def lines(settings: Settings, variants: dict[str, Variant]) -> list[Line]:
    """The logs of the functions of all variants, once each bad message has its line."""
    direct = [variant for kind, variant in variants.items() if kind not in REDRIVEN]

    def written() -> list[Line]:
        logged = [line for variant in direct for line in run.log_lines(settings, variant.deployment)]
        dead = {line["Function"] for line in logged if "MessagesDeadLettered" in line}
        return logged if len(dead) == len(direct) else []

    return run.until(written, PATIENCE_SECS, "no line of each dead letter")


@pytest.fixture
def of_several_tables(settings: Settings, shell: Shell) -> list[Line]:
    """The log of a function that stores, repeats, passes over, deletes and skips rows, one without values."""
    (shell.folder / "pipeline.toml").write_text(SEVERAL_TABLES)
    shell.output('sqs-to-postgres ddl | psql "$DATABASE_URL" -q -v ON_ERROR_STOP=1')
    # `added` is read by no column.
    payment, ping, other = {"kind": "payment", "id": 1, "added": 1}, {"kind": "ping"}, {"kind": "other"}
    customer = {"kind": "customer", "id": 1, "version": 2}
    newer = [customer | {"version": 1}, customer | {"version": 3, "is_deleted": True}]
    member = {"kind": "member", "id": 1, "version": 1, "is_deleted": True}
    with running(settings, shell) as function:
        for body in [payment, customer, payment, *newer, member, ping, other]:
            function.store(json.dumps(body))
        return [json.loads(line) for line in function.output().splitlines()]


@pytest.fixture
def emitted(lines: list[Line], of_several_tables: list[Line]) -> set[Metric]:
    """Each metric with each of its sets of dimensions, whose values are in the line too."""
    found = set()
    for line in [*lines, *of_several_tables]:
        for directive in line.get("_aws", {}).get("CloudWatchMetrics", []):
            assert directive["Namespace"] == OURS
            for names in directive["Dimensions"]:
                assert all(isinstance(line[name], str) for name in names)
                found |= {(metric["Name"], frozenset(names)) for metric in directive["Metrics"]}
    return found


def check(namespace: str, metric: Metric, emitted: set[Metric]) -> None:
    known = emitted if namespace == OURS else OF_AWS[namespace]
    assert metric in known, f"{namespace} {metric} is named, but never written"


def test_every_alarm_watches_a_metric_of_this_function(
    settings: Settings, variants: dict[str, Variant], emitted: set[Metric]
) -> None:
    variant = variants["every-option"]
    prefix = f"{variant.name}-"
    alarms = client(settings, "cloudwatch").describe_alarms(AlarmNamePrefix=prefix)["MetricAlarms"]
    queue = variant.deployment.queue_url.rpartition("/")[2]
    assert len(alarms) == 10
    for alarm in alarms:
        dimensions = {dimension["Name"]: dimension["Value"] for dimension in alarm["Dimensions"]}
        check(alarm["Namespace"], (alarm["MetricName"], frozenset(dimensions)), emitted)
        assert set(dimensions.values()) <= {variant.name, queue, f"{queue}-dlq", "logins"}


def dashboard(template: dict[str, Any]) -> dict[str, Any]:
    """The dashboard of the template, with names in place of values: LocalStack does not create dashboards."""
    body, variables = template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    conditional = {"OfDeadLetters", "OfSilence", "OfTopic"}
    for name in conditional:
        _, shown, otherwise = variables[name]["Fn::If"]
        assert otherwise == ""
        body = body.replace(f"${{{name}}}", shown["Fn::Sub"])
    names = set(re.findall(r"\$\{([\w:.]+)\}", body))
    references = {name.partition(".")[0] for name in names - set(variables) if not name.startswith("AWS::")}
    assert references <= set(template["Resources"])
    assert set(variables) - conditional <= names
    return json.loads(
        re.sub(r"\$\{([\w:.]+)\}", lambda name: "0" if name[1] == "DurationMillis" else name[1], body)
    )


def widget_metrics(widget: dict[str, Any]) -> Iterator[tuple[str, Metric]]:
    for row in widget["properties"].get("metrics", []):
        if isinstance(row[0], dict):
            search = re.match(r"""SEARCH\('\{"(.+)",([\w,]+)\} MetricName="(\w+)" """, row[0]["expression"])
            assert search, row
            yield search[1], (search[3], frozenset(search[2].split(",")))
        else:
            namespace, name, *dimensions = [part for part in row if isinstance(part, str)]
            yield namespace, (name, frozenset(dimensions[::2]))


def test_every_widget_shows_metrics_that_are_written(template: dict[str, Any], emitted: set[Metric]) -> None:
    named = [metric for widget in dashboard(template)["widgets"] for metric in widget_metrics(widget)]
    assert {namespace for namespace, _ in named} == {OURS, "AWS/SQS", "AWS/Lambda"}
    for namespace, metric in named:
        check(namespace, metric, emitted)


def test_the_dashboard_shows_every_metric_and_every_alarm(
    template: dict[str, Any], emitted: set[Metric]
) -> None:
    widgets = dashboard(template)["widgets"]
    shown = {
        metric for widget in widgets for namespace, metric in widget_metrics(widget) if namespace == OURS
    }
    assert {name for name, _ in shown} == {name for name, _ in emitted}
    # All counts of rows, of each of several tables too.
    of_tables = {metric for metric in emitted if "Table" in metric[1]}
    assert len(of_tables) == 6
    assert of_tables <= shown
    alarms = {
        name for name, made in template["Resources"].items() if made["Type"] == "AWS::CloudWatch::Alarm"
    }
    assert {arn.removesuffix(".Arn") for arn in widgets[0]["properties"]["alarms"]} == alarms


def queries(template: dict[str, Any]) -> dict[str, str]:
    """The saved ones, and the one on the dashboard."""
    saved = {
        name: made["Properties"]["QueryString"]
        for name, made in template["Resources"].items()
        if made["Type"] == "AWS::Logs::QueryDefinition"
    }
    assert len(saved) == 3
    (shown,) = [
        widget["properties"]["query"] for widget in dashboard(template)["widgets"] if widget["type"] == "log"
    ]
    source, _, query = shown.partition(" | ")
    assert source == "SOURCE 'LogGroup'"
    return saved | {"Dashboard": query}


def fields_of(query: str) -> set[str]:
    """The fields of a line that a Logs Insights query names."""
    bare = STRINGS.sub("", query)
    bare = re.sub(r"\b\w+\(", "(", bare)  # functions
    aliases = set(re.findall(r"\bas (\w+)", bare))
    names = set(re.findall(r"@?[a-z_][\w.]*", INSIGHTS_WORDS.sub("", bare)))
    return names - aliases


def flat(line: Line) -> set[str]:
    """Its fields as Logs Insights names them: `span.request_id`."""
    nested = {
        f"{name}.{inner}" for name, value in line.items() if isinstance(value, dict) for inner in flat(value)
    }
    return set(line) | nested


@pytest.mark.parametrize(
    "name", ["FailuresByRuleQuery", "SlowestBatchesQuery", "MessageLifeQuery", "Dashboard"]
)
def test_every_field_of_a_query_is_in_the_lines_that_it_asks_for(
    template: dict[str, Any], lines: list[Line], name: str
) -> None:
    query = queries(template)[name]
    asked = re.search(r'filter message = "([^"]+)"', query)
    answering = [line for line in lines if not asked or line.get("message") == asked[1]]
    assert answering
    written = set().union(*(flat(line) for line in answering))
    named = fields_of(query)
    assert named - {"@timestamp"} <= written, named - written
    assert len(named) >= 3
