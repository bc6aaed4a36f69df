"""Under real faults nothing is lost or stored twice; `make chaos` does the same with more messages."""

import pytest

from stack.chaos import chaos
from stack.settings import Settings

MESSAGES = 2_000


def test_every_message_ends_where_it_belongs_whatever_breaks(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    chaos(settings, MESSAGES)
    assert "balanced: nothing lost, nothing twice" in capsys.readouterr().err
