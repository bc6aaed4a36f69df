"""Draws the page of `preview` for the documentation: preview.py FOLDER-OF-THE-TOOL docs.

In a headless Chromium, so that the pictures differ a little from machine to machine.
"""

import base64
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from stack.browser import Browser, chromium

ROOT = Path(__file__).resolve().parents[1]
MASK_KEY = base64.b64encode(bytes(range(64))).decode()
AREA = "document.querySelector('textarea')"
HEADS = "[...document.querySelectorAll('thead th')]"
COLUMN = f"{HEADS}.findIndex((head) => head.textContent.startsWith('masked_email'))"


def draw(address: str, scheme: str, folder: Path) -> bytes:
    with Browser(str(chromium()), folder / scheme, scheme) as browser:
        browser.open(address)
        browser.wait("document.querySelectorAll('#panel td').length > 0")
        if scheme == "light":
            browser.click("#values")
            browser.wait("document.querySelector('#panel td.value') !== null")
            cell = f"#panel tbody tr:nth-child(2) > :nth-child({browser.value(COLUMN) + 1})"
            browser.click(cell)
            browser.wait("document.querySelector('#body .marked') !== null")
            browser.value("document.querySelector('.line.marked').scrollIntoView({ block: 'center' })")
        else:
            find = f"const area = {AREA}; const at = area.value.indexOf('\"timestamptz\"');"
            browser.value(f"(() => {{ {find} area.focus(); area.setSelectionRange(at + 1, at + 12); }})()")
            browser.type("timestamp with tz")
            browser.wait("document.querySelector('.mistake') !== null")
            browser.value("document.querySelector('.mistake').scrollIntoView({ block: 'center' })")
        return browser.screenshot()


def main() -> None:
    tool, docs = Path(sys.argv[1]).resolve() / "sqs-to-postgres", Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shutil.copy(ROOT / "events" / "orders.jsonl", folder)
        infer = [tool, "infer", "--table", "orders", "--key", "order_id", "orders.jsonl"]
        mapping = subprocess.run(infer, cwd=folder, capture_output=True, check=True).stdout
        (folder / "orders.toml").write_bytes(mapping)
        command = [tool, "preview", "orders.toml", "orders.jsonl"]
        env = os.environ | {"MASK_KEY": MASK_KEY}
        with subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True) as preview:
            assert preview.stdout
            address = preview.stdout.readline().strip()
            try:
                for scheme in ("light", "dark"):
                    (docs / f"preview-{scheme}.png").write_bytes(draw(address, scheme, folder))
            finally:
                preview.terminate()


if __name__ == "__main__":
    main()
