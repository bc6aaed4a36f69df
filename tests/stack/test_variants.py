"""Every way to deploy the template that differs from the running stack, deployed and used."""

import json
from typing import Any

import pytest

from stack import postgres, run
from stack.deploy import client
from stack.settings import PATIENCE_SECS, Settings
from stacks import ACCOUNT, EXISTING, KEY, VARIANTS, Variant

PROFILES = ("low-latency", "standard", "bulk")
DIRECT = ("low-latency", "standard", "fifo", "existing-queue", "existing-fifo", "every-option")
DAY_SECS = 24 * 3600


def queue_attributes(settings: Settings, url: str) -> dict[str, str]:
    answer = client(settings, "sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    return answer["Attributes"]


def event_source(settings: Settings, variant: Variant) -> dict[str, Any]:
    mappings = client(settings, "lambda").list_event_source_mappings(FunctionName=variant.name)
    return mappings["EventSourceMappings"][0]


def alarms_of(settings: Settings, variant: Variant) -> list[dict[str, Any]]:
    answer = client(settings, "cloudwatch").describe_alarms(AlarmNamePrefix=f"{variant.name}-")
    return answer["MetricAlarms"]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_message_becomes_a_row(settings: Settings, variants: dict[str, Variant], name: str) -> None:
    row = f"SELECT count(*) FROM user_logins WHERE message_id = '{variants[name].good}'"
    run.until(lambda: postgres.query(settings, row) == "1", PATIENCE_SECS, f"no row of {name}")


@pytest.mark.parametrize("name", DIRECT)
def test_a_direct_dead_letter_is_there_at_once_and_says_why(
    settings: Settings, variants: dict[str, Variant], name: str
) -> None:
    receive = {
        "QueueUrl": variants[name].deployment.dead_letter_queue_url,
        "MessageAttributeNames": ["All"],
        "VisibilityTimeout": 0,
    }
    letters = run.until(
        lambda: client(settings, "sqs").receive_message(**receive).get("Messages"),
        PATIENCE_SECS,
        f"no dead letter of {name}",
    )
    said = {key: value["StringValue"] for key, value in letters[0]["MessageAttributes"].items()}
    reason = json.loads(said["rejection"])
    assert (reason["rule"], reason["column"]) == ("required", "masked_ip")
    assert json.loads(said["origin"])["id"] == variants[name].bad


@pytest.mark.parametrize("name", PROFILES)
def test_the_numbers_of_a_profile_arrive(
    settings: Settings, variants: dict[str, Variant], template: dict[str, Any], name: str
) -> None:
    variant, numbers = variants[name], template["Mappings"]["Profiles"][name]
    function = client(settings, "lambda").get_function_configuration(FunctionName=variant.name)
    source = event_source(settings, variant)
    queue = queue_attributes(settings, variant.deployment.queue_url)
    alarms = {alarm["AlarmName"].split("-")[-2]: alarm["Threshold"] for alarm in alarms_of(settings, variant)}
    assert {
        "BatchSize": source["BatchSize"],
        "BatchWindow": source["MaximumBatchingWindowInSeconds"],
        "MaxConcurrency": source["ScalingConfig"]["MaximumConcurrency"],
        "Timeout": function["Timeout"],
        "MemorySize": function["MemorySize"],
        "OutageBackoff": int(function["Environment"]["Variables"]["OUTAGE_BACKOFF_SECS"]),
        "VisibilityTimeout": int(queue["VisibilityTimeout"]),
        "MaxReceiveCount": json.loads(queue["RedrivePolicy"])["maxReceiveCount"],
        "OldestMessageSeconds": alarms["OldestMessageAlarm"],
        "DurationMillis": alarms["DurationAlarm"],
    } == numbers
    assert alarms["DatabaseRetriesAlarm"] == numbers["MaxConcurrency"]


@pytest.mark.parametrize("name", ["fifo", "existing-fifo"])
def test_a_fifo_queue_gets_small_batches_without_a_wait(
    settings: Settings, variants: dict[str, Variant], name: str
) -> None:
    stack = variants[name].deployment
    for url in (stack.queue_url, stack.dead_letter_queue_url):
        assert url.endswith(".fifo")
        assert queue_attributes(settings, url)["FifoQueue"] == "true"
    source = event_source(settings, variants[name])
    assert source["BatchSize"] == 10
    assert not source.get("MaximumBatchingWindowInSeconds")


def test_a_new_fifo_queue_has_high_throughput_and_takes_what_eventbridge_sends(
    settings: Settings, variants: dict[str, Variant]
) -> None:
    attributes = queue_attributes(settings, variants["fifo"].deployment.queue_url)
    assert (attributes["DeduplicationScope"], attributes["FifoThroughputLimit"]) == (
        "messageGroup",
        "perMessageGroupId",
    )
    assert attributes["ContentBasedDeduplication"] == "true"


def test_with_a_gradual_deployment_the_queue_invokes_an_alias_of_a_published_version(
    settings: Settings, variants: dict[str, Variant]
) -> None:
    functions, name = client(settings, "lambda"), variants["gradual"].name
    assert event_source(settings, variants["gradual"])["FunctionArn"].endswith(f":{name}:live")
    assert functions.get_alias(FunctionName=name, Name="live")["FunctionVersion"] == "1"
    version = functions.get_function_configuration(FunctionName=name, Qualifier="1")
    assert version["Description"].endswith("2026-11-24T09:30:00Z")
    # Without one it invokes the function itself, and nothing is published.
    assert event_source(settings, variants["bulk"])["FunctionArn"].endswith(f":{variants['bulk'].name}")
    assert not functions.list_aliases(FunctionName=variants["bulk"].name)["Aliases"]


def test_an_existing_queue_is_used_and_not_touched(settings: Settings, variants: dict[str, Variant]) -> None:
    variant, cloudformation = variants["existing-queue"], client(settings, "cloudformation")
    made = cloudformation.describe_stack_resources(StackName=variant.name)["StackResources"]
    assert "AWS::SQS::Queue" not in {resource["ResourceType"] for resource in made}
    assert event_source(settings, variant)["EventSourceArn"].endswith(f":{EXISTING['before']}")
    watched = [
        dimension["Value"] for alarm in alarms_of(settings, variant) for dimension in alarm["Dimensions"]
    ]
    assert set(watched) == {variant.name, *EXISTING.values()}


def test_a_key_of_ones_own_encrypts_both_queues(settings: Settings, variants: dict[str, Variant]) -> None:
    stack = variants["every-option"].deployment
    for url in (stack.queue_url, stack.dead_letter_queue_url):
        attributes = queue_attributes(settings, url)
        assert attributes["KmsMasterKeyId"] == f"{KEY}2"
        assert attributes.get("SqsManagedSseEnabled") != "true"


def test_a_queue_has_the_name_of_its_stack_or_a_given_one(
    settings: Settings, variants: dict[str, Variant]
) -> None:
    for variant in (variants["standard"], variants["fifo"]):
        assert variant.deployment.queue_url.rpartition("/")[2].removesuffix(".fifo") == variant.name
    assert "/named-" in variants["every-option"].deployment.queue_url


def test_topics_rules_and_buckets_may_send_if_named(settings: Settings, variants: dict[str, Variant]) -> None:
    stack = variants["every-option"].deployment
    attributes = queue_attributes(settings, stack.queue_url)
    only_tls, senders, buckets, topic = json.loads(attributes["Policy"])["Statement"]
    assert only_tls["Effect"] == "Deny"
    for allowed, services in ((senders, ["sns", "events"]), (buckets, "s3"), (topic, "sns")):
        assert (allowed["Effect"], allowed["Action"]) == ("Allow", "sqs:SendMessage")
        assert allowed["Resource"] == attributes["QueueArn"]
        names = [services] if isinstance(services, str) else services
        principals = allowed["Principal"]["Service"]
        assert ([principals] if isinstance(principals, str) else principals) == [
            f"{name}.amazonaws.com" for name in names
        ]
    (rule,) = senders["Condition"]["ArnEquals"]["aws:SourceArn"]
    assert rule.endswith(":rule/orders")
    # The ARN of a bucket names no account.
    assert buckets["Condition"] == {
        "ArnEquals": {"aws:SourceArn": ["arn:aws:s3:::uploads"]},
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
    }


def test_what_a_topic_cannot_deliver_is_in_the_dead_letter_queue(
    settings: Settings, variants: dict[str, Variant]
) -> None:
    stack, sns = variants["every-option"].deployment, client(settings, "sns")
    queue, dead = (queue_attributes(settings, url) for url in (stack.queue_url, stack.dead_letter_queue_url))
    (_, *_, topic), (only_tls, letters) = (json.loads(made["Policy"])["Statement"] for made in (queue, dead))
    assert (only_tls["Effect"], letters["Effect"], letters["Action"]) == ("Deny", "Allow", "sqs:SendMessage")
    assert letters["Resource"] == dead["QueueArn"]
    assert (letters["Principal"], letters["Condition"]) == (topic["Principal"], topic["Condition"])
    subscribed = topic["Condition"]["ArnEquals"]["aws:SourceArn"]
    subscriptions = sns.list_subscriptions_by_topic(TopicArn=subscribed)["Subscriptions"]
    (ours,) = [made for made in subscriptions if made["Endpoint"] == queue["QueueArn"]]
    attributes = sns.get_subscription_attributes(SubscriptionArn=ours["SubscriptionArn"])["Attributes"]
    assert json.loads(attributes["RedrivePolicy"]) == {"deadLetterTargetArn": dead["QueueArn"]}
    (alarm,) = [
        made for made in alarms_of(settings, variants["every-option"]) if made["Namespace"] == "AWS/SNS"
    ]
    assert alarm["Dimensions"] == [{"Name": "TopicName", "Value": "logins"}]


def test_a_maximum_concurrency_overrides_that_of_the_profile(
    settings: Settings, variants: dict[str, Variant]
) -> None:
    variant = variants["every-option"]
    assert event_source(settings, variant)["ScalingConfig"]["MaximumConcurrency"] == 7
    (retries,) = [alarm for alarm in alarms_of(settings, variant) if alarm["MetricName"] == "DatabaseRetries"]
    assert retries["Threshold"] == 7


def test_x_ray_is_an_option(settings: Settings, variants: dict[str, Variant]) -> None:
    functions = client(settings, "lambda")
    modes = [
        functions.get_function_configuration(FunctionName=variants[kind].name)["TracingConfig"]["Mode"]
        for kind in ("standard", "every-option")
    ]
    assert modes == ["PassThrough", "Active"]


def test_no_alarm_watches_a_metric_that_it_cannot_see(
    settings: Settings, variants: dict[str, Variant]
) -> None:
    variant = variants["other-account"]
    alarms = alarms_of(settings, variant)
    assert len(alarms) == 6
    assert {alarm["Namespace"] for alarm in alarms} == {"sqs-to-postgres", "AWS/Lambda"}
    (age,) = [alarm for alarm in alarms if alarm["MetricName"] == "MessageAgeMillis"]
    assert (age["Threshold"], age["Dimensions"]) == (60_000, [{"Name": "Function", "Value": variant.name}])
    stacks = client(settings, "cloudformation").describe_stacks(StackName=variant.name)["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stacks[0]["Outputs"]}
    assert outputs["MissingAlarms"].startswith("There is no alarm on the dead-letter queue")


def test_alarms_go_to_the_address_and_to_the_topic(settings: Settings, variants: dict[str, Variant]) -> None:
    for alarm in alarms_of(settings, variants["every-option"]):
        assert alarm["OKActions"] == alarm["AlarmActions"]
        own, given = sorted(alarm["AlarmActions"], key=lambda arn: arn.endswith(":on-call"))
        assert given.endswith(":on-call")
        subscriptions = client(settings, "sns").list_subscriptions_by_topic(TopicArn=own)["Subscriptions"]
        assert [subscription["Endpoint"] for subscription in subscriptions] == ["on-call@example.org"]


def test_a_key_of_ones_own_encrypts_log_and_alarms(
    settings: Settings, variants: dict[str, Variant], template: dict[str, Any]
) -> None:
    variant, key = variants["every-option"], f"{KEY}3"
    # LocalStack does not tell the key of a log group.
    group = template["Resources"]["LogGroup"]["Properties"]["KmsKeyId"]
    assert group == template["Resources"]["AlarmTopic"]["Properties"]["KmsMasterKeyId"]
    made = client(settings, "cloudformation").describe_stack_resources(StackName=variant.name)
    (topic,) = [
        found["PhysicalResourceId"]
        for found in made["StackResources"]
        if found["ResourceType"] == "AWS::SNS::Topic"
    ]
    attributes = client(settings, "sns").get_topic_attributes(TopicArn=topic)["Attributes"]
    assert attributes["KmsMasterKeyId"] == key


def test_queues_are_encrypted_kept_long_and_open_to_tls_only(
    settings: Settings, variants: dict[str, Variant]
) -> None:
    stack = variants["standard"].deployment
    queue, dead = (queue_attributes(settings, url) for url in (stack.queue_url, stack.dead_letter_queue_url))
    for attributes in (queue, dead):
        assert attributes["SqsManagedSseEnabled"] == "true"
        (statement,) = json.loads(attributes["Policy"])["Statement"]
        assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "sqs:*")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    kept = [int(attributes["MessageRetentionPeriod"]) for attributes in (queue, dead)]
    assert kept == [10 * DAY_SECS, 14 * DAY_SECS]
    assert json.loads(dead["RedriveAllowPolicy"]) == {
        "redrivePermission": "byQueue",
        "sourceQueueArns": [queue["QueueArn"]],
    }


def test_an_alarm_says_what_to_do_and_takes_silence_for_calm(
    settings: Settings, variants: dict[str, Variant]
) -> None:
    alarms = alarms_of(settings, variants["standard"])
    assert len(alarms) == 8
    for alarm in alarms:
        section = alarm["AlarmName"].split("-")[-2]
        assert "First " in alarm["AlarmDescription"]
        assert alarm["AlarmDescription"].endswith(f"docs/RUNBOOK.md, {section}.")
        assert alarm["TreatMissingData"] == "notBreaching"
