"""Background processes that outlive the command which started them.

A process is known by its pid together with the moment it started, so that a pid which the system has
given to another process since is never taken for ours, let alone killed.
"""

import contextlib
import fcntl
import json
import os
import random
import select
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stack.settings import LOOPBACK, Settings, StackError, write_whole

START_TIME_FIELD = 22
"""Of /proc/PID/stat, counted from 1: see proc(5)."""
LOG_LINES_SHOWN = 15


@contextmanager
def one_at_a_time(settings: Settings) -> Iterator[None]:
    """Serialises commands that build, start or stop the stack, which would interfere with each other."""
    settings.state.mkdir(exist_ok=True)
    with (settings.state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Daemon:
    """One background process of the stack: its name, its record on disk, its log."""

    name: str
    folder: Path
    stop_signal: signal.Signals = signal.SIGTERM

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def _record(self) -> Path:
        return self.folder / f"{self.name}.pid"

    def pid(self) -> int | None:
        """Its pid, if the process we started is still running."""
        if not self._record.exists():
            return None
        record = json.loads(self._record.read_text())
        now = started_at(record["pid"])
        return record["pid"] if now is not None and now == record["started_at"] else None

    def start(self, command: list[str], env: dict[str, str], cwd: Path) -> None:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        record = {"pid": process.pid, "started_at": started_at(process.pid)}
        write_whole(self._record, json.dumps(record))

    def wait_until(self, ready: Callable[[], bool], timeout_secs: float) -> None:
        """Waits for a condition that can no longer become true once the process has ended."""
        pid = self.pid()
        for _ in range(int(timeout_secs * 10)):
            if ready():
                return
            if pid is None or wait_for_exit(pid, 0.1):
                raise StackError(f"{self.name} ended while starting.{self.last_words()}")
        raise StackError(f"{self.name} was not ready after {timeout_secs:g} seconds.{self.last_words()}")

    def stop(self, patience_secs: float = 15) -> bool:
        """Ends the process; False if there was none."""
        pid = self.pid()
        if pid is not None:
            os.kill(pid, self.stop_signal)
            if not wait_for_exit(pid, patience_secs):
                os.kill(pid, signal.SIGKILL)
                wait_for_exit(pid, patience_secs)
        self._record.unlink(missing_ok=True)
        return pid is not None

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([" Its log ends:", *(f"  {line}" for line in lines[-LOG_LINES_SHOWN:])])


def started_at(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; None if it does not exist or is dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the name, which may hold blanks and brackets; after it the third, the state.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[START_TIME_FIELD - 4])


def wait_for_exit(pid: int, timeout_secs: float) -> bool:
    """Waits for any process to end, even one that is not our child."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], timeout_secs)[0])
    finally:
        os.close(pidfd)


def require_free_port(port: int, needed_by: str, variable: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise StackError(
                f"port {port} is taken ({error.strerror}), and {needed_by} needs it: "
                f"stop what uses it, or choose another with {variable}=… make up."
            ) from None


def free_port() -> int:
    """Below the ports that the system gives to others, so that none of them takes it meanwhile."""
    while True:
        port = random.randrange(10_000, 32_768)
        with contextlib.suppress(OSError), socket.create_server((LOOPBACK, port)):
            return port


def accepts_connections(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True
