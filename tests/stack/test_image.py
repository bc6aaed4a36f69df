"""The image of the tool, written without Docker, unpacked by others, run with nothing of this machine."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from releases import ARCHITECTURE

from stack import postgres, run
from stack.deploy import client
from stack.processes import free_port
from stack.settings import PATIENCE_SECS, Settings

MAPPING = """\
table = "orders"
key = ["order_id"]

[[column]]
name = "order_id"
type = "bigint"
required = true

[[column]]
name = "placed"
type = "timestamptz"
format = "%Y-%m-%d %H:%M"
zone = "Europe/Zurich"
"""
NONROOT = 65532
# Its files alone, which cannot be written, as the user of the image if this is root.
CONTAINER = """\
mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec chroot $USERSPEC "$0" "$@"
"""
NEEDED = ("apt-get", "skopeo", "umoci", "unshare")


def make_image(settings: Settings, released: Path, layout: Path, architecture: str) -> None:
    """As a user of `make image` does, from what `make dist` has built."""
    words = [f"DIST={released}", f"IMAGE={layout}", f"ARCHITECTURE={architecture}"]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    subprocess.run(["make", "--no-print-directory", "image", *words], cwd=settings.root, env=env, check=True)


@pytest.fixture(scope="session")
def layout(settings: Settings, released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    made = tmp_path_factory.mktemp("image") / "layout"
    make_image(settings, released, made, ARCHITECTURE)
    return made


@pytest.fixture(scope="session")
def root(layout: Path) -> Path:
    """The files of the image, as the programs of others read it."""
    one, bundle = layout.parent / "one", layout.parent / "bundle"
    subprocess.run(["skopeo", "copy", "--quiet", f"oci:{layout}", f"oci:{one}:drain"], check=True)
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    subprocess.run(["umoci", "unpack", *rootless, "--image", f"{one}:drain", str(bundle)], check=True)
    return bundle / "rootfs"


def config(layout: Path) -> dict[str, Any]:
    inspected = subprocess.run(
        ["skopeo", "inspect", "--config", f"oci:{layout}"], check=True, capture_output=True
    )
    return json.loads(inspected.stdout)["config"]


def container(layout: Path, root: Path, *arguments: str, **env: str) -> "subprocess.Popen[str]":
    of_image = dict(setting.split("=", 1) for setting in config(layout)["Env"])
    is_root = os.geteuid() == 0
    namespaces = ["--mount"] if is_root else ["--mount", "--map-root-user"]
    outside = ["unshare", *namespaces, "sh", "-c", CONTAINER, str(root)]
    userspec = f"--userspec={NONROOT}:{NONROOT}" if is_root else ""
    return subprocess.Popen(
        [*outside, "/usr/local/bin/sqs-to-postgres", *arguments],
        # The path is only for the programs of this machine that enter the image.
        env=of_image | env | {"PATH": os.environ["PATH"], "USERSPEC": userspec},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def database(settings: Settings) -> Iterator[str]:
    name = f"image_{uuid.uuid4().hex}"
    postgres.query(settings, f"CREATE DATABASE {name}", database="postgres")
    yield name
    postgres.query(settings, f"DROP DATABASE {name} WITH (FORCE)", database="postgres")


@pytest.fixture
def queue_url(settings: Settings) -> Iterator[str]:
    sqs = client(settings, "sqs")
    url = sqs.create_queue(QueueName=f"image-{uuid.uuid4().hex}")["QueueUrl"]
    yield url
    sqs.delete_queue(QueueUrl=url)


def test_drain_stores_a_queue_with_nothing_of_this_machine_as_a_user_who_cannot_write(
    settings: Settings, layout: Path, root: Path, database: str, queue_url: str
) -> None:
    if os.geteuid() and subprocess.run(["unshare", "--mount", "--map-root-user", "true"]).returncode:
        pytest.skip("users may not make namespaces here")
    (root / "etc/sqs-to-postgres/pipeline.toml").write_text(MAPPING)  # in a container, mounted
    url = f"{settings.admin_url.rpartition('/')[0]}/{database}?sslmode=disable"
    created, problems = container(layout, root, "ddl").communicate()
    assert created, problems
    postgres.query(settings, created, database=database)
    bodies = [f'{{"order_id": {number}, "placed": "2026-07-01 12:00"}}' for number in range(3)]
    for body in bodies:
        client(settings, "sqs").send_message(QueueUrl=queue_url, MessageBody=body)

    port = free_port()
    health = ("health", f"http://127.0.0.1:{port}/healthz")
    assert container(layout, root, *health).wait() == 3
    drain = container(
        layout,
        root,
        *("drain", "--follow", "--queue-url", queue_url, f"--metrics-addr={port}"),
        **(settings.aws_env() | {"DATABASE_URL": url}),
    )
    stored = "SELECT count(*), min(placed) AT TIME ZONE 'UTC' FROM orders"
    expected = "3|2026-07-01 10:00:00"
    run.until(
        lambda: postgres.query(settings, stored, database=database) == expected, PATIENCE_SECS, "no rows"
    )
    assert container(layout, root, *health).wait() == 0
    user = Path(f"/proc/{drain.pid}").stat().st_uid
    assert user == (NONROOT if os.geteuid() == 0 else os.geteuid())
    drain.send_signal(signal.SIGTERM)
    _, log = drain.communicate()
    assert drain.returncode == 0, log


def test_the_image_says_who_runs_what(layout: Path) -> None:
    said = config(layout)
    assert said["User"] == f"{NONROOT}:{NONROOT}"
    assert said["Entrypoint"] == ["sqs-to-postgres"]


# Some authorities have a serial number that RFC 5280 no longer allows.
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_the_image_has_the_certificates_of_aws_the_time_zones_and_no_shell(root: Path) -> None:
    pem = (root / "etc/ssl/certs/ca-certificates.crt").read_bytes()
    names = {found.subject.rfc4514_string() for found in x509.load_pem_x509_certificates(pem)}
    assert "CN=Amazon Root CA 1,O=Amazon,C=US" in names
    assert (root / "usr/share/zoneinfo/Europe/Zurich").is_file()
    programs = [file.name for folder in ("bin", "sbin") for file in root.glob(f"**/{folder}/*")]
    assert programs == ["sqs-to-postgres"]


def test_scanners_find_the_packages_of_the_image_and_their_licences(root: Path) -> None:
    packages = {file.name for file in (root / "var/lib/dpkg/status.d").iterdir()}
    assert packages == {"ca-certificates", "libc6", "libgcc-s1", "tzdata"}
    for name in ("ca-certificates", "libc6", "tzdata"):
        assert (root / "usr/share/doc" / name / "copyright").is_file()


def digests(layout: Path) -> set[str]:
    return {blob.name for blob in (layout / "blobs" / "sha256").iterdir()}


def test_the_same_tool_and_packages_make_the_same_image(
    settings: Settings, released: Path, layout: Path, tmp_path: Path
) -> None:
    make_image(settings, released, tmp_path / "again", ARCHITECTURE)
    assert digests(tmp_path / "again") == digests(layout)


ARCHITECTURES = ("x86_64", "arm64")


@pytest.fixture(scope="session")
def built(settings: Settings, released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What machines of each processor have built for a release, in the folders of its workflow.

    Debian has the packages of both in one place. The tool of arm64 is a stand-in, and so are those of macOS.
    """
    if "ID=debian" not in Path("/etc/os-release").read_text().splitlines() or not shutil.which("skopeo"):
        pytest.skip("not Debian, or without skopeo")
    made = tmp_path_factory.mktemp("release")
    (packed,) = released.glob("*-tool-linux-*.tar.gz")
    for architecture in ARCHITECTURES:
        dist = made / f"linux-{architecture}" / "dist"
        shutil.copytree(released, dist, ignore=shutil.ignore_patterns("*.tar.gz"))
        shutil.copy(packed, dist / packed.name.replace(ARCHITECTURE, architecture))
        (dist.parent / "release-notes.md").write_text("notes")
        make_image(settings, dist, dist.parent / "image", architecture)
        macos = made / f"macos-{architecture}"
        macos.mkdir()
        (macos / packed.name.replace(f"linux-{ARCHITECTURE}", f"macos-{architecture}")).write_text("a tool")
    return made


def test_a_release_puts_together_what_machines_of_each_processor_have_built(
    settings: Settings, built: Path, tmp_path: Path
) -> None:
    words = [f"BUILT={built}", f"DIST={tmp_path}/dist", f"IMAGE={tmp_path}/image", "REPOSITORY=some/one"]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    make = ["make", "--no-print-directory", "assemble", *words]
    subprocess.run(make, cwd=settings.root, env=env, check=True, stdout=subprocess.DEVNULL)
    dist = tmp_path / "dist"
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=dist, check=True)
    assert "https://github.com/some/one/releases" in (dist / "install.sh").read_text()
    assert (dist / "sqs-to-postgres.rb").read_text().count("/some/one/releases/download/") == 4
    ends = {file.name.rpartition("-0.1.0-")[2] for file in dist.iterdir()}
    assert {"image.tar", "terraform.tar.gz", "tool-macos-arm64.tar.gz"} <= ends


def test_one_image_is_for_both_processors(settings: Settings, built: Path, tmp_path: Path) -> None:
    layout, join = tmp_path / "layout", [sys.executable, settings.root / "release" / "image.py", "--join"]
    shutil.copytree(built / "linux-x86_64" / "image", layout)
    subprocess.run([*join, layout, built / "linux-arm64" / "image"], check=True)
    raw = subprocess.run(["skopeo", "inspect", "--raw", f"oci:{layout}"], check=True, capture_output=True)
    platforms = [image["platform"] for image in json.loads(raw.stdout)["manifests"]]
    assert platforms == [{"architecture": name, "os": "linux"} for name in ("amd64", "arm64")]
    for processor, machine in (("amd64", 0x3E), ("arm64", 0xB7)):
        copy = ["skopeo", "copy", "--quiet", f"--override-arch={processor}", f"oci:{layout}"]
        subprocess.run([*copy, f"dir:{tmp_path / processor}"], check=True)
        manifest = json.loads((tmp_path / processor / "manifest.json").read_text())
        base = tmp_path / processor / manifest["layers"][0]["digest"].removeprefix("sha256:")
        with tarfile.open(base) as layer:
            (libc,) = [entry for entry in layer if entry.name.endswith("/libc.so.6")]
            content = layer.extractfile(libc)
            assert content
            # e_machine of its ELF header: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
            assert content.read(20)[18] == machine
