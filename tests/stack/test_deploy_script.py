"""deploy.sh of a release: what it finds out by itself, and what it refuses."""

import os
import subprocess
import zipfile
from pathlib import Path

import pytest
from releases import ARCHITECTURE, LOCAL, Release
from shell import STAND_INS

from stack.deploy import client
from stack.settings import Settings
from stacks import ACCOUNT, OTHER_ACCOUNT

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
