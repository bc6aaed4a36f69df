"""What LocalStack lacks, where no test of the running stack would notice it."""

import pytest
from botocore.config import Config
from localstack.aws.connect import ExternalClientFactory, InternalClientFactory

from stack import repairs


@pytest.mark.parametrize("factory", [InternalClientFactory, ExternalClientFactory])
def test_localstack_sends_no_request_again_that_it_is_answering(
    factory: type[InternalClientFactory | ExternalClientFactory], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Config.OPTION_DEFAULTS, "read_timeout", 60)
    repairs.answers_of_a_busy_machine()
    made = factory()(region_name="eu-central-2", aws_access_key_id="test", aws_secret_access_key="test")
    assert made.lambda_.meta.config.read_timeout == 600
