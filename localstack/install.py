"""Installs the two Python environments of the local stack, each exactly as its lock file says, and with the
argument `peers` that of the Python functions in the bench, with `cdk` that of the test of the CDK example,
with `references` that of the programs with which tests compare, with `examples` that of the tools which check
deploy/, with `site` that of the documentation's site, with `terraform` what the AWS provider accepts.

Runs on the user's own Python, so it needs nothing but the standard library. uv installs, in a fraction of the
time of pip. pip installs uv, and everything if uv cannot: it may understand a configuration that uv does not.
After `--` comes a command to run at the same time.

Does nothing when the environments are there already. An environment knows its own path (the scripts in it
start with it), so one of a moved or copied clone is rebuilt.
"""

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCAL = HERE.parent / ".local"
LOCKS = {"stack": HERE / "requirements.txt", "tools": HERE / "requirements-tools.txt"}
LOCKS_ON_DEMAND = {
    "peers": HERE.parent / "benches" / "peers" / "requirements.txt",
    "cdk": HERE / "requirements-cdk.txt",
    "references": HERE / "requirements-references.txt",
    "examples": HERE / "requirements-examples.txt",
    "site": HERE / "requirements-site.txt",
    "terraform": HERE / "requirements-terraform.txt",
}
UV_LOCK = HERE / "requirements-uv.txt"
PACKAGE = HERE / "pyproject.toml"
OF_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
    "trusted-host": "UV_INSECURE_HOST",
    "proxy": "ALL_PROXY",
}
"""Settings of pip, and the variables that tell uv the same. https://docs.astral.sh/uv/reference/environment/"""
OLDEST_PYTHON = (3, 11)
# Not that of an environment from which this runs, which might be one of ours.
INTERPRETER = getattr(sys, "_base_executable", sys.executable)
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
    names, command = split(sys.argv[1:])
    with meanwhile(command):
        for name, lock in (LOCKS | {name: LOCKS_ON_DEMAND[name] for name in names}).items():
            install(LOCAL / "venv" / name, lock)
        install_package(LOCAL / "venv" / "stack")
        tell_sam_that_it_is_pinned(LOCAL / "cache" / "sam")


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Names of environments, and after `--` a command to run at the same time."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


@contextmanager
def meanwhile(command: list[str]) -> Iterator[None]:
    """Runs a command while the network is busy, and ends when both have ended. A failure of one ends both."""
    running = subprocess.Popen(command) if command else None
    try:
        yield
    except BaseException:
        if running:
            running.terminate()
            running.wait()
        raise
    if running and running.wait():
        sys.exit(running.returncode)


def install(venv: Path, lock: Path) -> None:
    """Builds one environment unless its stamp says that it already exists."""
    stamp, wanted = venv / "stamp", stamp_of(lock)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    began = time.monotonic()
    build(venv, lock)
    stamp.write_text(wanted)
    # Whole lines, because cargo may be compiling meanwhile.
    print(
        f"· installed {lock.relative_to(HERE.parent)}  {time.monotonic() - began:.0f} s",
        file=sys.stderr,
        flush=True,
    )


def build(venv: Path, lock: Path) -> None:
    # The lock is complete, so there is nothing to resolve: --no-deps is quicker, and it keeps pip from
    # stumbling over extras, which it does not match with their hashes.
    locked = ["--no-deps", "--require-hashes", "-r", str(lock)]
    create(venv, with_pip=False)
    if not uv("install", "--python", str(venv / "bin" / "python"), *locked):
        create(venv)
        pip(venv, *locked)


def install_package(venv: Path) -> None:
    """Installs the package `stack` itself, as a pointer to its source: only its entry points are copied."""
    stamp, wanted = venv / "stamp-package", stamp_of(PACKAGE)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    itself = ["--no-deps", "--no-build-isolation", "--editable", str(HERE)]
    if not uv("install", "--python", str(venv / "bin" / "python"), *itself):
        subprocess.run([str(venv / "bin" / "python"), "-m", "ensurepip"], stdout=subprocess.DEVNULL)
        pip(venv, *itself)
    stamp.write_text(wanted)


def uv(*arguments: str) -> bool:
    """Runs `uv pip`, and says whether it succeeded. Installs it first, if necessary."""
    venv = LOCAL / "venv" / "uv"
    stamp, wanted = venv / "stamp", stamp_of(UV_LOCK)
    if not stamp.exists() or stamp.read_text() != wanted:
        create(venv)
        pip(venv, "--require-hashes", "-r", str(UV_LOCK))
        stamp.write_text(wanted)
    # The user's own settings of uv come before those of pip.
    env = uv_settings(venv) | os.environ | {"UV_CACHE_DIR": str(LOCAL / "cache" / "uv")}
    done = subprocess.run([str(venv / "bin" / "uv"), "pip", *arguments, "--quiet"], env=env)
    if done.returncode:
        print("· uv could not install it, with the message above: pip tries", file=sys.stderr, flush=True)
    return done.returncode == 0


def uv_settings(venv: Path) -> dict[str, str]:
    """What pip is configured to use (a mirror, a proxy, certificates), by the names that uv has for it."""
    command = [str(venv / "bin" / "python"), "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True).stdout
    found: dict[str, str] = {}
    # The later takes precedence.
    places = (":env:.", "install.")
    for line in sorted(listed.splitlines(), key=lambda line: [line.startswith(place) for place in places]):
        name, _, value = line.partition("=")
        if variable := OF_PIP.get(name.rpartition(".")[2]):
            words = str(ast.literal_eval(value)).split()
            found[variable] = ("," if variable == "UV_FIND_LINKS" else " ").join(words)
    return found


def tell_sam_that_it_is_pinned(folder: Path) -> None:
    """Prevents sam from checking weekly for a newer version."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"lastVersionCheck": FAR_AWAY, "telemetryEnabled": False}
    (folder / "metadata.json").write_text(json.dumps(settings))


def stamp_of(source: Path) -> str:
    """Everything an installation depends on: its source, the Python and the place."""
    place = [str(part).encode() for part in (HERE, sys.version, INTERPRETER)]
    return hashlib.sha256(b"\0".join([source.read_bytes(), *place])).hexdigest()


def create(venv: Path, *, with_pip: bool = True) -> None:
    shutil.rmtree(venv, ignore_errors=True)
    options = [] if with_pip else ["--without-pip"]
    done = subprocess.run([INTERPRETER, "-m", "venv", *options, str(venv)])
    if done.returncode:
        sys.exit(
            f"{INTERPRETER} could not create a virtual environment: install its venv module "
            "(Debian and Ubuntu: the package python3-venv)."
        )


def pip(venv: Path, *arguments: str) -> None:
    command = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", *arguments]
    done = subprocess.run([*command, "--disable-pip-version-check", "--no-input"])
    if done.returncode:
        sys.exit("pip could not install the packages of the lock file: its message is above.")


if __name__ == "__main__":
    main()
