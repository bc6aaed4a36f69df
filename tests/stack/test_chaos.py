"""Nothing lost and nothing twice under real faults; `make chaos` does the same with more messages."""

import subprocess
import sys

MESSAGES = 2_000


def test_every_message_ends_where_it_belongs_whatever_breaks() -> None:
    command = [sys.executable, "-P", "-m", "stack", "chaos", str(MESSAGES)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "balanced: nothing lost, nothing twice" in done.stderr
