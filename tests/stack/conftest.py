"""The fixtures that the tests of the stack share, each made once."""

import base64
import os
import secrets
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from releases import Release
from samtranslator.yaml_helper import yaml_parse
from shell import STAND_INS, Shell

from stack import deploy, postgres
from stack import tool as tool_of_stack
from stack.deploy import Deployment, client
from stack.processes import one_at_a_time
from stack.settings import Settings
from stacks import VARIANTS, Stacks, Variant, send_both

BUILT = Path(".local/sam/local/template.yaml")


@pytest.fixture(scope="session")
def settings() -> Settings:
    return Settings.of_repo()


@pytest.fixture(scope="session")
def deployment(settings: Settings) -> Deployment:
    return Deployment.of(settings)


@pytest.fixture(scope="session")
def template(settings: Settings) -> dict[str, Any]:
    """template.yaml, its `!Ref` and the like in their long form."""
    return yaml_parse((settings.root / "template.yaml").read_text())


@pytest.fixture(scope="session")
def packaged(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The template as `sam deploy` sends it: its code is in a bucket."""
    output = tmp_path_factory.mktemp("packaged") / "template.yaml"
    options = {
        "--template-file": settings.root / BUILT,
        "--s3-bucket": deploy.ARTIFACTS_BUCKET,
        "--output-template-file": output,
    }
    with one_at_a_time(settings):
        deploy.sam(settings, "package", [str(word) for option in options.items() for word in option])
    return output.read_text()


@pytest.fixture(scope="session")
def released(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a release, as `make dist` builds it, but quickly: `make test` does that once."""
    if built := os.environ.get("TESTED_RELEASE"):
        return Path(built)
    folder = tmp_path_factory.mktemp("released")
    with one_at_a_time(settings):
        subprocess.run(
            ["make", "--no-print-directory", "dist", f"DIST={folder}", "CA_BUNDLE="],
            cwd=settings.root,
            env=deploy.build_env(settings) | {"PATH": os.environ["PATH"]},
            check=True,
            stdout=sys.stderr,
        )
        deploy.build(settings)  # cargo-lambda has moved the tool from its place
    return folder


@pytest.fixture
def release(settings: Settings, released: Path, tmp_path: Path) -> Iterator[Release]:
    """In a folder of its own, with its tool on the path."""
    (packed,) = released.glob("*-tool-linux-*.tar.gz")
    subprocess.run(["tar", "-xf", packed, "-C", tmp_path], check=True)
    for file in set(released.iterdir()) - {packed}:
        shutil.copy(file, tmp_path)
    (tmp_path / "pipeline.toml").write_text((settings.root / "pipeline.toml").read_text())
    programs = [str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"], STAND_INS]
    env = settings.aws_env() | {"PATH": os.pathsep.join(programs), "HOME": str(tmp_path)}
    name = f"release-{secrets.token_hex(3)}"
    made = Release(settings, Shell(tmp_path, env), name, f"code-{name}")
    made.type("aws s3 mb s3://my-code")
    deploy.put_secrets(settings, "orders/database", "orders/mask-key")
    yield made
    client(settings, "cloudformation").delete_stack(StackName=name)


@pytest.fixture
def steady_build(settings: Settings) -> Iterator[None]:
    """Keeps others, such as `make up`, from replacing the function in `target`; `make test` has a copy."""
    with nullcontext() if "TESTED_PROGRAMS" in os.environ else one_at_a_time(settings):
        yield


@pytest.fixture(scope="session")
def stacks(settings: Settings, packaged: str) -> Iterator[Stacks]:
    made = Stacks(settings, packaged)
    yield made
    made.end()


@pytest.fixture(scope="session")
def variants(stacks: Stacks) -> dict[str, Variant]:
    """Every stack of VARIANTS, all deployed at the same time."""
    settings = stacks.settings
    names = {kind: stacks.create(kind, prepare(settings)) for kind, prepare in VARIANTS.items()}
    deployed = {kind: stacks.wait("create", name) for kind, name in names.items()}
    return {kind: send_both(settings, names[kind], stack) for kind, stack in deployed.items()}


@pytest.fixture(scope="session")
def tool(settings: Settings) -> Path:
    """The folder of the command-line tool."""
    return tool_of_stack.path(settings).parent


@pytest.fixture
def shell(settings: Settings, tool: Path, tmp_path: Path) -> Iterator[Shell]:
    name = f"docs_{uuid.uuid4().hex}"
    postgres.query(settings, f"CREATE DATABASE {name}", database="postgres")
    programs = [str(tool), str(Path(sys.executable).parent), str(postgres.programs()), os.environ["PATH"]]
    (tmp_path / "pipeline.toml").write_text((settings.root / "pipeline.toml").read_text())
    yield Shell(
        tmp_path,
        {
            "PATH": os.pathsep.join(programs),
            "DATABASE_URL": f"{settings.admin_url.rpartition('/')[0]}/{name}",
            "MASK_KEY": base64.b64encode(bytes(range(64))).decode(),
            "AWS_EC2_METADATA_DISABLED": "true",
            "LC_ALL": "C.UTF-8",
        },
    )
    postgres.query(settings, f"DROP DATABASE {name} WITH (FORCE)", database="postgres")
