"""A release: what `make dist` builds, without optimisations, in a folder from which it is deployed."""

import io
import platform
import re
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from shell import Shell

from stack.deploy import client
from stack.settings import Settings

ARCHITECTURE = "arm64" if platform.machine() == "aarch64" else "x86_64"
LOCAL = "DbSslMode=disable Profile=try-out"
"""The only parameters that are not on the page: AWS is the local stack, whose Postgres has no TLS."""


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
