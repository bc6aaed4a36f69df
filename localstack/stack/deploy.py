"""Builds the function and deploys `template.yaml` to LocalStack: the same template, by the same sam."""

import json
import os
import platform
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import boto3

from stack.report import step
from stack.settings import APP_ROLE, DATABASE, LOOPBACK, REGION, Settings, StackError

STACK_NAME = "sqs-to-postgres"
ARTIFACTS_BUCKET = "sam-artifacts"
DATABASE_SECRET = "sqs-to-postgres/database"
MASK_SECRET = "sqs-to-postgres/mask-key"
OUTPUT_LINES_SHOWN = 40


@dataclass(frozen=True)
class Deployment:
    """The outputs of the template."""

    queue_url: str
    dead_letter_queue_url: str
    function_name: str
    log_group: str

    @classmethod
    def of(cls, settings: Settings) -> "Deployment":
        """The running stack's, as its last `deploy` left it."""
        try:
            return cls(**json.loads(_record(settings).read_text()))
        except FileNotFoundError:
            raise StackError("the stack is not up: run `make up` first.") from None

    @classmethod
    def read(cls, settings: Settings, stack_name: str) -> "Deployment":
        """Those of any stack made from the template."""
        stacks = client(settings, "cloudformation").describe_stacks(StackName=stack_name)["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stacks[0]["Outputs"]}
        return cls(
            queue_url=outputs["QueueUrl"],
            dead_letter_queue_url=outputs["DeadLetterQueueUrl"],
            function_name=outputs["FunctionName"],
            log_group=outputs["LogGroup"],
        )


def client(settings: Settings, service: str) -> Any:  # noqa: ANN401 (boto3 makes its types as it runs)
    env = settings.aws_env()
    return boto3.client(
        service,
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region_name=env["AWS_DEFAULT_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )


def build(settings: Settings) -> None:
    """Compiles the function where its progress can be seen: sam would be silent for minutes."""
    with step("compiling the function", chatty=True):
        command = ["cargo", "lambda", "build", "--locked", "--bin", "bootstrap"]
        done = subprocess.run(command, cwd=settings.root, env=build_env(settings))
        if done.returncode:
            raise StackError("the function does not compile: cargo's message is above.")


def deploy(settings: Settings) -> None:
    """Creates or updates the stack of the template."""
    with step("deploying template.yaml (sam)"):
        put_database_secret(settings, settings.identity.app_password)
        _put_secret(settings, MASK_SECRET, {"mask_key": settings.identity.mask_key})
        _make_bucket(settings)
        given = _overrides(settings, {})
        sam(settings, "build", given)
        sam(settings, "deploy", given)
        deployment = Deployment.read(settings, STACK_NAME)
    _record(settings).write_text(json.dumps(asdict(deployment), indent=2))


def deploy_beside(settings: Settings, name: str, changes: Mapping[str, str]) -> Deployment:
    """Deploys the build of `deploy` again under another name, with its own queue and parameters."""
    given = _overrides(settings, {"QueueName": name, **changes})
    sam(settings, "deploy", ["--stack-name", name, *given])
    return Deployment.read(settings, name)


def stop_polling(functions: Any, function_name: str) -> None:  # noqa: ANN401 (a client of boto3)
    """Stops a stack from polling. LocalStack cannot delete it: it looks for resources that it lacks."""
    for mapping in functions.list_event_source_mappings(FunctionName=function_name)["EventSourceMappings"]:
        functions.delete_event_source_mapping(UUID=mapping["UUID"])


def _overrides(settings: Settings, changes: Mapping[str, str]) -> list[str]:
    given = parameters(settings, changes)
    return ["--parameter-overrides", *(f"{name}={value}" for name, value in given.items())]


def build_env(settings: Settings) -> dict[str, str]:
    """For cargo and sam.

    SAM_BUILD_MODE=debug is sam's own word for cargo's quick `dev` profile: a release build, which takes
    minutes, is for AWS. Cargo's own compiler instead of zig's makes what `cargo test` has compiled of use
    here: zig is only needed where the function meets an older glibc than this machine's.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    quick = {"SAM_BUILD_MODE": "debug", "CARGO_LAMBDA_COMPILER": "cargo"}
    path = {"PATH": f"{settings.tools}{os.pathsep}{os.environ['PATH']}"}
    return env | settings.aws_env() | nowhere | quick | path


def sam(settings: Settings, command: str, options: list[str]) -> None:
    done = subprocess.run(
        ["sam", command, "--config-env", "local", *options],
        cwd=settings.root,
        env=build_env(settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        lines = done.stdout.splitlines()[-OUTPUT_LINES_SHOWN:]
        raise StackError("\n".join([f"`sam {command}` failed:", *(f"  {line}" for line in lines)]))


def parameters(settings: Settings, changes: Mapping[str, str]) -> dict[str, str]:
    """Those of samconfig.toml, changed: for sam, parameters on the command line replace all of them."""
    config = tomllib.loads((settings.root / "samconfig.toml").read_text())
    given = dict(
        pair.split("=", 1) for pair in config["local"]["deploy"]["parameters"]["parameter_overrides"]
    )
    # The function runs on this machine, whatever the template's default is.
    processor = {} if platform.machine() in ("x86_64", "AMD64") else {"Architecture": "arm64"}
    return given | processor | changes


def put_database_secret(
    settings: Settings, password: str, port: int | None = None, name: str = DATABASE_SECRET
) -> None:
    database = {
        "host": LOOPBACK,
        "port": port or settings.identity.postgres_port,
        "username": APP_ROLE,
        "password": password,
        "dbname": DATABASE,
    }
    _put_secret(settings, name, database)


def _put_secret(settings: Settings, name: str, value: dict[str, object]) -> None:
    secrets_manager = client(settings, "secretsmanager")
    text = json.dumps(value)
    try:
        secrets_manager.create_secret(Name=name, SecretString=text)
    except secrets_manager.exceptions.ResourceExistsException:
        secrets_manager.put_secret_value(SecretId=name, SecretString=text)


def _make_bucket(settings: Settings) -> None:
    s3 = client(settings, "s3")
    if ARTIFACTS_BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=ARTIFACTS_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})


def _record(settings: Settings) -> Path:
    return settings.running / "deployment.json"
