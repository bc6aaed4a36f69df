"""A release, deployed as docs/DEPLOY.md says: with the AWS command line, zip, and nothing else of ours.

It is what `make dist` builds, without optimisations. AWS is the local stack, whose Postgres has no TLS: that
and the short times of a trial are the only parameters that are not on the page.
"""

import io
import json
import os
import platform
import re
import secrets
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pages import steps
from shell import STAND_INS, Shell

from stack import deploy, postgres, run
from stack.deploy import Deployment, client
from stack.settings import Settings
from stacks import ACCOUNT, GOOD, OTHER_ACCOUNT

PAGE = "docs/DEPLOY.md"
LOCAL = "DbSslMode=disable Profile=try-out"
ARCHITECTURE = "arm64" if platform.machine() == "aarch64" else "x86_64"
UPPERCASE = 'transform = ["uppercase"]\n'
MACHINE_AT = 18
"""Of an ELF file: its processor."""
TIMEOUT_SECS = 120


@dataclass(frozen=True)
class Release:
    """The folder of a release, with a mapping, and a shell in it."""

    settings: Settings
    shell: Shell
    stack: str
    bucket: str

    def type(self, command: str) -> str:
        return self.shell.output(self.own(command))

    def refused(self, command: str) -> str:
        done = self.shell.run(self.own(command))
        assert done.returncode != 0
        return done.stderr

    def own(self, command: str) -> str:
        """Another stack and bucket than the page has, and this machine's processor."""
        command = command.replace("my-code", self.bucket).replace("x86_64", ARCHITECTURE)
        return re.sub(r"\borders(?= --|-1)", self.stack, command)

    @property
    def zip(self) -> Path:
        (found,) = self.shell.folder.glob("*.zip")
        return found

    def function(self) -> dict[str, str]:
        found = client(self.settings, "lambda").get_function(FunctionName=self.stack)
        return found["Configuration"] | {"Location": found["Code"]["Location"]}

    def deployed(self) -> zipfile.ZipFile:
        with urllib.request.urlopen(self.function()["Location"]) as reply:
            return zipfile.ZipFile(io.BytesIO(reply.read()))

    def mapping(self) -> str:
        return self.deployed().read("pipeline.toml").decode()

    def pack(self, bootstrap: bytes) -> None:
        """Replaces the downloaded zip by one with this function."""
        executable = zipfile.ZipInfo("bootstrap")
        executable.external_attr = 0o755 << 16
        with zipfile.ZipFile(self.zip, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr(executable, bootstrap)

    def bootstrap(self) -> bytes:
        with zipfile.ZipFile(self.zip) as archive:
            return archive.read("bootstrap")


@pytest.fixture
def release(settings: Settings, released: Path, tmp_path: Path) -> Iterator[Release]:
    (tool,) = released.glob("*-tool-linux-*.tar.gz")
    subprocess.run(["tar", "-xf", tool, "-C", tmp_path], check=True)
    for file in released.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "deploy.sh").chmod(0o755)
    (tmp_path / "pipeline.toml").write_text((settings.root / "pipeline.toml").read_text())
    programs = [str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"], STAND_INS]
    env = settings.aws_env() | {"PATH": os.pathsep.join(programs), "HOME": str(tmp_path)}
    name = f"release-{secrets.token_hex(3)}"
    made = Release(settings, Shell(tmp_path, env), name, f"code-{name}")
    made.type("aws s3 mb s3://my-code")
    yield made
    client(settings, "cloudformation").delete_stack(StackName=name)


def stored_locales(release: Release) -> list[str]:
    """Of the messages sent so far to the stack."""
    rows = f"SELECT locale FROM user_logins WHERE user_id = '{release.stack}'"
    return sorted(postgres.query(release.settings, rows).splitlines())


def send(release: Release) -> None:
    deployment = Deployment.read(release.settings, release.stack)
    run.send(release.settings, deployment, [json.dumps(GOOD | {"user_id": release.stack, "locale": "de"})])


def test_three_commands_deploy_it_and_one_each_updates_mapping_and_code(release: Release) -> None:
    zipped, copied, deploy = [command for command, _ in steps(PAGE, "With a release")[:3]]
    for command in (zipped, copied, f"{deploy} Architecture={ARCHITECTURE} {LOCAL}"):
        release.type(command)
    send(release)
    run.until(lambda: stored_locales(release) == ["de"], TIMEOUT_SECS, "no row")

    shipped, first = release.mapping(), release.deployed().read("bootstrap")
    locale = 'name = "locale"\ntype = "varchar(32)"\n'
    (release.shell.folder / "orders.toml").write_text(shipped.replace(locale, locale + UPPERCASE))
    mapping, code, both = [command for command, _ in steps(PAGE, "Another mapping or version")]
    release.type(mapping)
    assert UPPERCASE in release.mapping()
    assert release.deployed().read("bootstrap") == first
    send(release)
    run.until(lambda: stored_locales(release) == ["DE", "de"], TIMEOUT_SECS, "no row of the new mapping")

    release.pack(first + b"\0")
    release.type(code)
    assert UPPERCASE in release.mapping()
    assert release.deployed().read("bootstrap") == first + b"\0"

    release.pack(first + b"\0\0")
    (release.shell.folder / "orders.toml").write_text(shipped)
    release.type(both)
    assert UPPERCASE not in release.mapping()
    assert release.deployed().read("bootstrap") == first + b"\0\0"
    send(release)
    expected = ["DE", "de", "de"]
    run.until(lambda: stored_locales(release) == expected, TIMEOUT_SECS, "no row of the new version")


def test_deploy_sh_takes_the_processor_from_the_zip(release: Release) -> None:
    first = f"./deploy.sh orders --bucket my-code --zip {release.zip.name} --mapping pipeline.toml"
    other, byte = ("x86_64", 0x3E) if ARCHITECTURE == "arm64" else ("arm64", 0xB7)
    elf = bytearray(release.bootstrap()[:64])
    elf[MACHINE_AT] = byte
    release.pack(bytes(elf))
    refused = release.shell.run(release.own(first) + f" Architecture={ARCHITECTURE}")
    assert f"the zip is for {other}" in refused.stderr
    release.type(f"{first} {LOCAL}")
    assert release.function()["Architectures"] == [other]
    elf[MACHINE_AT] = 0x28
    release.pack(bytes(elf))
    assert "no processor that Lambda has" in release.refused(first)


def test_deploy_sh_refuses_early_what_cannot_work(release: Release) -> None:
    zipped, here = f"--zip {release.zip.name}", release.shell.folder
    (here / "wrong.toml").write_text('table = "t"\n')
    for words, why in {
        f"{'a' * 65} {zipped}": "a function's has at most 64",
        f"orders --bucket my-code {zipped} --mapping none.toml": "there is no file none.toml",
        "orders": "name another --zip, another --mapping, or both",
        f"orders {zipped} --mapping pipeline.toml": "name a --bucket",
        f"orders --bucket my-code {zipped}": "name a --zip and a --mapping",
        f"orders --bucket my-code {zipped} --mapping wrong.toml": "pipeline.toml: ",
        "orders --bucket": "usage: deploy.sh STACK",
    }.items():
        assert why in release.refused(f"./deploy.sh {words}"), words
    stacks = client(release.settings, "cloudformation").describe_stacks()["Stacks"]
    assert release.stack not in [stack["StackName"] for stack in stacks]


AWS_OF_ANOTHER = """#!/bin/sh
case "$1 $2" in
"sts get-caller-identity") echo {account} ;;
"cloudformation describe-stacks") echo theirs ;;
"s3api head-bucket") [ "$*" = "s3api head-bucket --bucket theirs --expected-bucket-owner $OWNER" ] ;;
*) echo "$1 $2" >> calls ;;
esac
"""
"""An account in which the bucket `theirs` belongs to $OWNER. LocalStack does not compare owners."""


@pytest.mark.parametrize("words", ["--mapping m.toml", "--bucket theirs --zip f.zip --mapping m.toml"])
def test_deploy_sh_uses_a_bucket_only_if_it_is_of_the_account(
    settings: Settings, tmp_path: Path, words: str
) -> None:
    (tmp_path / "aws").write_text(AWS_OF_ANOTHER.format(account=ACCOUNT))
    (tmp_path / "aws").chmod(0o755)
    (tmp_path / "m.toml").write_text((settings.root / "pipeline.toml").read_text())
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        archive.writestr("bootstrap", bytes(MACHINE_AT) + b"\x3e")
    command = ["sh", str(settings.root / "release" / "deploy.sh"), "orders", *words.split()]
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"], STAND_INS])
    for owner, used in {OTHER_ACCOUNT: False, ACCOUNT: True}.items():
        env = {"PATH": path, "OWNER": owner}
        done = subprocess.run(command, cwd=tmp_path, env=env, text=True, capture_output=True)
        refused = f"the bucket theirs cannot be read, or is not of the account {ACCOUNT}"
        assert (refused in done.stderr) is not used, done.stderr
        assert (tmp_path / "calls").exists() is used


def test_the_released_tool_runs(release: Release) -> None:
    assert re.fullmatch(r"sqs-to-postgres \d+\.\d+\.\d+\n", release.type("sqs-to-postgres --version"))


def test_the_released_template_is_the_template(settings: Settings, released: Path) -> None:
    template = released / "template.yaml"
    linted = subprocess.run([settings.tools / "cfn-lint", template], text=True, capture_output=True)
    assert linted.returncode == 0, linted.stdout
    assert len(template.read_bytes()) <= 51_200


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
    name = f"source-{secrets.token_hex(3)}"
    yield name
    client(settings, "cloudformation").delete_stack(StackName=name)
