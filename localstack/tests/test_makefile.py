"""The commands that `make` would run, without running them."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def make(*words: str, path: str = os.environ["PATH"]) -> "subprocess.CompletedProcess[str]":
    named = ("MAKE", "ARCHITECTURE", "CA_BUNDLE", "PIPELINE", "EXAMPLE")
    env = {name: value for name, value in os.environ.items() if not name.startswith(named)} | {"PATH": path}
    command = ["make", "--dry-run", "--no-print-directory", *words]
    return subprocess.run(command, cwd=ROOT, env=env, text=True, capture_output=True)


def makefile_beside(folder: Path) -> list[str]:
    """Words that make the Makefile work in another folder."""
    return [f"--directory={folder}", f"--file={ROOT / 'Makefile'}"]


def sam_deploy(*words: str) -> str:
    printed = make("deploy", *words).stdout.replace("\\\n", "")
    (line,) = [line for line in printed.splitlines() if "sam deploy" in line]
    return line


def test_a_deployment_asks_for_the_parameters_only_on_request() -> None:
    assert "--guided" in sam_deploy("GUIDED=1")
    assert "--guided" not in sam_deploy()
    assert "--guided" not in sam_deploy("PARAMETERS=Profile=bulk")


def test_a_deployment_names_its_processor_and_what_is_given_and_no_other_parameter() -> None:
    _, _, named = sam_deploy("PARAMETERS=Profile=bulk").partition("--parameter-overrides ")
    assert [word.partition("=")[0] for word in named.split()] == ["Architecture", "Revision", "Profile"]


def test_a_build_packs_the_certificates_that_are_named(tmp_path: Path) -> None:
    build = ["build-Function", "ARTIFACTS_DIR=packed", *makefile_beside(tmp_path)]
    assert "ca.pem" not in make(*build).stdout
    assert 'cp "mine.pem" "packed/ca.pem"' in make(*build, "CA_BUNDLE=mine.pem").stdout


def test_a_build_packs_the_mapping_of_this_folder_or_the_one_that_is_named() -> None:
    build = ["build-Function", "ARTIFACTS_DIR=packed"]
    assert 'cp "pipeline.toml" "packed/pipeline.toml"' in make(*build).stdout
    assert 'cp "orders.toml" "packed/pipeline.toml"' in make(*build, "PIPELINE=orders.toml").stdout


def test_any_number_of_mappings_can_be_deployed_at_once() -> None:
    assert (
        "-m stack up orders.toml telemetry.toml\n" in make("up", "PIPELINE=orders.toml telemetry.toml").stdout
    )


def test_an_example_is_run_only_if_it_is_named() -> None:
    assert "-m stack run \n" in make("run").stdout
    assert "-m stack run orders\n" in make("run", "EXAMPLE=orders").stdout


def test_the_mapping_is_read_before_the_long_build() -> None:
    printed = make("build", "PIPELINE=orders.toml").stdout
    assert 0 < printed.index('explain --pipeline "orders.toml"') < printed.index("cargo lambda build")


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """The name that rustc gives this machine, and a path on which it does."""
    rustc = tmp_path / "rustc"
    rustc.write_text(f"#!/bin/sh\necho {request.param}-unknown-linux-gnu\n")
    rustc.chmod(0o755)
    return request.param, f"{tmp_path}{os.pathsep}{os.environ['PATH']}"


def test_a_function_is_built_and_deployed_for_the_processor_of_the_machine(machine: tuple[str, str]) -> None:
    name, path = machine
    printed = make("deploy", path=path).stdout
    assert printed.count(f"Architecture={'arm64' if name == 'aarch64' else name}") == 2
    assert ("--arm64" in printed) == (name == "aarch64")


def test_arm64_is_built_anywhere_and_x86_64_only_on_x86_64(machine: tuple[str, str]) -> None:
    name, path = machine
    assert make("build", "ARCHITECTURE=arm64", path=path).returncode == 0
    refused = make("build", "ARCHITECTURE=x86_64", path=path)
    assert (refused.returncode != 0) == (name == "aarch64")
    assert ("ARCHITECTURE=x86_64 cannot be built on arm64" in refused.stderr) == (name == "aarch64")


def test_a_processor_that_lambda_does_not_have_is_refused() -> None:
    assert "cannot be built" in make("build", "ARCHITECTURE=riscv").stderr


def test_every_stack_has_a_folder_and_a_name_of_its_own() -> None:
    deploy = sam_deploy("STACK=orders", "TAGS=team=data cost=42")
    assert "--stack-name orders " in deploy
    assert "/.local/sam/aws/orders/template.yaml" in deploy
    assert "--tags team=data cost=42 " in deploy
    assert "--stack-name sqs-to-postgres " in sam_deploy()
    assert "--tags" not in sam_deploy()


@pytest.mark.parametrize("name", ["a" * 65, "or_ders", "1orders", "orders;true"])
def test_a_name_that_no_function_can_have_is_refused_before_anything_is_built(name: str) -> None:
    command = ["make", "--no-print-directory", "stack-name", f"STACK={name}"]
    refused = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert refused.returncode != 0
    assert "cannot be the name of a function" in refused.stderr
    printed = make("build", f"STACK={name}").stdout
    assert printed.index("cannot be the name") < printed.index("cargo")


def test_a_release_lists_the_components_of_the_function_and_of_the_tool() -> None:
    kept = [line for line in make("sbom").stdout.splitlines() if line.startswith("mv ")]
    assert [line.split()[1] for line in kept] == ["components.json", "crates/tool/components.json"]
    assert kept[1].endswith("-tool.cdx.json")


@pytest.mark.parametrize(("architecture", "oldest"), [("x86_64", "x86-64"), ("arm64", "generic")])
def test_the_released_tool_runs_on_any_processor(architecture: str, oldest: str) -> None:
    printed = make("dist", "SAM_BUILD_MODE=", f"ARCHITECTURE={architecture}").stdout.splitlines()
    (function,) = [line for line in printed if "--bin bootstrap" in line]
    (tool,) = [line for line in printed if "--bin sqs-to-postgres" in line]
    assert "target-cpu" not in function, "cargo-lambda names that of Lambda"
    assert tool.startswith(f'RUSTFLAGS="-C target-cpu={oldest}" ')
    assert "/target/any-processor " in tool, "elsewhere it would compile all dependencies again"
