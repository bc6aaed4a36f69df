"""Log lines of the function and of Lambda, in readable form."""

import json

from stack.logs import Event, readable

AT_MS = 1_769_903_999_500
REASON = "Postgres cannot be reached (refused): check host, port, security groups and TLS"
SPAN = {"request_id": "8476a536", "cold_start": True, "batch_size": 2, "name": "invocation"}


def event(line: dict[str, object] | str) -> Event:
    text = line if isinstance(line, str) else json.dumps(line)
    return {"message": text + "\n", "timestamp": AT_MS}


def ours(level: str, message: str, **fields: object) -> Event:
    moment = "2026-01-31T23:59:59.500123Z"
    return event({"timestamp": moment, "level": level, "message": message, **fields, "span": SPAN})


def lines(*events: Event) -> list[str]:
    """Without the time of day, which depends on the time zone."""
    return [str(text)[14:] for text in readable(events)]


def failed(id: str, attempt: int) -> Event:
    place = {"rule": "required", "column": "masked_ip", "path": "ip", "attempt": attempt}
    return ours("WARN", "message failed", message_id=id, **place, reason="the value is missing")


def metric(name: str, **extra: object) -> dict[str, object]:
    definition = {"Name": name, "Unit": "Count"}
    metadata = {
        "Timestamp": AT_MS,
        "CloudWatchMetrics": [{"Dimensions": [["Function"]], "Metrics": [definition]}],
    }
    return {"_aws": metadata, "Function": "logins", "Table": '"user_logins"', name: 2.0, **extra}


def test_a_failed_message_is_its_rule_its_id_and_the_reason_in_full_each_time() -> None:
    assert lines(failed("id-1", 1), failed("id-2", 3)) == [
        "WARN   message failed        required        id-1  try 1  the value is missing",
        "WARN   message failed        required        id-2  try 3  the value is missing",
    ]


def test_failed_messages_without_a_line_of_their_own_are_counted() -> None:
    more = ours("WARN", "more messages failed", rule="required", messages=2900)
    assert lines(more) == ["WARN   more messages failed  required        2900 without a line"]


def test_a_batch_is_its_numbers() -> None:
    counts = {
        "received": 100,
        "stored": 97,
        "duplicates": 0,
        "stale": 0,
        "failed": 3,
        "dead_lettered": 2,
        "retries": 0,
    }
    batch = ours("INFO", "batch", **counts, failed_by_rule="required=3", millis=3.127)
    assert lines(batch) == [
        "INFO   batch                   100 received     97 stored      3 failed       3.1 ms"
        "      2 dead lettered  required=3  cold start"
    ]


def test_metrics_are_omitted_also_from_the_line_of_a_batch() -> None:
    assert lines(event(metric("MessagesFailed", Rule="required"))) == []
    failed = ours("ERROR", "batch failed", received=2, reason=REASON, **metric("MessagesReceived"))
    assert lines(failed) == [f"ERROR  batch failed          received=2  {REASON}"]


def test_an_error_is_shown_once_although_three_lines_report_it() -> None:
    runtime = ours("ERROR", f"Database: {REASON}")
    report = {"errorType": "Database", "errorMessage": REASON}
    of_lambda = event({"type": "platform.report", "record": {"error": json.dumps(report)}})
    told = lines(ours("ERROR", "batch failed", received=2, reason=REASON), runtime, of_lambda)
    assert told == [f"ERROR  batch failed          received=2  {REASON}"]


def test_a_crash_that_only_lambda_reports_is_shown() -> None:
    error = json.dumps({"errorType": "Runtime.ExitError", "errorMessage": "exit status 137"})
    crash = event({"type": "platform.report", "record": {"status": "error", "error": error}})
    assert lines(crash) == ["ERROR  invocation failed     Runtime.ExitError: exit status 137"]


def test_lambdas_lines_around_an_invocation_that_went_well_are_omitted() -> None:
    start = event({"type": "platform.start", "record": {}})
    report = event({"type": "platform.report", "record": {"status": "success"}})
    assert lines(start, report) == []


def test_a_line_that_is_not_json_is_kept_unchanged() -> None:
    sentence = "sqs-to-postgres cannot start: no database is set"
    assert [line.strip() for line in lines(event(sentence), event(""))] == [sentence]
