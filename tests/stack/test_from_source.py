"""Deployed from a checkout, as docs/DEPLOY.md says."""

import io
import os
import secrets
import subprocess
import urllib.request
import zipfile
from collections.abc import Iterator

import pytest
from pages import steps

from stack import deploy
from stack.deploy import Deployment, client
from stack.settings import Settings

PAGE = "docs/DEPLOY.md"


def test_from_source_several_stacks_live_side_by_side(settings: Settings, stacks_from_source: str) -> None:
    ((command, _),) = steps(PAGE, "From source")
    command = command.replace("STACK=orders", f"STACK={stacks_from_source}")
    command = command.replace("PIPELINE=orders.toml", "PIPELINE=events/orders.toml")
    command = command.replace('PARAMETERS="', 'PARAMETERS="DbSslMode=disable ')
    done = subprocess.run(
        ["bash", "-c", command], cwd=settings.root, env=by_hand(settings), text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    function = client(settings, "lambda").get_function(FunctionName=stacks_from_source)
    with urllib.request.urlopen(function["Code"]["Location"]) as reply:
        packed = zipfile.ZipFile(io.BytesIO(reply.read()))
    assert packed.read("pipeline.toml").decode() == (settings.root / "events/orders.toml").read_text()
    queue = Deployment.read(settings, stacks_from_source).queue_url.rpartition("/")[2]
    assert (queue, function["Configuration"]["Timeout"]) == (stacks_from_source, 60)


def by_hand(settings: Settings) -> dict[str, str]:
    """The environment of a user who types `make`: the folder of our tools is not on the path."""
    return deploy.build_env(settings) | {"PATH": os.environ["PATH"]}


@pytest.fixture
def stacks_from_source(settings: Settings, steady_build: None) -> Iterator[str]:
    """The name of a stack, next to the one of the shipped mapping."""
    deploy.put_secrets(settings, "orders/database", "orders/mask-key")
    name = f"source-{secrets.token_hex(3)}"
    yield name
    client(settings, "cloudformation").delete_stack(StackName=name)
