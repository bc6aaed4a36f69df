"""A page in a headless Chromium, driven through its DevTools protocol over a pair of pipes."""

import base64
import json
import os
import select
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stack import run
from stack.settings import StackError

PATIENCE_SECS = 180
# Where Chromium reads commands and writes what happens, with --remote-debugging-pipe.
FOR_COMMANDS, FOR_EVENTS = 3, 4
VIRTUAL_KEYS = {"Tab": 9, "Escape": 27, " ": 32, "End": 35, "Home": 36, "ArrowRight": 39, "ArrowDown": 40}


def chromium() -> str | None:
    names = ("chromium", "google-chrome", "chromium-browser")
    return next(filter(None, map(shutil.which, names)), None)


class Browser:
    """`profile` is an empty folder; `scheme` is light or dark."""

    def __init__(
        self, program: str, profile: Path, scheme: str, width: int = 1280, height: int = 720
    ) -> None:
        commands, self._commands = os.pipe()
        self._events, events = os.pipe()
        options = [
            "--headless",
            "--remote-debugging-pipe",
            "--no-first-run",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--window-size={width},{height}",
            f"--user-data-dir={profile}",
            # Not every machine permits one. It opens pages of this repository only.
            "--no-sandbox",
        ]
        # The shell puts the pipes where Chromium expects them.
        script = f'exec {FOR_COMMANDS}<&{commands} {FOR_EVENTS}>&{events}; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", program, *options, "about:blank"],
            pass_fds=[commands, events],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(events)
        self._read = b""
        self._number = 0
        self._session: str | None = None
        self.console: list[str] = []
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._send(f"{domain}.enable")
        self._send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._send("Emulation.setEmulatedMedia", features=features)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None
        self._send("Browser.close")
        self._process.wait(PATIENCE_SECS)
        os.close(self._commands)
        os.close(self._events)

    def open(self, address: str) -> None:
        self._send("Page.navigate", url=address)

    def value(self, expression: str) -> Any:  # noqa: ANN401
        """The value of an expression in the page."""
        done = self._send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until the expression is true in the page."""
        try:
            run.until(lambda: self.value(expression), PATIENCE_SECS, f"{expression} was not true")
        except StackError as error:
            shown = f"{self.value('document.body.innerText')}\n{self.console}"
            raise AssertionError(f"{error}\n{shown}") from error

    def type(self, text: str) -> None:
        """Types where the focus is."""
        self._send("Input.insertText", text=text)

    def press(self, key: str, modifiers: int = 0) -> None:
        """A key by its name; `modifiers`: 1 Alt, 2 Ctrl, 4 Meta, 8 Shift."""
        code = VIRTUAL_KEYS.get(key) or ord(key.upper())
        # Only a key with a text has an effect of its own, such as Space on a button.
        text = {"text": key} if key == " " else {}
        for kind in ("keyDown", "keyUp"):
            parameters = {
                "type": kind,
                "key": key,
                "windowsVirtualKeyCode": code,
                "modifiers": modifiers,
            } | text
            self._send("Input.dispatchKeyEvent", **parameters)

    def point(self, selector: str) -> None:
        """Moves the mouse onto an element."""
        x, y = self._place(selector)
        self._send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str) -> None:
        self.point(selector)
        self.tap(selector)

    def tap(self, selector: str) -> None:
        """A click that no movement of the mouse precedes."""
        x, y = self._place(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self._send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self) -> bytes:
        """A PNG."""
        return base64.b64decode(self._send("Page.captureScreenshot", format="png")["data"])

    def _place(self, selector: str) -> tuple[float, float]:
        x, y = self.value(
            f"(() => {{ const found = document.querySelector({json.dumps(selector)});"
            "found.scrollIntoView({ block: 'nearest', inline: 'nearest' });"
            "const box = found.getBoundingClientRect();"
            "return [box.x + Math.min(box.width / 2, 40), box.y + box.height / 2]; })()"
        )
        return x, y

    def _send(self, method: str, **parameters: object) -> dict[str, Any]:
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        """Keeps what the page complains about."""
        parameters = event.get("params", {})
        match event.get("method"):
            case "Log.entryAdded":
                self.console.append(parameters["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.console.append(str(parameters["exceptionDetails"]))
            case "Runtime.consoleAPICalled":
                self.console.append(str(parameters["args"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            assert select.select([self._events], [], [], PATIENCE_SECS)[0], "Chromium does not answer"
            part = os.read(self._events, 1 << 16)
            assert part, "Chromium has ended"
            self._read += part
        event, self._read = self._read.split(b"\0", 1)
        return json.loads(event)
