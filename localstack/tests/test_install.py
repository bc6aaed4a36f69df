"""How it is installed, on which machines it cannot be, and the requirements in the README."""

import importlib.util
import os
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """install.py, which installs nothing here."""
    spec = importlib.util.spec_from_file_location("install", ROOT / "localstack" / "install.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "install", lambda *_: pytest.fail("it installs all the same"))
    return module


def test_another_platform_gets_an_error_with_a_way_out(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SystemExit, match=r"^darwin cannot run this: use Linux"):
        installer.main()


def test_the_readme_names_what_is_needed(installer: ModuleType) -> None:
    readme = (ROOT / "README.md").read_text()
    rust = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
    assert f"Rust ≥ {rust}," in readme
    assert f"Python ≥ {'.'.join(map(str, installer.OLDEST_PYTHON))}," in readme


def test_uv_uses_the_mirror_that_pip_is_configured_for(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://global.example/simple\nfind-links = /wheels /more\ncert = /ca.pem\n"
        "[install]\nindex-url = https://install.example/simple\ntrusted-host = one.example two.example\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    venv = ROOT / ".local" / "venv" / "uv"
    found = {
        "UV_DEFAULT_INDEX": "https://install.example/simple",
        "UV_FIND_LINKS": "/wheels,/more",
        "SSL_CERT_FILE": "/ca.pem",
        "UV_INSECURE_HOST": "one.example two.example",
    }
    assert installer.uv_settings(venv) == found
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:word@variable.example/simple")
    found["UV_DEFAULT_INDEX"] = "https://user:word@variable.example/simple"
    assert installer.uv_settings(venv) == found


def test_what_uv_cannot_install_is_installed_by_pip(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done: list[str] = []
    monkeypatch.setattr(installer, "uv", lambda *_: False)
    monkeypatch.setattr(installer, "create", lambda venv, with_pip=True: venv.mkdir(exist_ok=True))
    monkeypatch.setattr(installer, "pip", lambda _, *words: done.extend(words))
    lock = tmp_path / "requirements.txt"
    lock.write_text("")
    installer.build(tmp_path / "venv", lock)
    assert done == ["--no-deps", "--require-hashes", "-r", str(lock)]


def test_a_command_that_fails_meanwhile_fails_the_installation(installer: ModuleType) -> None:
    with pytest.raises(SystemExit) as ended, installer.meanwhile(["sh", "-c", "exit 3"]):
        pass
    assert ended.value.code == 3


def test_an_installation_that_fails_ends_the_command(installer: ModuleType, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(SystemExit, match="no network"), installer.meanwhile(["cat", str(fifo)]):
        sys.exit("no network")


def test_names_and_a_command_are_distinguished(installer: ModuleType) -> None:
    assert installer.split(["peers", "--", "cargo", "build", "--", "x"]) == (
        ["peers"],
        ["cargo", "build", "--", "x"],
    )
    assert installer.split([]) == ([], [])
