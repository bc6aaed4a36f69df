"""The permissions of the GitHub workflows."""

import re
import tomllib
from typing import Any

import pytest
import yaml

from stack.settings import Settings

FETCHES_OR_SIGNS = ("actions/download-artifact", "actions/attest", "actions/deploy-pages")


@pytest.fixture
def jobs(settings: Settings) -> list[dict[str, Any]]:
    files = sorted((settings.root / ".github" / "workflows").glob("*.yml"))
    workflows = [yaml.safe_load(file.read_text()) for file in files]
    assert all(workflow["permissions"] == {"contents": "read"} for workflow in workflows)
    return [job for workflow in workflows for job in workflow["jobs"].values()]


def test_what_may_write_runs_no_code_of_ours_or_of_a_dependency(jobs: list[dict[str, Any]]) -> None:
    # What may only prove its identity, to AWS, writes nothing here.
    writers = [job for job in jobs if set(job.get("permissions", {})) - {"id-token", "contents"}]
    assert writers
    for step in [step for job in writers for step in job["steps"]]:
        if "uses" in step:
            assert step["uses"].partition("@")[0] in FETCHES_OR_SIGNS
        else:
            assert step["run"].startswith(("gh release create ", "skopeo login ", "skopeo copy "))


def test_what_builds_has_no_token(jobs: list[dict[str, Any]]) -> None:
    for step in [step for job in jobs for step in job.get("steps", [])]:
        if "make" in step.get("run", ""):
            assert "env" not in step
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_every_action_is_pinned_to_a_commit(jobs: list[dict[str, Any]]) -> None:
    used = [step["uses"] for job in jobs for step in job.get("steps", []) if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", action) for action in used)


def test_the_site_is_what_the_release_documents(release: dict[str, Any]) -> None:
    build, publish = release["site"], release["pages"]
    assert build["steps"][-1]["with"]["name"] == "github-pages"
    assert set(publish["needs"]) == {"site", "publish"}
    assert publish["permissions"] == {"pages": "write", "id-token": "write"}


def test_the_image_is_attested_with_its_components(release: dict[str, Any]) -> None:
    attested = [step["with"] for step in release["publish"]["steps"] if "attest@" in step.get("uses", "")]
    (components,) = [given for given in attested if "sbom-path" in given]
    assert components["subject-digest"] == "${{ steps.image.outputs.digest }}"


@pytest.fixture
def release(settings: Settings) -> dict[str, Any]:
    """The jobs of a release."""
    return yaml.safe_load((settings.root / ".github" / "workflows" / "release.yml").read_text())["jobs"]


def test_a_release_is_built_by_a_compiler_that_is_named(settings: Settings, release: dict[str, Any]) -> None:
    pinned = tomllib.loads((settings.root / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", pinned)
    for job in ("build", "macos"):
        (rust,) = [step for step in release[job]["steps"] if step.get("name") == "Rust"]
        assert rust["run"] == "rustup toolchain install"


def test_every_program_of_a_release_is_started_where_it_was_built(release: dict[str, Any]) -> None:
    commands = [step.get("run", "").split(" VERSION=")[0] for step in release["build"]["steps"]]
    assert commands.index("make smoke") == commands.index("make release") + 1
    assert "./sqs-to-postgres --version" in release["macos"]["steps"][-2]["run"]
    for job in ("build", "macos"):
        processors = [made["processor"] for made in release[job]["strategy"]["matrix"]["include"]]
        assert processors == ["x86_64", "arm64"]


def test_a_release_waits_for_an_approval_after_everything_is_built(release: dict[str, Any]) -> None:
    assert release["publish"]["environment"] == "release"
    assert release["publish"]["needs"] == "assemble"
    assert set(release["assemble"]["needs"]) == {"build", "macos"}
    # The pages come after it.
    assert [name for name, job in release.items() if "permissions" in job] == ["publish", "pages"]


def test_an_account_is_used_on_request_by_a_protected_job_that_builds_nothing(
    settings: Settings,
) -> None:
    text = (settings.root / ".github" / "workflows" / "aws.yml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow[True] == {"workflow_dispatch": None}  # YAML 1.1 reads `on` as a truth
    proving = [job for job in workflow["jobs"].values() if "id-token" in job.get("permissions", {})]
    assert [job["environment"] for job in proving] == ["aws"]
    assert not any("make" in step.get("run", "") for step in proving[0]["steps"])
    assert "secrets." not in text
    assert "python3 tests/stack/guide.py > target/dist/guide.sh" in text
