"""Installs the two Python environments of the local stack, each exactly as its lock file says, and with the
argument `peers` that of the Python functions in the bench.

Runs on the user's own Python, so it needs nothing but the standard library. It does nothing when the
environments are there already. An environment knows its own path (the scripts in it start with it), so
one of a moved or copied clone is rebuilt.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCAL = HERE.parent / ".local"
LOCKS = {"stack": HERE / "requirements.txt", "tools": HERE / "requirements-tools.txt"}
LOCKS_ON_DEMAND = {"peers": HERE.parent / "benches" / "peers" / "requirements.txt"}
PACKAGE = HERE / "pyproject.toml"
OLDEST_PYTHON = (3, 11)
FAR_AWAY = 4102444800.0  # 2100-01-01 in seconds; sam takes only a float


def main() -> None:
    if sys.platform != "linux":
        sys.exit(
            f"{sys.platform} cannot run this: use Linux, also in WSL 2, a virtual machine or a container."
        )
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(
            f"Python {sys.version.split()[0]} is too old: the local stack needs 3.11 or later. "
            "Name one with `make PYTHON=python3.12 …`."
        )
    (LOCAL / "tmp").mkdir(parents=True, exist_ok=True)  # TMPDIR, by the Makefile
    demanded = {name: LOCKS_ON_DEMAND[name] for name in sys.argv[1:]}
    for name, lock in (LOCKS | demanded).items():
        install(LOCAL / "venv" / name, lock)
    install_package(LOCAL / "venv" / "stack")
    tell_sam_that_it_is_pinned(LOCAL / "cache" / "sam")


def install(venv: Path, lock: Path) -> None:
    """Builds one environment unless its stamp says that it already exists."""
    stamp, wanted = venv / "stamp", stamp_of(lock)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    began = time.monotonic()
    print(f"· installing {lock.relative_to(HERE.parent)} ", end="", file=sys.stderr, flush=True)
    create(venv)
    # The lock is complete, so pip has nothing to resolve: --no-deps is quicker, and it keeps pip from
    # stumbling over extras, which it does not match with their hashes.
    pip(venv, "--no-deps", "--require-hashes", "-r", str(lock))
    stamp.write_text(wanted)
    print(f" {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def install_package(venv: Path) -> None:
    """Installs the package `stack` itself, as a pointer to its source: only its entry points are copied."""
    stamp, wanted = venv / "stamp-package", stamp_of(PACKAGE)
    if not stamp.exists() or stamp.read_text() != wanted:
        pip(venv, "--no-deps", "--no-build-isolation", "--editable", str(HERE))
        stamp.write_text(wanted)


def tell_sam_that_it_is_pinned(folder: Path) -> None:
    """Prevents sam from checking weekly for a newer version."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"lastVersionCheck": FAR_AWAY, "telemetryEnabled": False}
    (folder / "metadata.json").write_text(json.dumps(settings))


def stamp_of(source: Path) -> str:
    """Everything an installation depends on: its source, the Python and the place."""
    place = [str(part).encode() for part in (HERE, sys.version, sys.executable)]
    return hashlib.sha256(b"\0".join([source.read_bytes(), *place])).hexdigest()


def create(venv: Path) -> None:
    shutil.rmtree(venv, ignore_errors=True)
    done = subprocess.run([sys.executable, "-m", "venv", str(venv)])
    if done.returncode:
        sys.exit(
            f"{sys.executable} could not create a virtual environment: install its venv module "
            "(Debian and Ubuntu: the package python3-venv)."
        )


def pip(venv: Path, *arguments: str) -> None:
    command = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", *arguments]
    done = subprocess.run([*command, "--disable-pip-version-check", "--no-input"])
    if done.returncode:
        sys.exit("pip could not install the packages of the lock file: its message is above.")


if __name__ == "__main__":
    main()
