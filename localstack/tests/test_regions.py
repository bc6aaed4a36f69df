"""The region of LocalStack, which no test of the running stack would miss."""

import os
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Barrier

import pytest
from localstack.services.cloudformation.engine.v2 import change_set_model_transform

from stack import emulator
from stack.settings import REGION, Settings

TEMPLATE = {
    "Transform": "AWS::Serverless-2016-10-31",
    "Resources": {"Api": {"Type": "AWS::Serverless::HttpApi"}},
}


@pytest.fixture
def environment_of_localstack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(tmp_path, tmp_path)
    (settings.running / "localstack").mkdir(parents=True)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in emulator._env(settings).items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("environment_of_localstack")
def test_a_stack_has_its_region_when_another_one_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    both_begun, waits, load = Barrier(3), [True, False], change_set_model_transform.create_policy_loader
    transforms: list[Future[dict]] = []

    def policies() -> object:
        """Each transform asks for them at its beginning: here one waits until the other is done."""
        both_begun.wait(60)
        if waits.pop():
            wait(transforms, 60, FIRST_COMPLETED)
        return load()

    monkeypatch.setattr(change_set_model_transform, "create_policy_loader", policies)
    transform = change_set_model_transform.ChangeSetModelTransform._apply_global_serverless_transformation
    with ThreadPoolExecutor() as threads:
        transforms += [threads.submit(transform, REGION, TEMPLATE, {}) for _ in range(2)]
        both_begun.wait(60)
    for done in transforms:
        assert "Api" in done.result()["Resources"]
