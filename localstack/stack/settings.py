"""The folders of the stack, its ports, and the secrets it generates."""

import base64
import json
import os
import secrets
import tempfile
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

REGION = "eu-central-2"
"""Not us-east-1: there, and in 25 others, version 1 of the AWS command line sends `aws sqs` to AWS itself,
whatever AWS_ENDPOINT_URL says (awscli/customizations/overridesslcommonname.py)."""
LOOPBACK = "127.0.0.1"
PATIENCE_SECS = 600
"""How long a busy machine may take for what takes a moment elsewhere; boto3 would wait 60 for LocalStack."""
DATABASE = "analytics"
ADMIN_ROLE = "postgres"
APP_ROLE = "sqs_to_postgres"


class StackError(Exception):
    """An error, as one sentence that says what to do."""


@dataclass(frozen=True)
class Identity:
    """The identity of a stack: kept in a file while it is up, so that every command finds the same one."""

    localstack_port: int
    postgres_port: int
    admin_password: str
    app_password: str
    mask_key: str

    @classmethod
    def new(cls) -> "Identity":
        return cls(
            localstack_port=_port("LOCALSTACK_PORT", 4566),
            postgres_port=_port("POSTGRES_PORT", 54329),
            admin_password=secrets.token_urlsafe(24),
            app_password=secrets.token_urlsafe(24),
            mask_key=base64.b64encode(secrets.token_bytes(64)).decode(),
        )


@dataclass(frozen=True)
class Settings:
    """The folders. `state` holds everything; `make down` removes `running`, `make clean` all of it."""

    root: Path
    state: Path

    @classmethod
    def of_repo(cls) -> "Settings":
        root = Path(__file__).resolve().parents[2]
        return cls(root, root / ".local")

    @property
    def running(self) -> Path:
        return self.state / "stack"

    @property
    def watch_port(self) -> int:
        """Where the function of `make watch` takes events."""
        return _port("WATCH_PORT", 9000)

    @property
    def cache(self) -> Path:
        return self.state / "cache"

    @property
    def tools(self) -> Path:
        """The folder of sam, cargo-lambda, ruff, …"""
        return self.state / "venv" / "tools" / "bin"

    @cached_property
    def identity(self) -> Identity:
        """That of the running stack, or a new one."""
        file = self._identity_file
        return Identity(**json.loads(file.read_text())) if file.exists() else Identity.new()

    def keep_identity(self, identity: Identity | None = None) -> None:
        """Kept for every later command. A given identity must be set before the first access."""
        text = json.dumps(asdict(identity or self.identity), indent=2)
        self.running.mkdir(parents=True, exist_ok=True)
        write_whole(self._identity_file, text)

    @property
    def _identity_file(self) -> Path:
        return self.running / "identity.json"

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.identity.localstack_port}"

    @property
    def admin_url(self) -> str:
        return self._url(ADMIN_ROLE, self.identity.admin_password)

    @property
    def app_url(self) -> str:
        return self._url(APP_ROLE, self.identity.app_password)

    def _url(self, role: str, password: str) -> str:
        return f"postgresql://{role}:{password}@{LOOPBACK}:{self.identity.postgres_port}/{DATABASE}"

    def aws_env(self) -> dict[str, str]:
        """What the AWS command line and SDKs need to find LocalStack."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }


def write_whole(file: Path, text: str) -> None:
    """Writes a file that only its owner can read. Another command finds the old text or the new one."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as new:
        new.write(text)
    Path(new.name).replace(file)


def _port(variable: str, default: int) -> int:
    value = os.environ.get(variable) or str(default)
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise StackError(f"{variable}={value} is not a port number: set one from 1 to 65535, or unset it.")
    return int(value)
