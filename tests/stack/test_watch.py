"""`make watch`: the function follows its mapping and its code, and says what became of the events."""

import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stack import deploy, postgres, run, watch
from stack.mapping import Mapping
from stack.processes import free_port
from stack.settings import PATIENCE_SECS, Settings, StackError

EVENT = "events/good-batch.json"


class Watched:
    """`make watch` with a mapping of its own, and what it has printed so far."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.port = settings, str(free_port())
        self.table = f"watched_{secrets.token_hex(3)}"
        self.file = folder / f"{self.table}.toml".replace("_", "-")
        shipped = (settings.root / "pipeline.toml").read_text()
        self.write(shipped.replace('"user_logins"', f'"{self.table}"', 1))
        self._log = folder / "log"
        with self._log.open("w") as log:
            command = [*self._stack(), "watch", str(self.file)]
            self._process = subprocess.Popen(command, env=self._env(), stdout=log, stderr=log)

    def write(self, mapping: str) -> None:
        """As an editor does."""
        new = self.file.with_suffix(".new")
        new.write_text(mapping)
        new.replace(self.file)

    def prints(self, text: str, times: int = 1) -> None:
        def is_printed() -> bool:
            assert self._process.poll() is None, self.printed()
            return self.printed().count(text) >= times

        run.until(is_printed, PATIENCE_SECS, f"{text!r} was not printed")

    def printed(self) -> str:
        return self._log.read_text()

    def invoke(self) -> "subprocess.CompletedProcess[str]":
        command = [*self._stack(), "invoke", str(self.settings.root / EVENT)]
        return subprocess.run(command, env=self._env(), text=True, capture_output=True)

    def end(self) -> None:
        self._process.terminate()
        self._process.wait()
        postgres.query(self.settings, f"DROP TABLE IF EXISTS {self.table}")

    def _stack(self) -> list[str]:
        return [sys.executable, "-P", "-m", "stack"]

    def _env(self) -> dict[str, str]:
        return os.environ | {"WATCH_PORT": self.port}


@pytest.fixture
def watched(settings: Settings, tmp_path: Path) -> Iterator[Watched]:
    started = Watched(settings, tmp_path)
    yield started
    started.end()


def test_it_follows_the_mapping_and_shows_what_becomes_of_the_last_event(watched: Watched) -> None:
    watched.prints("· watching the mapping and the code")
    answered = watched.invoke()
    assert (answered.returncode, answered.stdout) == (0, '{"batchItemFailures":[]}\n'), answered.stderr
    watched.prints("5 received      5 stored      0 failed")
    mapping = watched.file.read_text()
    watched.write(mapping.replace('type = "integer"', 'type = "integr"'))
    watched.prints('did you mean "integer"?')
    watched.prints("the function from before the change goes on")
    assert watched.invoke().returncode == 0
    watched.write(f'{mapping}\n[[column]]\nname = "note"\ntype = "text"\n')
    watched.prints(f'ALTER TABLE "{watched.table}" ADD COLUMN "note" text;')
    # Sent again, without being asked for, and stored already.
    watched.prints("5 received      0 stored      0 failed", times=2)
    watched.prints("good-batch.json: 5 messages, 0 failed", times=3)


def test_it_follows_the_code_and_outlives_what_does_not_compile(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built: list[str] = []

    def build(_: Settings) -> None:
        built.append((tmp_path / "src" / "main.rs").read_text())
        if built[-1] == "broken":
            raise StackError("they do not compile: cargo's message is above.")

    monkeypatch.setenv("TESTED_PROGRAMS", str(deploy.program(settings, "bootstrap").parent))
    monkeypatch.setattr(deploy, "build", build)
    (tmp_path / "src").mkdir()
    code, file = tmp_path / "src" / "main.rs", tmp_path / "logins.toml"
    code.write_text("first")
    file.write_text((settings.root / "pipeline.toml").read_text())
    here = replace(settings, root=tmp_path)
    function = watch.Watch(here, Mapping("logins", file))
    monkeypatch.setenv("WATCH_PORT", str(free_port()))
    threading.Thread(target=function.run, daemon=True).start()
    event = (settings.root / EVENT).read_bytes()

    def until(condition: Callable[[], bool]) -> None:
        run.until(condition, PATIENCE_SECS, "it was not compiled")

    until(lambda: built == ["first"])
    assert function.invoke("an event", event) == (b'{"batchItemFailures":[]}', False)
    for text in ("broken", "second"):
        code.write_text(text)
        until(lambda text=text: built[-1] == text)
        assert function.invoke("an event", event) == (b'{"batchItemFailures":[]}', False)
    assert "they do not compile" in capsys.readouterr().err


def test_invoke_without_a_watch_says_so(settings: Settings) -> None:
    env = os.environ | {"WATCH_PORT": str(free_port())}
    command = [sys.executable, "-P", "-m", "stack", "invoke", str(settings.root / EVENT)]
    done = subprocess.run(command, env=env, text=True, capture_output=True)
    assert done.returncode == 1
    assert "no function is being watched: run `make watch`" in done.stderr
    assert "Traceback" not in done.stderr
