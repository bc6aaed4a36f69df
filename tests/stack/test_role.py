"""The function's role allows what is used, and nothing else.

LocalStack does not enforce roles, so what is used is read from the other side: the SDK's operations that the
Rust code calls, and what Lambda itself does with the role by AWS's documentation.
"""

import json
import re
from typing import Any

import boto3
import pytest
from botocore import xform_name

from stack.deploy import client
from stack.settings import REGION, Settings
from stacks import ACCOUNT, KEY, POINTER_BUCKETS, Variant

# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-permissions
LAMBDA_POLLS = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html
LAMBDA_LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-permissions
LAMBDA_JOINS_A_VPC = {
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
}
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
# https://docs.aws.amazon.com/lambda/latest/dg/services-xray.html
LAMBDA_TRACES = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
# By requests that src/objects.rs signs. https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
READS_OBJECTS, FINDS_OBJECTS = {"s3:GetObject"}, {"s3:ListBucket"}
OWN_KEY_READS, OWN_KEY_SENDS = {"kms:Decrypt"}, {"kms:GenerateDataKey"}


KEYS = [("secretsmanager.*", [f"{KEY}0", f"{KEY}1"]), ("sqs.*", f"{KEY}2")]


def called_by_the_function(settings: Settings) -> set[str]:
    """Every operation of an AWS SDK in the function, by the name of the action that allows it."""
    actions, source = set(), settings.root / "src"
    for file in set(source.rglob("*.rs")) - set((source / "bin").rglob("*.rs")):
        code = file.read_text()
        calls = set(re.findall(r"\.(\w+)\(", code))
        for service in set(re.findall(r"\baws_sdk_(\w+)", code)):
            operations = boto3.client(service, region_name=REGION).meta.service_model.operation_names
            # SQS allows a batch by the name of the single operation.
            actions |= {
                f"{service}:{name.removesuffix('Batch')}" for name in operations if xform_name(name) in calls
            }
    return actions


def every_statement(template: dict[str, Any]) -> list[dict[str, Any]]:
    """Of the template's role, whatever the parameters are, each with the actions of all its cases."""

    def cases(part: object) -> list[Any]:
        match part:
            case {"Fn::If": [_, yes, no]}:
                return [*cases(yes), *cases(no)]
            case {"Ref": "AWS::NoValue"}:
                return []
            case list():
                return [case for member in part for case in cases(member)]
        return [part]

    policies = cases(template["Resources"]["Role"]["Properties"]["Policies"])
    found = [statement for policy in policies for statement in cases(policy["PolicyDocument"]["Statement"])]
    return [statement | {"Action": cases(statement["Action"])} for statement in found]


def signed_for(settings: Settings) -> set[str]:
    """The actions of the tokens for the database, which its own tests compare with those of botocore."""
    code = (settings.root / "src" / "database" / "token.rs").read_text()
    tokens = re.findall(r"/\?Action=(\w+)&.*?%2F(rds-db|dsql)%2Faws4_request", code)
    return {f"{service}:{action}" for action, service in tokens}


def test_every_statement_of_the_role_is_for_one_user_and_one_purpose(
    settings: Settings, template: dict[str, Any]
) -> None:
    """Either Lambda itself uses it, by AWS's documentation, or the function's code calls or signs it."""
    called = called_by_the_function(settings)
    read = {action for action in called if action.startswith("secretsmanager:")}
    sent = {"sqs:SendMessage"}
    purposes = [
        LAMBDA_POLLS | called - read - sent,
        sent,
        read,
        LAMBDA_LOGS,
        LAMBDA_TRACES,
        LAMBDA_JOINS_A_VPC,
        signed_for(settings),
        READS_OBJECTS,
        FINDS_OBJECTS,
        OWN_KEY_READS,
        OWN_KEY_SENDS,
    ]
    allowed = [set(made["Action"]) for made in every_statement(template) if made["Effect"] == "Allow"]
    assert all(actions in purposes for actions in allowed), allowed
    assert all(purpose in allowed for purpose in purposes)


def test_the_page_lists_what_a_role_of_ones_own_must_allow(
    settings: Settings, template: dict[str, Any]
) -> None:
    page = (settings.root / "docs" / "DEPLOY.md").read_text()
    section = page.partition("### A role of your own\n")[2].partition("\n### ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    listed = [set(re.findall(r"`([a-z0-9-]+:\w+)`", row.split("|")[1])) for row in rows]
    allowed = [set(made["Action"]) for made in every_statement(template) if made["Effect"] == "Allow"]
    assert set().union(*listed) == set().union(*allowed)
    (polls,) = [actions for actions in allowed if "sqs:ReceiveMessage" in actions]
    assert polls in listed
    # The owner of a queue of another account allows the same.
    statement = json.loads(
        page.partition("### A queue of another account\n")[2].split("```json\n")[1].split("```")[0]
    )
    assert set(statement["Action"]) == polls


def statements(settings: Settings, variant: Variant) -> list[dict[str, Any]]:
    """Of all policies of the deployed role."""
    iam = client(settings, "iam")
    function = client(settings, "lambda").get_function_configuration(FunctionName=variant.name)
    role = function["Role"].rpartition("/")[2]
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    policies = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
    return [statement for policy in policies for statement in policy["Statement"]]


def allowing(settings: Settings, variant: Variant) -> list[dict[str, Any]]:
    return [statement for statement in statements(settings, variant) if statement["Effect"] == "Allow"]


def actions_of(statement: dict[str, Any]) -> set[str]:
    actions = statement["Action"]
    return set(actions) if isinstance(actions, list) else {actions}


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("bulk", set()),
        (
            "every-option",
            LAMBDA_JOINS_A_VPC
            | OWN_KEY_READS
            | OWN_KEY_SENDS
            | LAMBDA_TRACES
            | READS_OBJECTS
            | FINDS_OBJECTS,
        ),
    ],
)
def test_the_role_allows_exactly_what_is_used(
    settings: Settings, variants: dict[str, Variant], kind: str, more: set[str]
) -> None:
    called = called_by_the_function(settings)
    assert "sqs:SendMessage" in called
    # The function sends dead letters only if they are direct.
    unused = set() if kind == "every-option" else {"sqs:SendMessage"}
    allowed = [actions_of(statement) for statement in allowing(settings, variants[kind])]
    assert set().union(*allowed) == (called - unused) | LAMBDA_POLLS | LAMBDA_LOGS | more


def test_a_role_of_ones_own_is_used_and_none_is_created(
    settings: Settings, variants: dict[str, Variant]
) -> None:
    variant, cloudformation = variants["low-latency"], client(settings, "cloudformation")
    function = client(settings, "lambda").get_function_configuration(FunctionName=variant.name)
    assert ":role/of-ones-own-" in function["Role"]
    made = cloudformation.describe_stack_resources(StackName=variant.name)["StackResources"]
    assert "AWS::IAM::Role" not in {resource["ResourceType"] for resource in made}
    (stack,) = cloudformation.describe_stacks(StackName=variant.name)["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    assert outputs["RoleArn"] == function["Role"]


@pytest.mark.parametrize("kind", ["bulk", "fifo", "existing-fifo", "every-option"])
def test_every_statement_is_for_one_resource(
    settings: Settings, variants: dict[str, Variant], kind: str
) -> None:
    stack = variants[kind].deployment
    queue, dead = (url.rpartition("/")[2] for url in (stack.queue_url, stack.dead_letter_queue_url))
    for statement in allowing(settings, variants[kind]):
        actions, resource = actions_of(statement), statement["Resource"]
        assert not any("*" in action for action in actions)
        if actions in (LAMBDA_JOINS_A_VPC, LAMBDA_TRACES):  # which do not accept a narrower one
            assert resource == "*"
        elif actions == {"secretsmanager:GetSecretValue"}:
            assert re.fullmatch(r"arn:aws:secretsmanager:.+:secret:[\w/-]+-\?{6}", resource)
        elif actions in (READS_OBJECTS, FINDS_OBJECTS):
            suffix = "/*" if actions == READS_OBJECTS else ""
            assert resource == [bucket + suffix for bucket in POINTER_BUCKETS]
        elif actions == {"sqs:SendMessage"}:
            assert resource.endswith(f":{dead}")
        elif any(action.startswith("sqs:") for action in actions):
            assert resource.endswith(f":{queue}")
        elif actions == LAMBDA_LOGS:
            assert resource.endswith(f":log-group:{stack.log_group}:*")
        else:
            assert actions in (OWN_KEY_READS, OWN_KEY_SENDS)
            via = statement["Condition"]["StringLike"]["kms:ViaService"]
            assert (via, resource) in KEYS
            assert via == "sqs.*" or actions == OWN_KEY_READS


def test_the_code_of_the_function_may_do_nothing_to_the_network(
    settings: Settings, variants: dict[str, Variant]
) -> None:
    variant = variants["every-option"]
    function = client(settings, "lambda").get_function_configuration(FunctionName=variant.name)
    (denied,) = [found for found in statements(settings, variant) if found["Effect"] == "Deny"]
    assert actions_of(denied) >= LAMBDA_JOINS_A_VPC
    assert denied["Resource"] == "*"
    assert denied["Condition"] == {"ArnEquals": {"lambda:SourceFunctionArn": function["FunctionArn"]}}


def test_a_role_has_the_boundary_that_the_account_demands(
    settings: Settings, variants: dict[str, Variant]
) -> None:
    boundaries = []
    for kind in ("standard", "every-option"):
        function = client(settings, "lambda").get_function_configuration(FunctionName=variants[kind].name)
        role = client(settings, "iam").get_role(RoleName=function["Role"].rpartition("/")[2])["Role"]
        boundaries.append(role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"))
    assert boundaries == [None, f"arn:aws:iam::{ACCOUNT}:policy/boundary"]


def test_every_action_on_the_page_exists(settings: Settings) -> None:
    """By the list that cfn-lint has from AWS."""
    (file,) = settings.tools.parent.glob("lib/*/site-packages/cfnlint/data/AdditionalSpecs/Policies.json")
    services = json.loads(file.read_text())
    page = (settings.root / "docs" / "DEPLOY.md").read_text()
    named = set(re.findall(r"`([a-z0-9-]+):([A-Z]\w+)`", page))
    assert len(named) > 80
    for service, action in named:
        assert action.lower() in services[service]["Actions"], f"{service}:{action}"
