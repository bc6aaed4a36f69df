"""One execution environment of a function: its process, and the Runtime API server it talks to.

What goes wrong is answered the way Lambda answers it: `Sandbox.Timedout`, `Runtime.ExitError`, or
`InitError` if the process never requested its first event. Independent of LocalStack.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future
from pathlib import Path

from stack.runtime_api import Invocation, Outcome, RuntimeApi

QUOTED_OUTPUT_BYTES = 2000
STOP_TIMEOUT_SECS = 2
"""Lambda gives a function two seconds between SIGTERM and SIGKILL."""

# A function must not outlive LocalStack, however that ends: the kernel kills it with the thread that
# started it. The request is made by a small program that then becomes the function, because Python code
# between fork and exec is not safe in a process with threads.
DIE_WITH_PARENT = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, {int(signal.SIGKILL)})  # 1: PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone already")
os.execv(sys.argv[2], sys.argv[2:])
"""


class InitError(Exception):
    """The process ended, or took too long, before it requested its first event."""


class Sandbox:
    """A function's process. It runs as soon as the constructor returns; `wait_ready` waits until it is up."""

    def __init__(self, command: list[str], env: dict[str, str], cwd: Path) -> None:
        self._api = RuntimeApi()
        # A file, not a pipe: what the function wrote before it answered is in it when the answer comes.
        # It has no name, so nothing of it is left behind. Read by `pread`, as its offset is the function's.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (closed with its sandbox)
        self._output_read = 0
        self._exited: Future[int] = Future()
        spawned: Future[subprocess.Popen[bytes]] = Future()
        env = env | {"AWS_LAMBDA_RUNTIME_API": self._api.address}
        # The thread lasts as long as the process: see DIE_WITH_PARENT.
        threading.Thread(target=self._live, args=(spawned, command, env, cwd), daemon=True).start()
        self._process = spawned.result()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not self._exited.done()

    def wait_ready(self, timeout_secs: float) -> None:
        """Waits for the function's first `/next`. Raises `InitError`, with its last output."""
        try:
            self._api.asked_for_next.result(timeout_secs)
        except TimeoutError:
            self._kill()
            raise InitError(self._with_output(f"not up within {timeout_secs:g} seconds")) from None
        except RuntimeError as error:
            self._kill()
            raise InitError(self._with_output(str(error))) from None

    def invoke(self, invocation: Invocation) -> Outcome:
        """Passes one event; returns the answer, or an error if the process ends or time is up."""
        outcome = self._api.start(invocation)
        try:
            return outcome.result(invocation.timeout_secs)
        except TimeoutError:
            self._kill()
            return Outcome.error(
                "Sandbox.Timedout",
                f"RequestId: {invocation.request_id} Error: "
                f"Task timed out after {invocation.timeout_secs:.2f} seconds",
            )

    def take_output(self) -> str:
        """What the function wrote to stdout and stderr since the last call."""
        end = os.fstat(self._output.fileno()).st_size
        taken = os.pread(self._output.fileno(), end - self._output_read, self._output_read)
        self._output_read = end
        return taken.decode(errors="replace")

    def stop(self) -> None:
        """Ends the process, first politely, and its server."""
        self._process.terminate()
        try:
            self._exited.result(STOP_TIMEOUT_SECS)
        except TimeoutError:
            self._kill()
        self._api.close()

    def _kill(self) -> None:
        self._process.kill()
        self._exited.result()

    def _live(
        self, spawned: "Future[subprocess.Popen[bytes]]", command: list[str], env: dict[str, str], cwd: Path
    ) -> None:
        """Starts the process, waits for its end, and reports it to any caller that waits for an answer."""
        try:
            process = self._spawn(command, env, cwd)
        except OSError as error:
            spawned.set_exception(error)
            return
        spawned.set_result(process)
        status = process.wait()
        self._exited.set_result(status)
        ending = f"Runtime exited {_in_words(status)}"
        self._api.fail(Outcome.error("Runtime.ExitError", ending))
        self._api.init_failed(ending)

    def _spawn(self, command: list[str], env: dict[str, str], cwd: Path) -> "subprocess.Popen[bytes]":
        shim = [sys.executable, "-ISc", DIE_WITH_PARENT, str(os.getpid())]
        return subprocess.Popen(
            [*shim, *command],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def _with_output(self, message: str) -> str:
        size = os.fstat(self._output.fileno()).st_size
        start = max(0, size - QUOTED_OUTPUT_BYTES)
        output = os.pread(self._output.fileno(), QUOTED_OUTPUT_BYTES, start).decode(errors="replace").strip()
        return f"{message}; its last output:\n{output}" if output else f"{message}, without any output"


def _in_words(status: int) -> str:
    """An exit status as Lambda writes it."""
    if status < 0:
        return f"with error: signal: {signal.Signals(-status).name}"
    return f"with error: exit status {status}" if status else "without providing a reason"
