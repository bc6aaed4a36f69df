"""The permissions of the GitHub workflows."""

import re
from typing import Any

import pytest
import yaml

from stack.settings import Settings

FETCHES_OR_SIGNS = ("actions/download-artifact", "actions/attest")


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
            assert step["run"].startswith("gh release create ")


def test_what_builds_has_no_token(jobs: list[dict[str, Any]]) -> None:
    for step in [step for job in jobs for step in job.get("steps", [])]:
        if "make" in step.get("run", ""):
            assert "env" not in step
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_every_action_is_pinned_to_a_commit(jobs: list[dict[str, Any]]) -> None:
    used = [step["uses"] for job in jobs for step in job.get("steps", []) if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", action) for action in used)


def test_a_release_is_built_by_a_compiler_that_is_named(settings: Settings) -> None:
    workflow = yaml.safe_load((settings.root / ".github" / "workflows" / "release.yml").read_text())
    (rust,) = [step for step in workflow["jobs"]["build"]["steps"] if step.get("name") == "Rust"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", rust["env"]["RUST_VERSION"])
    assert "stable" not in rust["run"]


def test_a_release_is_started_before_it_is_published(settings: Settings) -> None:
    workflow = yaml.safe_load((settings.root / ".github" / "workflows" / "release.yml").read_text())
    commands = [step.get("run", "").split(" VERSION=")[0] for step in workflow["jobs"]["build"]["steps"]]
    assert commands.index("make smoke") == commands.index("make release") + 1


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
