"""Stacks next to the running one, which they do not disturb: one for each way to use the template."""

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.exceptions import WaiterError

from stack import deploy
from stack.deploy import Deployment, client, stop_polling
from stack.settings import PATIENCE_SECS, REGION, Settings

ACCOUNT = "000000000000"
OTHER_ACCOUNT = "111111111111"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-4000-8000-00000000000"
POINTER_BUCKETS = ["arn:aws:s3:::large", "arn:aws:s3:::larger"]
GOOD = {"user_id": "u-1", "app_version": "4.2", "ip": "192.0.2.1", "device_id": "dev-1"}
BAD = GOOD | {"ip": None}


@dataclass(frozen=True)
class Variant:
    """A stack of its own, and the ids of the two messages that were sent to it."""

    name: str
    deployment: Deployment
    good: str
    bad: str


EXISTING = {kind: f"was-there-{kind}-{secrets.token_hex(3)}" for kind in ("before", "too")}
"""An existing queue and its dead-letter queue. They outlast their stack, so each session has its own."""


def existing_queue(settings: Settings, suffix: str = "") -> dict[str, str]:
    """An existing queue, and its dead-letter queue."""
    names = {"QueueArn": EXISTING["before"] + suffix, "DeadLetterQueueArn": EXISTING["too"] + suffix}
    fifo = {"FifoQueue": "true"} if suffix else {}
    for name in names.values():
        client(settings, "sqs").create_queue(QueueName=name, Attributes={"VisibilityTimeout": "5", **fifo})
    arns = {parameter: f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}" for parameter, name in names.items()}
    dead_letters = "auto" if suffix else "direct"
    return {"Profile": "try-out", "DeadLetters": dead_letters, **arns}


def queue_of_another_account(settings: Settings) -> dict[str, str]:
    """In LocalStack, an access key of twelve digits is an account."""
    sqs = boto3.client(
        "sqs",
        endpoint_url=settings.endpoint,
        region_name=REGION,
        aws_access_key_id=OTHER_ACCOUNT,
        aws_secret_access_key="test",
    )
    names = {"QueueArn": "of-others", "DeadLetterQueueArn": "of-others-too"}
    for name in names.values():
        sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "5"})
    arns = {parameter: f"arn:aws:sqs:{REGION}:{OTHER_ACCOUNT}:{name}" for parameter, name in names.items()}
    return {"Profile": "try-out", "DeadLetters": "redrive", **arns}


def role_of_ones_own(settings: Settings) -> dict[str, str]:
    """A role that somebody else manages."""
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    name = f"of-ones-own-{secrets.token_hex(3)}"
    role = client(settings, "iam").create_role(RoleName=name, AssumeRolePolicyDocument=policy)["Role"]
    return {"Profile": "low-latency", "RoleArn": role["Arn"]}


def every_option(settings: Settings) -> dict[str, str]:
    """A customer's key, topic and network, which LocalStack accepts without enforcing anything."""
    ec2 = client(settings, "ec2")
    return {
        "Profile": "try-out",
        "DeadLetters": "direct",
        "AlarmEmail": "on-call@example.org",
        "AlarmTopicArn": client(settings, "sns").create_topic(Name="on-call")["TopicArn"],
        "SecretsKmsKeyArns": f"{KEY}0,{KEY}1",
        "QueueKmsKeyArn": f"{KEY}2",
        "QueueName": f"named-{secrets.token_hex(3)}",
        "MonitoringKmsKeyArn": f"{KEY}3",
        "SenderArns": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/orders",
        "BucketArns": "arn:aws:s3:::uploads",
        "PointerBucketArns": ",".join(POINTER_BUCKETS),
        "TopicArn": client(settings, "sns").create_topic(Name="logins")["TopicArn"],
        "MaxConcurrency": "7",
        "SilenceMinutes": "30",
        "Tracing": "Active",
        "PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/boundary",
        "SubnetIds": ec2.describe_subnets()["Subnets"][0]["SubnetId"],
        "SecurityGroupIds": ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"],
    }


VARIANTS: dict[str, Callable[[Settings], dict[str, str]]] = {
    "low-latency": role_of_ones_own,
    "standard": lambda _: {"Profile": "standard", "DeadLetters": "direct"},
    "bulk": lambda _: {"Profile": "bulk", "DeadLetters": "redrive"},
    "fifo": lambda _: {
        "Profile": "try-out",
        "QueueType": "fifo",
        "DeadLetters": "auto",
        "ContentBasedDeduplication": "true",
    },
    "existing-queue": existing_queue,
    "existing-fifo": lambda settings: existing_queue(settings, ".fifo"),
    "other-account": queue_of_another_account,
    "every-option": every_option,
    "gradual": lambda _: {
        "Profile": "try-out",
        "GradualDeployment": "Canary10Percent5Minutes",
        "Revision": "2026-11-24T09:30:00Z",
    },
}
"""Name of the stack to its parameters."""


def send_both(settings: Settings, name: str, deployment: Deployment) -> Variant:
    """A good and a bad message on their way."""
    sqs, queue_url = client(settings, "sqs"), deployment.queue_url
    fifo = queue_url.endswith(".fifo")

    def send(message: dict[str, str | None]) -> str:
        order = {"MessageGroupId": "anna", "MessageDeduplicationId": secrets.token_hex()} if fifo else {}
        return sqs.send_message(QueueUrl=queue_url, MessageBody=json.dumps(message), **order)["MessageId"]

    return Variant(name, deployment, good=send(GOOD), bad=send(BAD))


class Stacks:
    """Creates, updates and finally stops them. Their names end in a suffix of this session."""

    def __init__(self, settings: Settings, packaged: str) -> None:
        self.settings = settings
        self._packaged = packaged
        self._session = secrets.token_hex(3)
        self._cloudformation = client(settings, "cloudformation")
        self._names: list[str] = []

    def create(self, kind: str, parameters: dict[str, str]) -> str:
        """Begins to deploy, and returns the stack's name; `wait` for it."""
        self._names.append(f"{kind}-{self._session}")
        self._cloudformation.create_stack(**self._request(self._names[-1], parameters, self._packaged))
        return self._names[-1]

    def update(self, name: str, parameters: dict[str, str], packaged: str) -> None:
        """Begins to; `wait` for it."""
        self._cloudformation.update_stack(**self._request(name, parameters, packaged))

    def wait(self, action: str, name: str) -> Deployment:
        waiter = self._cloudformation.get_waiter(f"stack_{action}_complete")
        try:
            waiter.wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": PATIENCE_SECS})
        except WaiterError as error:
            raise AssertionError(f"{name} was not deployed: {self._faults(name)}") from error
        return Deployment.read(self.settings, name)

    def _faults(self, name: str) -> str:
        """What failed, and why: the status alone does not tell."""
        events = self._cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        reasons = [(event["LogicalResourceId"], event.get("ResourceStatusReason")) for event in events]
        return "; ".join(f"{resource}: {reason}" for resource, reason in reasons if reason)

    def end(self) -> None:
        for name in self._names:
            stop_polling(client(self.settings, "lambda"), name)

    def _uploaded(self, packaged: str) -> str:
        """Its address in a bucket, as `sam deploy` sends it: it is too large for a request."""
        key = f"template-{hashlib.sha256(packaged.encode()).hexdigest()}"
        bucket = deploy.ARTIFACTS_BUCKET
        client(self.settings, "s3").put_object(Bucket=bucket, Key=key, Body=packaged.encode())
        return f"https://s3.{REGION}.amazonaws.com/{bucket}/{key}"

    def _request(self, name: str, parameters: dict[str, str], packaged: str) -> dict[str, Any]:
        given = deploy.parameters(self.settings, parameters)
        return {
            "StackName": name,
            "TemplateURL": self._uploaded(packaged),
            "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        }
