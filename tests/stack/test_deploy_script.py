"""deploy.sh of a release: what it finds out by itself, and what it refuses."""

import os
import re
import stat
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from function import SET_BY_LAMBDA
from releases import ARCHITECTURE, LOCAL, Release
from shell import STAND_INS

from stack.deploy import client, program
from stack.settings import Settings
from stacks import ACCOUNT

MACHINE_AT = 18
"""Of an ELF file: its processor."""


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


AWS = """#!/bin/sh
echo "$*" >> calls
[ "$1 $2" != "s3 cp" ] || cp "$4" uploaded.zip 2>/dev/null || cp deployed.zip "$5"
[ ! -e "answers/$2.fails" ] || { cat "answers/$2.fails" >&2; exit 254; }
cat "answers/$2" 2>/dev/null || true
"""
"""Answers what AWS and version 2 of its command line do. It stands for accounts that LocalStack cannot be."""
ANSWERED = "\nAn error occurred ({}) when calling the {} operation: {}\n"
ABSENT = ANSWERED.format("ValidationError", "DescribeStacks", "Stack with id orders does not exist")
EXPIRED = "The security token included in the request is expired"


@dataclass(frozen=True)
class Account:
    """A folder with a release and an AWS that answers what it is told."""

    folder: Path
    script: Path

    def answers(self, operation: str, text: str) -> None:
        self._write(operation, text)
        (self.folder / "answers" / f"{operation}.fails").unlink(missing_ok=True)

    def fails(self, operation: str, text: str) -> None:
        self._write(f"{operation}.fails", text)

    def _write(self, name: str, text: str) -> None:
        (self.folder / "answers" / name).write_text(text)

    def run(self, words: str, **how: Any) -> "subprocess.CompletedProcess[str]":  # noqa: ANN401 (options of subprocess)
        path = os.pathsep.join([str(self.folder), os.environ["PATH"], STAND_INS])
        command = ["sh", str(self.script), "orders", *words.split()]
        env = {"PATH": path}
        return subprocess.run(command, cwd=self.folder, env=env, text=True, capture_output=True, **how)

    def refused(self, words: str) -> str:
        done = self.run(words)
        assert done.returncode != 0
        assert "cloudformation deploy" not in self.calls()
        return done.stderr

    def deploys(self, words: str, **how: Any) -> None:  # noqa: ANN401 (options of subprocess)
        done = self.run(words, **how)
        assert done.returncode == 0, done.stderr
        assert "cloudformation deploy" in self.calls()

    def calls(self) -> str:
        calls = self.folder / "calls"
        return calls.read_text() if calls.exists() else ""

    def uploaded(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self.folder / "uploaded.zip")


FIRST = "--bucket code --zip f.zip --mapping m.toml"


@pytest.fixture
def account(settings: Settings, tmp_path: Path) -> Account:
    """One with a bucket, without a stack."""
    (tmp_path / "answers").mkdir()
    (tmp_path / "aws").write_text(AWS)
    (tmp_path / "aws").chmod(0o755)
    (tmp_path / "m.toml").write_text((settings.root / "pipeline.toml").read_text())
    for name, more in {"f.zip": [], "deployed.zip": ["pipeline.toml"]}.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for file in ["bootstrap", *more]:
                archive.writestr(file, bytes(MACHINE_AT) + b"\x3e")
    made = Account(tmp_path, settings.root / "release" / "deploy.sh")
    made.answers("get-caller-identity", f"{ACCOUNT}\n")
    made.fails("describe-stacks", ABSENT)
    return made


def test_deploy_sh_creates_a_stack_and_sends_its_template_through_the_bucket(account: Account) -> None:
    account.deploys(FIRST)
    deployed = account.calls().splitlines()[-1]
    assert re.search(
        r"--s3-bucket code --s3-prefix orders .*CodeBucket=code CodeKey=orders/\w{16}.zip ", deployed
    )


def test_deploy_sh_says_what_aws_answered(account: Account) -> None:
    account.answers("describe-stacks", "CREATE_COMPLETE\tcode\torders/1.zip\n")
    account.deploys("--mapping m.toml")
    account.folder.joinpath("calls").unlink()
    account.fails("describe-stacks", ANSWERED.format("ExpiredToken", "DescribeStacks", EXPIRED))
    for words in ("--mapping m.toml", FIRST):
        said = account.refused(words)
        assert (
            "the stack orders cannot be looked up: An error occurred (ExpiredToken) when calling the" in said
        )
        assert EXPIRED in said
    account.fails("get-caller-identity", ANSWERED.format("ExpiredToken", "GetCallerIdentity", EXPIRED))
    assert EXPIRED in account.refused(FIRST)


@pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "ROLLBACK_FAILED"])
def test_deploy_sh_says_how_to_remove_a_stack_whose_creation_failed(account: Account, status: str) -> None:
    account.answers("describe-stacks", f"{status}\tcode\torders/1.zip\n")
    said = account.refused(FIRST)
    assert f"the stack orders is {status}: its creation failed" in said
    assert "aws cloudformation delete-stack --stack-name orders" in said


def test_deploy_sh_creates_a_stack_of_which_there_is_only_a_change_set(account: Account) -> None:
    account.answers("describe-stacks", "REVIEW_IN_PROGRESS\tNone\tNone\n")
    assert "name a --bucket" in account.refused("--zip f.zip --mapping m.toml")
    account.deploys(FIRST)


@pytest.mark.parametrize("words", ["--mapping m.toml", FIRST])
@pytest.mark.parametrize("answer", ["(403) when calling the HeadBucket operation: Forbidden", "(404)"])
def test_deploy_sh_uses_a_bucket_only_if_it_is_of_the_account(
    account: Account, words: str, answer: str
) -> None:
    account.answers("describe-stacks", "CREATE_COMPLETE\tcode\torders/1.zip\n")
    account.fails("head-bucket", f"\nAn error occurred {answer}\n")
    said = account.refused(words)
    assert f"the bucket code cannot be used (An error occurred {answer}): it must be of the account" in said
    assert "s3 cp" not in account.calls()
    account.answers("head-bucket", "")
    account.deploys(words)
    asked = f"s3api head-bucket --bucket code --expected-bucket-owner {ACCOUNT}"
    assert asked in account.calls()


def test_every_user_may_read_what_deploy_sh_packs_whatever_the_umask(account: Account) -> None:
    (account.folder / "m.toml").chmod(0o600)
    account.deploys(FIRST, umask=0o077)
    with account.uploaded() as packed:
        modes = {entry.filename: stat.filemode(entry.external_attr >> 16) for entry in packed.infolist()}
    assert modes.keys() == {"bootstrap", "pipeline.toml"}
    assert modes["bootstrap"].endswith("r-x")
    assert modes["pipeline.toml"].endswith("r--")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_function_starts_as_another_user_than_the_one_who_packed_it(
    settings: Settings, account: Account
) -> None:
    (account.folder / "m.toml").chmod(0o600)
    with zipfile.ZipFile(account.folder / "f.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.write(program(settings, "bootstrap"), "bootstrap")
    account.deploys(FIRST, umask=0o077)
    task = account.folder / "task"
    subprocess.run(["unzip", "-q", "uploaded.zip", "-d", task], cwd=account.folder, check=True)
    task.chmod(0o755)
    # Relative to its folder: those above it are closed to others. The mapping masks, and there is no key.
    nowhere = {
        "AWS_LAMBDA_RUNTIME_API": "localhost:1",
        "DATABASE_URL": "postgresql://nobody@localhost:1/none",
    }
    env = SET_BY_LAMBDA | nowhere | {"LAMBDA_TASK_ROOT": "."}
    nobody = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    started = subprocess.run(["./bootstrap"], cwd=task, env=env, text=True, capture_output=True, **nobody)
    assert "needs a key and none is set" in started.stdout, started


def test_deploy_sh_names_the_same_content_the_same_and_other_content_differently(account: Account) -> None:
    def key() -> str:
        account.deploys(FIRST)
        return re.findall(r"CodeKey=(\S+)", account.calls())[-1]

    first = key()
    assert key() == first
    (account.folder / "m.toml").write_text("another")
    assert key() != first
