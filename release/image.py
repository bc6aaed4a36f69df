"""Writes the image of the tool as an OCI layout, without Docker.

    image.py TOOL.tar.gz x86_64|arm64 LAYOUT VERSION [SBOM]
    image.py --join LAYOUT OTHER-LAYOUT

A first layer has what distroless images have: glibc, CA certificates, time zones, and a user who is not
root. Its packages are those of this machine's Debian or Ubuntu, whose signatures apt checks. A second layer
has the tool. Both hold the same bytes whenever they are written from the same packages and the same tool. A
layout keeps what it has of another processor, so that two runs make one image for both.

https://github.com/opencontainers/image-spec/tree/v1.1.1
"""

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath

LOCAL = Path(__file__).resolve().parents[1] / ".local" / "image"
PROCESSORS = {"x86_64": "amd64", "arm64": "arm64"}
"""Those of Lambda, and their names in Debian and OCI."""
PACKAGES = ("ca-certificates", "libc6", "libgcc-s1", "tzdata")
KEPT = ("lib", "lib64", "etc/ld.so.conf.d", "usr/lib", "usr/lib64", "usr/share/zoneinfo")
SKIPPED = ("gconv", "audit", "systemd", "ssl")
"""Folders of the kept ones: conversions of character sets, and what is for other programs."""
CERTIFICATES = "usr/share/ca-certificates/"
NONROOT = 65532
"""The user and group of distroless images."""
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/sbin/nologin\n"
    "nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n",
    "etc/group": "root:x:0:\nnonroot:x:65532:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
LINKS = {"lib": "usr/lib", "lib64": "usr/lib64"}
CONFIG = {
    "User": f"{NONROOT}:{NONROOT}",
    "Env": [
        "PATH=/usr/local/bin",
        "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
        "PIPELINE_FILE=/etc/sqs-to-postgres/pipeline.toml",
    ],
    "Entrypoint": ["sqs-to-postgres"],
    "WorkingDir": "/home/nonroot",
}
OCI = "application/vnd.oci.image"
LABELS = {
    "org.opencontainers.image.title": "sqs-to-postgres",
    "org.opencontainers.image.description": "Loads an SQS queue of JSON messages into Postgres tables",
    "org.opencontainers.image.licenses": "Apache-2.0",
}


class Layer:
    """The files of a layer: sorted, and without a date, so that equal files make equal layers."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[tarfile.TarInfo, bytes]] = {}

    def folder(self, path: str, mode: int = 0o755, owner: int = 0) -> None:
        if path != ".":
            self.folder(str(PurePosixPath(path).parent))
            self._add(path, tarfile.DIRTYPE, mode, owner=owner)

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        self.folder(str(PurePosixPath(path).parent))
        self._add(path, tarfile.REGTYPE, mode, content)

    def link(self, path: str, target: str) -> None:
        self.folder(str(PurePosixPath(path).parent))
        self._add(path, tarfile.SYMTYPE, 0o777)
        self.entries[path][0].linkname = target

    def _add(self, path: str, kind: bytes, mode: int, content: bytes = b"", owner: int = 0) -> None:
        if path in self.entries and kind == tarfile.DIRTYPE:
            return
        entry = tarfile.TarInfo(path)
        entry.type, entry.mode, entry.size = kind, mode, len(content)
        entry.uid = entry.gid = owner
        self.entries[path] = entry, content

    def tar(self) -> bytes:
        written = io.BytesIO()
        with tarfile.open(fileobj=written, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for _, (entry, content) in sorted(self.entries.items()):
                archive.addfile(entry, io.BytesIO(content))
        return written.getvalue()


def packages(processor: str) -> list[Path]:
    """The packages of this processor, downloaded as apt is configured, without installing anything."""
    folder = LOCAL / processor
    if not all(list(folder.glob(f"{name}_*.deb")) for name in PACKAGES):
        if not shutil.which("apt-get"):
            sys.exit("there is no apt-get here: `make image` needs Debian or Ubuntu")
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        options = {
            "APT::Architecture": processor,
            "APT::Architectures": processor,
            "APT::Sandbox::User": "",
            "Dir::Cache": folder / "cache",
            "Dir::State::lists": folder / "lists",
            "Dir::State::status": folder / "status",
        }
        named = [f"--option={name}={value}" for name, value in options.items()]
        for command in (["update", "--error-on=any"], ["download", *PACKAGES]):
            subprocess.run(["apt-get", "--quiet=2", *named, *command], cwd=folder, check=True)
    return sorted(next(folder.glob(f"{name}_*.deb")) for name in PACKAGES)


def base(processor: str) -> Layer:
    layer = Layer()
    certificates: dict[str, bytes] = {}
    for package in packages(processor):
        unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True)
        with tarfile.open(fileobj=io.BytesIO(unpacked.stdout)) as archive:
            for entry in archive:
                take(layer, certificates, archive, entry)
        # Here scanners look for packages without a database of dpkg, and for licences.
        control = subprocess.run(["dpkg-deb", "--field", package], check=True, capture_output=True).stdout
        status = control.rstrip(b"\n") + b"\nStatus: install ok installed\n"
        layer.file(f"var/lib/dpkg/status.d/{package.name.partition('_')[0]}", status)
    bundle = b"".join(certificates[name] for name in sorted(certificates))
    layer.file("etc/ssl/certs/ca-certificates.crt", bundle)
    layer.file("etc/os-release", Path("/etc/os-release").read_bytes())
    for path, text in FILES.items():
        layer.file(path, text.encode())
    for path, target in LINKS.items():
        layer.link(path, target)
    layer.folder("home/nonroot", 0o700, NONROOT)
    layer.folder("tmp", 0o1777)
    return layer


def take(
    layer: Layer, certificates: dict[str, bytes], archive: tarfile.TarFile, entry: tarfile.TarInfo
) -> None:
    """Takes what is kept of a package. /lib is a link, as in Debian: what is in it is in /usr/lib."""
    path = entry.name.removeprefix("./")
    parts = PurePosixPath(path).parts
    is_kept = path.startswith(tuple(f"{folder}/" for folder in KEPT)) and not set(parts) & set(SKIPPED)
    is_licence = path.startswith("usr/share/doc/") and path.endswith("/copyright")
    if path.startswith(CERTIFICATES) and path.endswith(".crt"):
        certificates[path] = read(archive, entry)
        return
    if not (is_kept or is_licence):
        return
    place = f"usr/{path}" if parts[0] in LINKS else path
    if entry.isdir():
        layer.folder(place)
    elif entry.issym():
        layer.link(place, entry.linkname)
    else:
        layer.file(place, read(archive, entry), entry.mode)


def read(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    """The content of a file, or of the one that this is another name of."""
    opened = archive.extractfile(entry)
    assert opened, f"{entry.name} is not a file"
    return opened.read()


def tool(archive: Path, sbom: Path | None) -> Layer:
    layer = Layer()
    with tarfile.open(archive) as packed:
        layer.file("usr/local/bin/sqs-to-postgres", read(packed, packed.getmember("sqs-to-postgres")), 0o755)
    layer.folder("etc/sqs-to-postgres")
    if sbom:
        layer.file(f"usr/share/doc/sqs-to-postgres/{sbom.name}", sbom.read_bytes())
    return layer


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Layout:
    """A folder in the form of OCI."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def blob(self, content: bytes, media_type: str, **more: object) -> dict[str, object]:
        """Stores content, and returns its descriptor."""
        place = self._place(digest(content))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return {"mediaType": media_type, "digest": digest(content), "size": len(content), **more}

    def _place(self, digest: str) -> Path:
        return self.folder / "blobs" / digest.replace(":", "/")

    def document(self, value: object, media_type: str, **more: object) -> dict[str, object]:
        return self.blob(json.dumps(value, sort_keys=True).encode(), media_type, **more)

    def read(self, descriptor: dict[str, str]) -> dict[str, list[dict[str, object]]]:
        return json.loads(self._place(descriptor["digest"]).read_bytes())

    def others(self, platform: dict[str, str]) -> list[dict[str, object]]:
        """The images of other processors that it has already."""
        index = self.folder / "index.json"
        if not index.exists():
            return []
        (named,) = json.loads(index.read_text())["manifests"]
        return [image for image in self.read(named)["manifests"] if image["platform"] != platform]

    def image(self, layers: list[Layer], processor: str, version: str) -> None:
        platform = {"architecture": processor, "os": "linux"}  # in this order, also when it is read again
        tars = [layer.tar() for layer in layers]
        labels = LABELS | {"org.opencontainers.image.version": version}
        config = platform | {
            "config": CONFIG | {"Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": [digest(tar) for tar in tars]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": self.document(config, f"{OCI}.config.v1+json"),
            "layers": [self.blob(gzip.compress(tar, 6, mtime=0), f"{OCI}.layer.v1.tar+gzip") for tar in tars],
        }
        image = self.document(manifest, manifest["mediaType"], platform=platform)
        self.name(version, [*self.others(platform), image])

    def name(self, version: str, images: list[dict[str, object]]) -> None:
        """Makes one image, of this name, of those for several processors."""
        images.sort(key=lambda image: str(image["platform"]))
        whole = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": images}
        name = {"org.opencontainers.image.ref.name": version}
        named = self.document(whole, whole["mediaType"], annotations=name)
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
        self.prune(named, images)

    def join(self, other: "Layout") -> None:
        """Adds the images of another layout, made on another machine, under the same name."""
        (named,) = json.loads((other.folder / "index.json").read_text())["manifests"]
        images = other.read(named)["manifests"]
        shutil.copytree(other.folder / "blobs", self.folder / "blobs", dirs_exist_ok=True)
        for image in images:
            images = [*images, *(mine for mine in self.others(image["platform"]) if mine not in images)]
        self.name(named["annotations"]["org.opencontainers.image.ref.name"], images)

    def prune(self, named: dict[str, object], images: list[dict[str, object]]) -> None:
        """Removes what an earlier run has left."""
        used = [named, *images]
        for image in images:
            manifest = self.read(image)
            used += [manifest["config"], *manifest["layers"]]
        kept = {self._place(descriptor["digest"]) for descriptor in used}
        for blob in (self.folder / "blobs" / "sha256").iterdir():
            if blob not in kept:
                blob.unlink()


def main() -> None:
    if sys.argv[1] == "--join":
        Layout(Path(sys.argv[2])).join(Layout(Path(sys.argv[3])))
        return
    archive, architecture, folder, version, *sbom = sys.argv[1:]
    processor = PROCESSORS[architecture]
    layers = [base(processor), tool(Path(archive), Path(sbom[0]) if sbom else None)]
    Layout(Path(folder)).image(layers, processor, version)


if __name__ == "__main__":
    main()
