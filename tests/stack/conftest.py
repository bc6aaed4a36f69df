"""What the tests of the stack share: each thing is made once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from stack import deploy
from stack.deploy import Deployment
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
def packaged(settings: Settings, deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The template as `sam deploy` sends it: its code is in a bucket."""
    output = tmp_path_factory.mktemp("packaged") / "template.yaml"
    options = {
        "--template-file": settings.root / BUILT,
        "--s3-bucket": deploy.ARTIFACTS_BUCKET,
        "--output-template-file": output,
    }
    deploy.sam(settings, "package", [str(word) for option in options.items() for word in option])
    return output.read_text()


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
