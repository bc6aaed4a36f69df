"""What installs a released tool: the script, against a server with its files, and the formula."""

import hashlib
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from releases import ARCHITECTURE

from stack.settings import LOOPBACK, Settings

VERSION = "0.1.0"


@pytest.fixture
def files(released: Path, tmp_path: Path) -> Path:
    """The files of a release as they are on its page, of which this machine's tool is real."""
    folder = tmp_path / "releases" / "download" / f"v{VERSION}"
    folder.mkdir(parents=True)
    (packed,) = released.glob("*-tool-linux-*.tar.gz")
    shutil.copy(packed, folder)
    for system in ("linux", "macos"):
        for processor in ("x86_64", "arm64"):
            name = f"sqs-to-postgres-{VERSION}-tool-{system}-{processor}.tar.gz"
            if not (folder / name).exists():
                (folder / name).write_bytes(f"{system} {processor}".encode())
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(folder.iterdir())
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))
    return folder


@pytest.fixture
def address(files: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Quiet, directory=str(files.parents[2]))
    with ThreadingHTTPServer((LOOPBACK, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{LOOPBACK}:{server.server_port}/releases"
        server.shutdown()


def install(
    settings: Settings, address: str, home: Path, version: str = VERSION
) -> "subprocess.CompletedProcess[str]":
    script = settings.root / "release" / "install.sh"
    env = {"RELEASES": address, "HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    return subprocess.run(["sh", script, version], env=env, capture_output=True, text=True)


def test_the_script_installs_the_tool_of_a_release_and_says_where(
    settings: Settings, address: str, tmp_path: Path
) -> None:
    if not shutil.which("curl"):
        pytest.skip("there is no curl here")
    done = install(settings, address, tmp_path)
    assert done.returncode == 0, done.stderr
    installed = tmp_path / ".local" / "bin" / "sqs-to-postgres"
    assert f"add {installed.parent} to your PATH" in done.stdout
    version = subprocess.run([installed, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout == f"sqs-to-postgres {VERSION}\n"


def test_a_file_that_was_changed_is_not_installed(
    settings: Settings, address: str, files: Path, tmp_path: Path
) -> None:
    if not shutil.which("curl"):
        pytest.skip("there is no curl here")
    (packed,) = files.glob(f"*-tool-linux-{ARCHITECTURE}.tar.gz")
    packed.write_bytes(packed.read_bytes() + b"\0")
    done = install(settings, address, tmp_path)
    assert done.returncode == 1
    assert "is not the file that SHA256SUMS names: nothing was installed" in done.stderr
    assert not (tmp_path / ".local").exists()


def test_a_version_that_does_not_exist_is_named(settings: Settings, address: str, tmp_path: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("there is no curl here")
    done = install(settings, address, tmp_path, "9.9.9")
    assert done.returncode == 1
    assert "/download/v9.9.9/SHA256SUMS cannot be downloaded" in done.stderr


def test_the_formula_names_each_file_with_its_sum(settings: Settings, files: Path) -> None:
    program = settings.root / "release" / "formula.py"
    command = [sys.executable, program, files / "SHA256SUMS", VERSION, "someone/sqs-to-postgres"]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r'^ +url ".*/v0\.1\.0/(.*)"\n +sha256 "(\w+)"$', made, re.MULTILINE))
    assert len(found) == 4
    for name, digest in found.items():
        assert hashlib.sha256((files / name).read_bytes()).hexdigest() == digest
    if shutil.which("ruby"):
        subprocess.run(["ruby", "-c"], input=made, text=True, check=True, capture_output=True)


def test_a_release_without_a_tool_for_every_processor_has_no_formula(settings: Settings, files: Path) -> None:
    sums = files / "SHA256SUMS"
    sums.write_text("".join(line for line in sums.open() if "macos-arm64" not in line))
    program = settings.root / "release" / "formula.py"
    done = subprocess.run([sys.executable, program, sums, VERSION, "a/b"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "no tool for macos on arm64" in done.stderr
