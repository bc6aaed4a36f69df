"""The files of deploy/ are valid for the tools of those who use them, and fit the image and the tool."""

import json
import re
import subprocess
from typing import Any

import pytest
import yaml
from samtranslator.yaml_helper import yaml_parse

from stack import tool
from stack.settings import Settings

KUBERNETES = "1.35"
# What KEDA's own types make of a resource has lost what they do not know.
AS_KEDA_READS_IT = """
import json, sys
from cloudcoil.models.keda import v1alpha1
resource = json.load(sys.stdin)
read = getattr(v1alpha1, resource["kind"]).model_validate(resource)
print(read.model_dump_json(by_alias=True, exclude_unset=True))
"""
FOR_KUBERNETES = """
import json, sys, kubernetes_validate
kubernetes_validate.validate(json.load(sys.stdin), sys.argv[1], strict=True)
"""
# https://keda.sh/docs/2.18/scalers/aws-sqs/
SCALER = {"queueURL", "awsRegion", "queueLength", "activationQueueLength"}


def python(settings: Settings, program: str, *arguments: str, about: object) -> str:
    command = [settings.state / "venv" / "examples" / "bin" / "python", "-c", program, *arguments]
    done = subprocess.run(command, input=json.dumps(about), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def resources(settings: Settings) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((settings.root / "deploy" / "kubernetes.yaml").read_text()))


def test_kubernetes_and_keda_know_every_field(settings: Settings, resources: list[dict[str, Any]]) -> None:
    kinds = []
    for resource in resources:
        if resource["apiVersion"].startswith("keda.sh/"):
            assert json.loads(python(settings, AS_KEDA_READS_IT, about=resource)) == resource
        else:
            python(settings, FOR_KUBERNETES, KUBERNETES, about=resource)
        kinds.append(resource["kind"])
    assert kinds == ["ServiceAccount", "Deployment", "TriggerAuthentication", "ScaledObject"]


def test_a_field_that_keda_or_kubernetes_does_not_know_is_found(
    settings: Settings, resources: list[dict[str, Any]]
) -> None:
    _, deployment, _, scaled = resources
    scaled["spec"]["maxReplicas"] = 4
    assert json.loads(python(settings, AS_KEDA_READS_IT, about=scaled)) != scaled
    deployment["spec"]["replica"] = 4
    with pytest.raises(AssertionError, match="replica"):
        python(settings, FOR_KUBERNETES, KUBERNETES, about=deployment)


def test_keda_scales_the_deployment_by_the_queue_that_it_reads(resources: list[dict[str, Any]]) -> None:
    account, deployment, authentication, scaled = resources
    assert scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    (trigger,) = scaled["spec"]["triggers"]
    assert set(trigger["metadata"]) == SCALER
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    pod = deployment["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    (container,) = pod["containers"]
    assert f"--queue-url={trigger['metadata']['queueURL']}" in container["args"]


def test_compose_knows_every_field(settings: Settings) -> None:
    check = settings.state / "venv" / "examples" / "bin" / "check-jsonschema"
    file = settings.root / "deploy" / "compose.yaml"
    done = subprocess.run(
        [check, "--builtin-schema", "vendor.compose-spec", file], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_the_ecs_service_is_valid_for_cloudformation(settings: Settings) -> None:
    done = subprocess.run(
        [settings.tools / "cfn-lint", settings.root / "deploy" / "ecs.yaml"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def commands(settings: Settings, resources: list[dict[str, Any]]) -> dict[str, list[str]]:
    """What each file starts, with values in place of parameters."""
    folder = settings.root / "deploy"
    compose = yaml.safe_load((folder / "compose.yaml").read_text())["services"]["drain"]
    task = yaml_parse((folder / "ecs.yaml").read_text())["Resources"]["Task"]["Properties"]
    (of_task,) = task["ContainerDefinitions"]
    (of_pod,) = resources[1]["spec"]["template"]["spec"]["containers"]
    ecs = ["QUEUE" if isinstance(word, dict) else word for word in of_task["Command"]]
    return {"compose": compose["command"], "ecs": ecs, "kubernetes": of_pod["args"]}


def test_the_tool_has_every_option_that_the_examples_give_it(
    settings: Settings, resources: list[dict[str, Any]]
) -> None:
    program = tool.path(settings)
    known = subprocess.run([program, "drain", "--help"], capture_output=True, text=True, check=True).stdout
    for name, (command, *options) in commands(settings, resources).items():
        assert command == "drain", name
        given = [word.partition("=")[0] for word in options if word.startswith("--")]
        assert "--follow" in given
        for option in given:
            assert re.search(rf"^ +{option}\b", known, re.MULTILINE), f"{name}: {option}"


def test_every_container_is_not_root_and_cannot_write(
    settings: Settings, resources: list[dict[str, Any]]
) -> None:
    folder = settings.root / "deploy"
    compose = yaml.safe_load((folder / "compose.yaml").read_text())["services"]["drain"]
    (task,) = yaml_parse((folder / "ecs.yaml").read_text())["Resources"]["Task"]["Properties"][
        "ContainerDefinitions"
    ]
    (pod,) = resources[1]["spec"]["template"]["spec"]["containers"]
    assert compose["read_only"]
    assert "user" not in compose  # the image's own
    assert task["ReadonlyRootFilesystem"]
    assert task["User"] == "65532"
    assert pod["securityContext"]["readOnlyRootFilesystem"]
    assert pod["securityContext"]["runAsUser"] == 65532
    check = ["CMD", "sqs-to-postgres", "health", "http://127.0.0.1:9090/healthz"]
    assert task["HealthCheck"]["Command"] == compose["healthcheck"]["test"] == check
