"""Under real faults nothing is lost, stored twice or in part; `make chaos` sends more messages."""

import pytest

from stack.chaos import chaos
from stack.settings import Settings
from stack.traffic import Logins, Orders, Traffic

MESSAGES = 2_000


@pytest.mark.parametrize("traffic", [Logins(), Orders()], ids=lambda traffic: traffic.name)
def test_every_message_ends_where_it_belongs_whatever_breaks(
    settings: Settings, traffic: Traffic, capsys: pytest.CaptureFixture[str]
) -> None:
    chaos(settings, traffic, MESSAGES)
    assert "balanced: nothing lost, nothing twice, nothing in part" in capsys.readouterr().err
