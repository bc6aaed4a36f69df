"""Static checks of template.yaml."""

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pytest

from stack.deploy import build_env
from stack.settings import Settings

EXISTING = {"QueueArn": "arn:q", "DeadLetterQueueArn": "arn:d"}
PROFILES = ("low-latency", "standard", "bulk")
HOUR_SECS = 3600
IAM = {
    "DatabaseAuthentication": "iam",
    "DbHost": "logins.c0.eu-central-1.rds.amazonaws.com",
    "DbName": "analytics",
    "DbUser": "login_writer",
    "DbResourceId": "db-ABC123",
}


def runbook(settings: Settings) -> str:
    return (settings.root / "docs" / "RUNBOOK.md").read_text()


@pytest.mark.parametrize("command", [["cfn-lint", "template.yaml"], ["sam", "validate", "--lint"]])
def test_the_linters_have_nothing_to_say(settings: Settings, command: list[str]) -> None:
    linter, *arguments = command
    done = subprocess.run(
        [settings.tools / linter, *arguments],
        cwd=settings.root,
        env=build_env(settings),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_parameter_is_grouped_labelled_and_described_and_has_a_default(
    template: dict[str, Any],
) -> None:
    interface = template["Metadata"]["AWS::CloudFormation::Interface"]
    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
    parameters = template["Parameters"]
    assert sorted(grouped) == sorted(parameters)
    assert set(interface["ParameterLabels"]) == set(parameters)
    for name, parameter in parameters.items():
        assert parameter["Description"].endswith("."), name
        assert "Default" in parameter, name
        assert str(parameter["Default"]) in map(str, parameter.get("AllowedValues", [parameter["Default"]]))


@pytest.mark.parametrize("name", PROFILES)
def test_the_numbers_of_a_profile_fit_together(template: dict[str, Any], name: str) -> None:
    numbers = template["Mappings"]["Profiles"][name]
    assert numbers["VisibilityTimeout"] >= 6 * numbers["Timeout"] + numbers["BatchWindow"]
    assert numbers["OldestMessageSeconds"] > 3 * numbers["VisibilityTimeout"]
    assert numbers["DurationMillis"] == 800 * numbers["Timeout"]
    assert numbers["BatchSize"] <= 10 or numbers["BatchWindow"] >= 1
    # After an outage of an hour, two tries are left.
    waits = [min(numbers["OutageBackoff"] * 2**tries, 900) for tries in range(numbers["MaxReceiveCount"] - 2)]
    assert sum(waits) >= HOUR_SECS


def test_no_update_and_no_deletion_of_the_stack_deletes_a_queue(template: dict[str, Any]) -> None:
    queues = [made for made in template["Resources"].values() if made["Type"] == "AWS::SQS::Queue"]
    policies = [(queue["UpdateReplacePolicy"], queue["DeletionPolicy"]) for queue in queues]
    # Unless their stack is just being created, and fails.
    assert policies == [("Retain", "RetainExceptOnCreate")] * 2


@pytest.mark.parametrize("name", PROFILES)
def test_the_runbook_says_how_long_the_deliveries_last(
    settings: Settings, template: dict[str, Any], name: str
) -> None:
    numbers = template["Mappings"]["Profiles"][name]
    said = re.findall(rf"(\d+)(?: minutes(?: in total)?)? under `{name}`", runbook(settings))
    # Until the third delivery, and all.
    waits = [2, numbers["MaxReceiveCount"]]
    assert [int(minutes) for minutes in said] == [wait * numbers["VisibilityTimeout"] // 60 for wait in waits]


def test_the_runbook_has_the_saved_query_of_failures(settings: Settings, template: dict[str, Any]) -> None:
    query = template["Resources"]["FailuresByRuleQuery"]["Properties"]["QueryString"]
    assert f"| failures by rule | `{' '.join(query.split())}` |" in runbook(settings).replace("\\|", "|")


def test_a_gradual_deployment_is_taken_back_by_the_alarms_that_fire_within_minutes(
    template: dict[str, Any],
) -> None:
    resources = template["Resources"]
    group = resources["DeploymentGroup"]["Properties"]
    assert group["DeploymentConfigName"] == {"Fn::Sub": "CodeDeployDefault.Lambda${GradualDeployment}"}
    assert group["AutoRollbackConfiguration"]["Events"][1] == "DEPLOYMENT_STOP_ON_ALARM"
    for alarm in group["AlarmConfiguration"]["Alarms"]:
        watched = resources[alarm["Name"]["Ref"]]
        assert "Condition" not in watched
        assert watched["Properties"]["Period"] * watched["Properties"].get("DatapointsToAlarm", 1) == 60
    condition, by_code_deploy, at_once = resources["Alias"]["UpdatePolicy"]["Fn::If"]
    assert (condition, at_once) == ("ShiftsGradually", {"Ref": "AWS::NoValue"})
    assert set(by_code_deploy) == {"CodeDeployLambdaAliasUpdate"}
    # A version is the way back, so no update deletes one.
    assert resources["Version"]["UpdateReplacePolicy"] == resources["Version"]["DeletionPolicy"] == "Retain"


def test_the_function_runs_as_often_as_its_queue_asks_for(template: dict[str, Any]) -> None:
    function = template["Resources"]["Function"]["Properties"]
    assert "ReservedConcurrentExecutions" not in function
    mapping = template["Resources"]["FunctionMessages"]["Properties"]
    assert "MaximumConcurrency" in mapping["ScalingConfig"]


def holds(term: Any, values: dict[str, Any], conditions: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 (a term of CloudFormation)
    """A term of the Rules or Conditions as CloudFormation reads it; the local stack reads no Rules."""
    if isinstance(term, list):
        return [holds(part, values, conditions) for part in term]
    if not isinstance(term, dict):
        return term
    ((function, arguments),) = term.items()
    if function == "Ref":
        return values[arguments]
    if function == "Condition":
        return holds((conditions or {})[arguments], values, conditions)
    arguments = holds(arguments, values, conditions)
    return {
        "Fn::Not": lambda: not arguments[0],
        "Fn::And": lambda: all(arguments),
        "Fn::Or": lambda: any(arguments),
        "Fn::Equals": lambda: arguments[0] == arguments[1],
        "Fn::EachMemberEquals": lambda: all(member == arguments[1] for member in arguments[0]),
        "Fn::Join": lambda: arguments[0].join(arguments[1]),
        "Fn::Split": lambda: arguments[1].split(arguments[0]),
        "Fn::Select": lambda: arguments[1][arguments[0]],
        "Fn::Sub": lambda: re.sub(r"\$\{(\w+)\}", lambda name: values[name[1]], arguments),
    }[function]()


def defaults(template: dict[str, Any]) -> dict[str, Any]:
    of_parameters = {name: parameter["Default"] for name, parameter in template["Parameters"].items()}
    here = {"AWS::AccountId": "000000000000", "AWS::Partition": "aws", "AWS::Region": "eu-central-1"}
    return here | of_parameters


def refused_by(template: dict[str, Any], **given: str | int) -> list[str]:
    """The rules that refuse these parameters, with defaults for all others."""
    values = defaults(template) | given
    for name, parameter in template["Parameters"].items():
        if parameter["Type"] == "CommaDelimitedList":
            values[name] = values[name].split(",")
    return [
        name
        for name, rule in template["Rules"].items()
        if holds(rule.get("RuleCondition", True), values)
        and not all(holds(assertion["Assert"], values) for assertion in rule["Assertions"])
    ]


@pytest.mark.parametrize(
    ("given", "rules"),
    [
        ({}, []),
        ({"QueueArn": "arn:q"}, ["ExistingQueueIsWhole"]),
        ({"QueueArn": "arn:q", "DeadLetterQueueArn": "arn:d"}, []),
        ({"SubnetIds": "subnet-1,subnet-2"}, ["SubnetsHaveSecurityGroups"]),
        ({"SecurityGroupIds": "sg-1"}, ["SecurityGroupsHaveSubnets"]),
        ({"SubnetIds": "subnet-1,subnet-2", "SecurityGroupIds": "sg-1"}, []),
        ({"SenderArns": "arn:t,arn:b", "TopicArn": "arn:t"}, []),
        (EXISTING | {"SenderArns": "arn:t"}, ["SendersHaveANewQueue"]),
        (EXISTING | {"TopicArn": "arn:t"}, ["SendersHaveANewQueue"]),
        (EXISTING | {"BucketArns": "arn:b"}, ["SendersHaveANewQueue"]),
        ({"BucketArns": "arn:b"}, []),
        ({"BucketArns": "arn:b", "QueueType": "fifo"}, ["BucketsHaveAStandardQueue"]),
        ({"ContentBasedDeduplication": "true", "QueueType": "fifo"}, []),
        ({"ContentBasedDeduplication": "true"}, ["DeduplicationIsOfANewFifoQueue"]),
        (
            EXISTING | {"ContentBasedDeduplication": "true", "QueueType": "fifo"},
            ["DeduplicationIsOfANewFifoQueue"],
        ),
        ({"RoleArn": "arn:r", "PermissionsBoundary": "arn:p"}, ["BoundaryIsOfTheCreatedRole"]),
        ({"PermissionsBoundary": "arn:p"}, []),
        ({"DualStack": "true"}, ["DualStackHasSubnets"]),
        ({"DualStack": "true", "SubnetIds": "subnet-1", "SecurityGroupIds": "sg-1"}, []),
        ({"GradualDeployment": "AllAtOnce"}, ["VersionsHaveARevision"]),
        ({"GradualDeployment": "AllAtOnce", "Revision": "2026-11-24T09:30:00Z"}, []),
        ({"MaxConcurrency": 1}, ["MaxConcurrencyIsNotOne"]),
        ({"MaxConcurrency": 2}, []),
        ({"DbSslMode": "verify-ca"}, ["VerifyCaHasAuthorities"]),
        ({"DatabaseAuthentication": "iam"}, ["IamIsWhole"]),
        (IAM, []),
        (IAM | {"DbResourceId": ""}, ["IamIsWhole"]),
        (IAM | {"DbSslMode": "require"}, ["IamIsWhole"]),
        (IAM | {"DbChannelBinding": "require"}, ["IamIsWhole"]),
        ({"DbSslMode": "verify-ca", "DbSslRootCert": "/var/task/ca.pem"}, []),
    ],
)
def test_parameters_that_need_each_other_are_given_together(
    template: dict[str, Any], given: dict[str, Any], rules: list[str]
) -> None:
    assert refused_by(template, **given) == rules


def resolved(template: dict[str, Any], term: Any, given: dict[str, str]) -> Any:  # noqa: ANN401 (a term of CloudFormation)
    """A term of the Resources with these parameters; references that stay are left as they are."""
    values, conditions = defaults(template) | given, template["Conditions"]
    if isinstance(term, list):
        parts = [resolved(template, part, given) for part in term]
        return [part for part in parts if part != {"Ref": "AWS::NoValue"}]
    if not isinstance(term, dict):
        return term
    if "Fn::If" in term:
        condition, yes, no = term["Fn::If"]
        return resolved(template, yes if holds(conditions[condition], values, conditions) else no, given)
    if isinstance(term.get("Fn::Sub"), str):
        return re.sub(r"\$\{(\w+)\}", lambda name: values[name[1]], term["Fn::Sub"])
    if term.get("Ref") in values:
        return values[term["Ref"]]
    return {name: resolved(template, part, given) for name, part in term.items()}


@pytest.mark.parametrize(
    ("given", "connects", "secrets"),
    [
        ({}, [], 1),
        (
            IAM,
            [("rds-db:connect", "rds-db:${AWS::Region}:${AWS::AccountId}:dbuser:db-ABC123/login_writer")],
            0,
        ),
        (
            IAM | {"DbHost": "abc.dsql.eu-central-1.on.aws", "DbResourceId": "abc"},
            [("dsql:DbConnect", "dsql:${AWS::Region}:${AWS::AccountId}:cluster/abc")],
            0,
        ),
        (
            IAM | {"DbHost": "abc.dsql.eu-central-1.on.aws", "DbResourceId": "abc", "DbUser": "admin"},
            [("dsql:DbConnectAdmin", "dsql:${AWS::Region}:${AWS::AccountId}:cluster/abc")],
            0,
        ),
    ],
)
def test_with_iam_the_function_may_connect_as_its_user_and_reads_no_database_secret(
    template: dict[str, Any], given: dict[str, str], connects: list[tuple[str, str]], secrets: int
) -> None:
    policies = resolved(template, template["Resources"]["Role"]["Properties"]["Policies"], given)
    statements = [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]
    found = [made for made in statements if str(made["Action"]).startswith(("rds-db:", "dsql:"))]
    prefix = "arn:${AWS::Partition}:"
    assert [(made["Action"], made["Resource"].removeprefix(prefix)) for made in found] == connects
    assert sum(made["Action"] == "secretsmanager:GetSecretValue" for made in statements) == secrets
    function = template["Resources"]["Function"]["Properties"]["Environment"]["Variables"]
    variables = resolved(template, function, given)
    assert bool(variables["DB_SECRET_ID"]) == (not connects)
    assert (variables["DB_AUTH"], variables["DB_USER"]) == (
        given.get("DatabaseAuthentication", "password"),
        given.get("DbUser", ""),
    )


@pytest.mark.parametrize(
    ("arn", "taken"),
    [
        ("", True),
        ("arn:aws:kms:eu-central-2:000000000000:key/00000000-0000-4000-8000-000000000000", True),
        ("arn:aws-cn:kms:cn-north-1:000000000000:key/mrk-0123456789abcdef", True),
        ("arn:aws:kms:eu-central-2:000000000000:alias/mine", False),
    ],
)
def test_a_kms_key_must_not_be_an_alias(template: dict[str, Any], arn: str, taken: bool) -> None:
    for name in ("SecretsKmsKeyArns", "QueueKmsKeyArn"):
        assert bool(re.fullmatch(template["Parameters"][name]["AllowedPattern"], arn)) == taken


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({}, True),
        ({"QueueArn": "arn:aws:sqs:eu-central-1:000000000000:q"}, True),
        ({"QueueArn": "arn:aws:sqs:eu-central-1:111111111111:q"}, False),
    ],
)
def test_an_alarm_on_a_queue_is_where_its_metrics_are(
    template: dict[str, Any], given: dict[str, str], *, seen: bool
) -> None:
    conditions, resources = template["Conditions"], template["Resources"]
    assert holds(conditions["SeesQueueMetrics"], defaults(template) | given, conditions) == seen
    assert holds(conditions["IsOfAnotherAccount"], defaults(template) | given, conditions) != seen
    assert resources["DeadLettersAlarm"]["Condition"] == "SeesQueueMetrics"
    assert template["Outputs"]["MissingAlarms"]["Condition"] == "IsOfAnotherAccount"


@pytest.mark.parametrize(
    ("topic", "redrives", "watches"),
    [
        ("arn:aws:sns:eu-central-1:000000000000:t", True, True),
        ("arn:aws:sns:eu-central-1:111111111111:t", True, False),
        ("arn:aws:sns:us-east-1:000000000000:t", False, False),
    ],
)
def test_a_topic_of_this_region_discards_nothing(
    template: dict[str, Any], topic: str, *, redrives: bool, watches: bool
) -> None:
    conditions, resources = template["Conditions"], template["Resources"]
    values = defaults(template) | {"TopicArn": topic}
    subscription = resources["Subscription"]
    # It must not exist before SNS may send to both queues.
    assert subscription["DependsOn"] == ["QueuePolicy", "DeadLetterQueuePolicy"]
    condition, redriven, _ = subscription["Properties"]["RedrivePolicy"]["Fn::If"]
    assert "deadLetterTargetArn" in redriven
    assert holds(conditions[condition], values, conditions) == redrives
    watched = conditions[resources["LostNotificationsAlarm"]["Condition"]]
    assert holds(watched, values, conditions) == watches


@pytest.mark.parametrize(
    ("given", "watched"),
    [
        ({}, None),
        ({"SilenceMinutes": 30}, ("AWS/SQS", "NumberOfMessagesSent")),
        (
            {"SilenceMinutes": 30, "QueueArn": "arn:aws:sqs:eu-central-1:111111111111:q"},
            ("sqs-to-postgres", "MessagesReceived"),
        ),
    ],
)
def test_a_silent_producer_raises_an_alarm_also_when_there_are_no_metrics_any_more(
    template: dict[str, Any], given: dict[str, Any], watched: tuple[str, str] | None
) -> None:
    alarm, values = template["Resources"]["SilenceAlarm"], defaults(template) | given
    exists = holds(template["Conditions"][alarm["Condition"]], values, template["Conditions"])
    assert exists == bool(watched)
    if not exists:
        return
    made = resolved(template, alarm["Properties"], given)
    assert (made["Namespace"], made["MetricName"]) == watched
    assert made["EvaluationPeriods"] * made["Period"] == given["SilenceMinutes"] * 60
    assert (made["ComparisonOperator"], made["Threshold"]) == ("LessThanThreshold", 1)
    assert made["TreatMissingData"] == "breaching"


DAY_SECS = 24 * 60 * 60


def test_the_last_alarm_on_a_dead_letter_comes_a_day_before_sqs_may_delete_it(
    template: dict[str, Any],
) -> None:
    resources = template["Resources"]
    queued = resources["Queue"]["Properties"]["MessageRetentionPeriod"]
    kept = resources["DeadLetterQueue"]["Properties"]["MessageRetentionPeriod"]
    alarm = resources["DeadLetterAgeAlarm"]["Properties"]
    assert alarm["Threshold"] <= kept - queued - DAY_SECS
    assert alarm["Dimensions"] == resources["DeadLettersAlarm"]["Properties"]["Dimensions"]


def test_every_alarm_says_when_it_is_over(template: dict[str, Any]) -> None:
    made = [made for made in template["Resources"].values() if made["Type"] == "AWS::CloudWatch::Alarm"]
    assert len(made) == 10
    for alarm in made:
        assert alarm["Properties"]["OKActions"] == alarm["Properties"]["AlarmActions"]


DAY_MINUTES = 24 * 60
OUTAGE_TRIES_SECS = (0, 90, 270, 630, 1350, 2430, 3510, 4590, 5670)
"""When a batch fails that is always backed off for as long as possible, at last for 18 minutes."""


def times_raised(template: dict[str, Any], alarm: str, minutes: Iterable[int]) -> int:
    """How often CloudWatch raises an alarm within two days, if its metric breaches in these minutes."""
    of = template["Resources"][alarm]["Properties"]
    assert (of["Threshold"], of["TreatMissingData"]) == (1, "notBreaching")
    period, periods = of["Period"] // 60, of["EvaluationPeriods"]
    breaching = defaultdict(bool, {minute // period: True for minute in minutes})
    states = [
        sum(breaching[end - back] for back in range(periods)) >= of.get("DatapointsToAlarm", periods)
        for end in range(2 * DAY_MINUTES // period)
    ]
    return sum(now and not before for before, now in zip([False, *states], states, strict=False))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("tries", [1, 3, 10], ids=["at-once", "refused", "redrive"])
@pytest.mark.parametrize("is_idle", [False, True], ids=["busy", "idle"])
def test_a_bad_message_raises_one_alarm_and_is_called_to_mind_after_a_day(
    template: dict[str, Any], profile: str, tries: int, *, is_idle: bool
) -> None:
    between_secs = template["Mappings"]["Profiles"][profile]["VisibilityTimeout"]
    failed = [number * between_secs // 60 for number in range(tries)]
    assert times_raised(template, "FailedMessagesAlarm", failed) == 1
    # The metrics of a queue that was idle begin up to 15 minutes late.
    dead = failed[-1] + (15 if is_idle else 0)
    assert times_raised(template, "DeadLettersAlarm", range(dead, DAY_MINUTES - 60)) == 0
    assert times_raised(template, "DeadLettersAlarm", range(dead, 2 * DAY_MINUTES)) == 1


def test_an_outage_raises_one_alarm_however_long_it_backs_messages_off(template: dict[str, Any]) -> None:
    failed = [secs // 60 for secs in OUTAGE_TRIES_SECS]
    assert times_raised(template, "ErrorsAlarm", failed) == 1


@pytest.mark.parametrize(
    ("given", "direct"),
    [
        ({}, True),
        ({"QueueType": "fifo"}, True),
        ({"QueueArn": "arn:q"}, True),
        ({"DeadLetters": "auto"}, True),
        ({"DeadLetters": "direct"}, True),
        ({"DeadLetters": "redrive"}, False),
        ({"DeadLetters": "redrive", "QueueType": "fifo"}, False),
    ],
)
def test_the_function_sends_dead_letters_itself_unless_that_is_left_to_sqs(
    template: dict[str, Any], given: dict[str, str], *, direct: bool
) -> None:
    values, conditions = defaults(template) | given, template["Conditions"]
    assert holds(conditions["DirectDeadLetters"], values, conditions) == direct


def test_the_code_of_the_function_may_do_nothing_to_the_network(template: dict[str, Any]) -> None:
    policies = template["Resources"]["Role"]["Properties"]["Policies"]
    (policy,) = [
        policy["Fn::If"][1]["PolicyDocument"]
        for policy in policies
        if policy.get("Fn::If", [None])[0] == "InVpc"
    ]
    allowed, denied = policy["Statement"]
    assert (allowed["Effect"], denied["Effect"]) == ("Allow", "Deny")
    assert set(denied["Action"]) >= set(allowed["Action"])
    assert denied["Resource"] == "*"
    arn = denied["Condition"]["ArnEquals"]["lambda:SourceFunctionArn"]["Fn::Sub"]
    function = template["Resources"]["Function"]["Properties"]["FunctionName"]
    assert function == {"Ref": "AWS::StackName"}
    assert arn.endswith(":lambda:${AWS::Region}:${AWS::AccountId}:function:${AWS::StackName}")
