"""Builds the function and deploys `template.yaml` to LocalStack: the same template, by the same sam.

Every mapping is a deployment of its own, of the same compiled function.
"""

import json
import os
import platform
import subprocess
import tomllib
from collections import abc
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from stack.mapping import Mapping
from stack.report import step
from stack.settings import (
    APP_ROLE,
    DATABASE,
    LOOPBACK,
    PATIENCE_SECS,
    REGION,
    Settings,
    StackError,
    write_whole,
)

ARTIFACTS_BUCKET = "sam-artifacts"
DATABASE_SECRET = "sqs-to-postgres/database"
MASK_SECRET = "sqs-to-postgres/mask-key"
PROGRAMS = ("--locked", "--package", "sqs-to-postgres", "--package", "sqs-to-postgres-tool")
OUTPUT_LINES_SHOWN = 40
OF_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PIPELINE")
"""What `make up` tells the make that sam calls, which is another matter."""


@dataclass(frozen=True)
class Deployment:
    """The outputs of the template, and the tables of its mapping."""

    queue_url: str
    dead_letter_queue_url: str
    function_name: str
    log_group: str
    tables: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, settings: Settings, mapping: Mapping | None = None) -> "Deployment":
        """That of a mapping, or of the shipped one, as the last `deploy` left it."""
        try:
            return cls._recorded(_record(settings, mapping or Mapping.shipped(settings)))
        except FileNotFoundError:
            if mapping is None:
                raise StackError("the stack is not up: run `make up` first.") from None
            raise StackError(
                f"{mapping.name} is not deployed: run `make up PIPELINE={mapping.file}` first."
            ) from None

    @classmethod
    def all(cls, settings: Settings) -> list["Deployment"]:
        """That of the shipped mapping first."""
        shipped = _record(settings, Mapping.shipped(settings))
        records = sorted(shipped.parent.glob("*.json"), key=lambda record: (record != shipped, record))
        return [cls._recorded(record) for record in records]

    @classmethod
    def _recorded(cls, record: Path) -> "Deployment":
        return cls(**json.loads(record.read_text()))

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
        config=Config(read_timeout=PATIENCE_SECS),
    )


def build(settings: Settings) -> None:
    """Compiles function and tool where the progress can be seen: sam would be silent for minutes."""
    with step("compiling the function and the command-line tool", chatty=True):
        done = subprocess.run(["cargo", "build", *PROGRAMS], cwd=settings.root, env=build_env(settings))
        if done.returncode:
            raise StackError("they do not compile: cargo's message is above.")


def program(settings: Settings, name: str) -> Path:
    """Where `build` puts a program, or `make test` keeps it."""
    built = settings.root / "target" / os.environ.get("CARGO_BUILD_TARGET", "") / "debug"
    return Path(os.environ.get("TESTED_PROGRAMS", built)) / name


def deploy(settings: Settings, mapping: Mapping) -> None:
    """Creates or updates the stack of the template, under the name of the mapping."""
    with step(f"deploying template.yaml as {mapping.name} (sam)"):
        put_secrets(settings)
        _make_bucket(settings)
        deployment = replace(deploy_beside(settings, mapping.name, {}, mapping), tables=mapping.tables())
    record = _record(settings, mapping)
    record.parent.mkdir(exist_ok=True)
    write_whole(record, json.dumps(asdict(deployment), indent=2))


def deploy_beside(
    settings: Settings, name: str, changes: abc.Mapping[str, str], mapping: Mapping | None = None
) -> Deployment:
    """Deploys what was built for the shipped mapping again, or builds it for another one, with another name,
    queue and parameters.
    """
    given, template = _overrides(settings, changes), []
    if mapping is not None:
        built = _built(settings, mapping)
        packed = {"PIPELINE": str(mapping.file), "BOOTSTRAP": str(program(settings, "bootstrap"))}
        sam(settings, "build", ["--build-dir", str(built), *given], **packed)
        template = ["--template-file", str(built / "template.yaml")]
    sam(settings, "deploy", ["--stack-name", name, *template, *given])
    return Deployment.read(settings, name)


def stop_polling(functions: Any, function_name: str) -> None:  # noqa: ANN401 (a client of boto3)
    """Stops a stack from polling. LocalStack cannot delete it: it looks for resources that it lacks."""
    for mapping in functions.list_event_source_mappings(FunctionName=function_name)["EventSourceMappings"]:
        functions.delete_event_source_mapping(UUID=mapping["UUID"])


def _overrides(settings: Settings, changes: abc.Mapping[str, str]) -> list[str]:
    given = parameters(settings, changes)
    return ["--parameter-overrides", *(f"{name}={value}" for name, value in given.items())]


def build_env(settings: Settings) -> dict[str, str]:
    """For cargo and sam.

    SAM_BUILD_MODE=debug is sam's own word for cargo's quick `dev` profile: a release build, which takes
    minutes, is for AWS. Cargo's own compiler instead of zig's makes what `cargo test` has compiled of use
    here: zig is only needed where the function meets an older glibc than this machine's.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", *OF_MAKE))}
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    quick = {"SAM_BUILD_MODE": "debug", "CARGO_LAMBDA_COMPILER": "cargo"}
    path = {"PATH": f"{settings.tools}{os.pathsep}{os.environ['PATH']}"}
    return env | settings.aws_env() | nowhere | quick | path


def sam(settings: Settings, command: str, options: list[str], **env: str) -> None:
    # sam would look for it beside the template.
    config = ["--config-file", str(settings.root / "samconfig.toml"), "--config-env", "local"]
    done = subprocess.run(
        ["sam", command, *config, *options],
        cwd=settings.root,
        env=build_env(settings) | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        lines = done.stdout.splitlines()[-OUTPUT_LINES_SHOWN:]
        raise StackError("\n".join([f"`sam {command}` failed:", *(f"  {line}" for line in lines)]))


def parameters(settings: Settings, changes: abc.Mapping[str, str]) -> dict[str, str]:
    """The parameters of samconfig.toml, changed: parameters on the command line of sam replace them all."""
    config = tomllib.loads((settings.root / "samconfig.toml").read_text())
    given = dict(
        pair.split("=", 1) for pair in config["local"]["deploy"]["parameters"]["parameter_overrides"]
    )
    # The function runs on this machine, whatever the template's default is.
    processor = {} if platform.machine() in ("x86_64", "AMD64") else {"Architecture": "arm64"}
    return given | processor | changes


def put_secrets(settings: Settings, database: str = DATABASE_SECRET, mask: str = MASK_SECRET) -> None:
    """Both secrets of a stack, under these names."""
    put_database_secret(settings, settings.identity.app_password, name=database)
    _put_secret(settings, mask, {"mask_key": settings.identity.mask_key})


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


def _record(settings: Settings, mapping: Mapping) -> Path:
    return settings.running / "deployments" / f"{mapping.name}.json"


def _built(settings: Settings, mapping: Mapping) -> Path:
    """The folder for sam; for the shipped mapping, the folder that samconfig.toml names."""
    if mapping == Mapping.shipped(settings):
        return settings.state / "sam" / "local"
    return settings.running / "sam" / mapping.name
