"""The page of `preview` in a real Chromium: what is typed changes the rows, by mouse and by keyboard."""

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stack.browser import Browser, chromium
from stack.deploy import program
from stack.settings import Settings

PROGRAM = chromium()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="not tried: this machine has no Chromium")

WIDTH, HEIGHT = 1280, 720
AREA = "document.querySelector('textarea')"
HEADS = "[...document.querySelectorAll('thead th > span:first-child')].map((head) => head.textContent)"
CELL = "#panel tbody tr:nth-child(2) td:nth-child(3)"


@dataclass(frozen=True)
class Page:
    """A page that is open, and the folder with the mapping and the messages."""

    browser: Browser
    mapping: Path
    messages: Path

    def select(self, text: str) -> None:
        """Selects the first occurrence of a text in the mapping."""
        script = f"const area = {AREA}; const at = area.value.indexOf({json.dumps(text)}); area.focus();"
        self.browser.value(f"(() => {{ {script} area.setSelectionRange(at, at + {len(text)}); }})()")

    def line(self) -> int:
        """The line with the cursor, from 1."""
        return self.browser.value(f"{AREA}.value.slice(0, {AREA}.selectionEnd).split('\\n').length")

    def shows(self, expression: str) -> None:
        self.browser.wait(expression)

    def says(self, selector: str, text: str) -> None:
        """Waits until an element that is shown has this text in it."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})]"
        is_shown = f"element.checkVisibility() && element.textContent.includes({json.dumps(text)})"
        self.shows(f"{found}.some((element) => {is_shown})")


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Iterator[Page]:
    """At the end nothing has been complained about, and the preview ends on Ctrl-C."""
    mapping, messages = (tmp_path / f"orders.{end}" for end in ("toml", "jsonl"))
    for file in (mapping, messages):
        shutil.copy(settings.root / "examples" / file.name, file)
    command = [program(settings, "sqs-to-postgres"), "preview", mapping.name, messages.name]
    with (
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as preview,
        Browser(str(PROGRAM), tmp_path / "profile", request.param, WIDTH, HEIGHT) as browser,
    ):
        assert preview.stdout
        try:
            browser.open(preview.stdout.readline().strip())
            opened = Page(browser, mapping, messages)
            opened.shows("document.querySelectorAll('#panel td').length > 0")
            yield opened
        finally:
            preview.send_signal(signal.SIGINT)
        assert preview.wait() == 0
        assert browser.console == []


def test_the_rows_follow_what_is_typed_and_the_file_is_saved(page: Page) -> None:
    before = page.mapping.read_text()
    page.select('"customer"')
    page.browser.type('"buyer"')
    page.shows(f"{HEADS}.includes('buyer') && !{HEADS}.includes('customer')")
    page.says("#state", "Saved")
    assert page.mapping.read_text() == before.replace('"customer"', '"buyer"', 1)


def test_a_mistake_is_shown_under_its_line_and_not_saved(page: Page) -> None:
    before = page.mapping.read_text()
    page.select('"timestamptz"')
    page.browser.type('"timestampz"')
    page.says(".mistake", 'type "timestampz" is unknown')
    line = "[...document.querySelectorAll('.line')].find((line) => line.textContent.includes('timestampz'))"
    assert page.browser.value(f"{line}.nextElementSibling === document.querySelector('.mistake')")
    carets = "document.querySelector('.carets').textContent"
    [shown] = [line for line in before.splitlines() if "timestamptz" in line]
    assert page.browser.value(carets) == " " * shown.index('"timestamptz"') + "^" * len('"timestampz"')
    page.says("#state", "Not saved")
    assert page.mapping.read_text() == before

    # A click below the mistake is one on the line that is seen there.
    below = before.splitlines().index('parent = "shop.orders"') + 1
    page.browser.click(f".line:nth-child({below + 1})")
    assert page.line() == below
    page.select('"timestampz"')
    page.browser.press("s", modifiers=2)
    page.says("#state", "Saved")
    assert page.mapping.read_text() == before.replace("timestamptz", "timestampz", 1)
    page.browser.type('"timestamptz"')
    page.shows("document.querySelector('.mistake') === null")
    page.says("#state", "Saved")
    assert page.mapping.read_text() == before


def test_a_click_of_a_mouse_at_rest_is_one_on_the_line_that_is_seen_there(page: Page) -> None:
    page.select('"timestamptz"')
    page.browser.type('"timestampz"')
    page.says(".mistake", 'type "timestampz" is unknown')
    for line, position in ((17, 18), (3, 3), (18, 19)):
        page.browser.tap(f".lines > :nth-child({position})")
        assert page.line() == line


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_a_cell_shows_its_source_by_mouse_and_by_keyboard(page: Page, by: str) -> None:
    if by == "mouse":
        page.browser.point(CELL)
    else:
        page.browser.value("document.querySelector('#panel td').focus()")
        page.browser.press("ArrowDown")
        page.browser.press("ArrowRight")
        assert page.browser.value(f"document.activeElement === document.querySelector({json.dumps(CELL)})")
        page.says("#list [aria-selected=true]", "line 2")
    page.says("#tip", "from customer.id")
    page.says(".line.marked", 'name = "customer"')
    page.says("#body .marked", "id: ")
    page.browser.press("Escape")
    page.shows("!document.querySelector('#tip').checkVisibility()")


def test_values_are_shown_only_on_request(page: Page) -> None:
    seen = "document.documentElement.outerHTML.includes('c-17')"
    page.says(".hidden", "4 characters")
    assert page.browser.value(f"!{seen}")
    page.browser.value("document.querySelector('#values').focus()")
    page.browser.press(" ")
    page.says("#panel td", "c-17")
    page.says("#body", '"c-17"')
    page.browser.press(" ")
    page.shows(f"!{seen}")


def test_a_change_on_disk_is_shown_and_never_overwritten_unasked(page: Page) -> None:
    before = page.mapping.read_text()
    other = before.replace('"customer"', '"client"', 1)
    page.mapping.write_text(other)
    page.shows(f"{HEADS}.includes('client')")
    page.says("#state", "Read again")

    page.select('"client"')
    page.browser.type('"client')  # a string without an end: a mistake, so that it is not saved
    page.says("#state", "Not saved")
    page.mapping.write_text(before)
    page.says("#banner", "has changed on disk")
    page.browser.press("s", modifiers=2)
    page.says("#banner", "has changed on disk")
    assert page.mapping.read_text() == before
    page.browser.click("#load")
    page.shows(f"{HEADS}.includes('customer') && {AREA}.value === {json.dumps(before)}")

    page.select('"customer"')
    page.browser.type('"buyer')
    page.says("#state", "Not saved")
    page.mapping.write_text(other)
    page.says("#banner", "has changed on disk")
    page.browser.click("#keep")
    page.says("#state", "Saved")
    assert page.mapping.read_text() == before.replace('"customer"', '"buyer', 1)


def test_every_part_fits_on_a_small_screen(page: Page) -> None:
    size = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    for tab, text in {
        "rejected": "is not a valid",
        "unread": "Every value",
        "summary": "16 rows",
        "ddl": "CREATE TABLE",
        "rows": "shop.orders",
    }.items():
        page.browser.click(f"#tab-{tab}")
        page.says("#panel", text)
        assert page.browser.value(size) == [WIDTH, HEIGHT]
    with page.messages.open("a") as messages:
        messages.write('{"order_id": 7, "colour": "red"}\n')
    page.says("#tab-unread", "1")
    page.browser.click("#tab-unread")
    page.says("#panel", "1 of 7 messages")
