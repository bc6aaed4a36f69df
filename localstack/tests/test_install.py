"""The message on a machine that cannot run the stack, and the requirements in the README."""

import importlib.util
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
    rust = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["rust-version"]
    assert f"Rust ≥ {rust}," in readme
    assert f"Python ≥ {'.'.join(map(str, installer.OLDEST_PYTHON))}," in readme
