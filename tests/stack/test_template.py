"""What can be said of template.yaml by reading it."""

import subprocess
from typing import Any

import pytest

from stack.deploy import build_env
from stack.settings import Settings

PROFILES = ("low-latency", "standard", "bulk")
HOUR_SECS = 3600


@pytest.mark.parametrize("command", [["cfn-lint", "template.yaml"], ["sam", "validate", "--lint"]])
def test_the_linters_have_nothing_to_say(settings: Settings, command: list[str]) -> None:
    linter, *arguments = command
    done = subprocess.run(
        [settings.tools / linter, *arguments],
        cwd=settings.root,
        env=build_env(settings),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_parameter_is_grouped_labelled_and_described_and_has_a_default(
    template: dict[str, Any],
) -> None:
    interface = template["Metadata"]["AWS::CloudFormation::Interface"]
    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
    parameters = template["Parameters"]
    assert sorted(grouped) == sorted(parameters)
    assert set(interface["ParameterLabels"]) == set(parameters)
    for name, parameter in parameters.items():
        assert parameter["Description"].endswith("."), name
        assert "Default" in parameter, name
        assert str(parameter["Default"]) in map(str, parameter.get("AllowedValues", [parameter["Default"]]))


@pytest.mark.parametrize("name", PROFILES)
def test_the_numbers_of_a_profile_fit_together(template: dict[str, Any], name: str) -> None:
    numbers = template["Mappings"]["Profiles"][name]
    assert numbers["VisibilityTimeout"] >= 6 * numbers["Timeout"] + numbers["BatchWindow"]
    assert numbers["OldestMessageSeconds"] > 3 * numbers["VisibilityTimeout"]
    assert numbers["DurationMillis"] == 800 * numbers["Timeout"]
    assert numbers["BatchSize"] <= 10 or numbers["BatchWindow"] >= 1
    # With two tries left, an outage of an hour is over.
    waits = [min(numbers["OutageBackoff"] * 2**tries, 900) for tries in range(numbers["MaxReceiveCount"] - 2)]
    assert sum(waits) >= HOUR_SECS


def test_an_update_that_replaces_the_queues_keeps_the_old_ones(template: dict[str, Any]) -> None:
    queues = [made for made in template["Resources"].values() if made["Type"] == "AWS::SQS::Queue"]
    policies = [(queue["UpdateReplacePolicy"], queue["DeletionPolicy"]) for queue in queues]
    assert policies == [("Retain", "Delete")] * 2


def test_the_function_runs_as_often_as_its_queue_asks_for(template: dict[str, Any]) -> None:
    function = template["Resources"]["Function"]["Properties"]
    assert "ReservedConcurrentExecutions" not in function
    assert "MaximumConcurrency" in function["Events"]["Messages"]["Properties"]["ScalingConfig"]
