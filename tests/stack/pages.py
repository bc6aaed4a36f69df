"""What the pages show to type, and what they show of what it prints."""

import re

from stack.settings import Settings


def steps(page: str, section: str) -> list[tuple[str, str]]:
    """Each command of a section, to the end of its here-document or quotes, and what it prints."""
    text = (Settings.of_repo().root / page).read_text()
    heading = re.search(rf"^(#+) {re.escape(section)}\n", text, re.MULTILINE)
    assert heading, f"{page} has no section {section}"
    text = re.split(rf"^#{{2,{len(heading[1])}}} ", text[heading.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [_parted(step) for block in blocks for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]


def _parted(step: str) -> tuple[str, str]:
    lines = step.splitlines(keepends=True)
    if here := re.search(r"<<'(\w+)'", lines[0]):
        end = lines.index(f"{here[1]}\n") + 1
    else:
        end = next(end for end in range(1, len(lines) + 1) if "".join(lines[:end]).count("'") % 2 == 0)
    return "".join(lines[:end]).rstrip("\n"), "".join(lines[end:])


def pattern(output: str) -> str:
    """Of an output in which `…` stands for some text, or in a line of its own for some lines.

    What stands for a long text makes a column narrower: there may be more spaces than on the page.
    """
    lines = (re.escape(line).replace("…", ".*") for line in output.splitlines())
    lines = (re.sub(r"(\\ ){2,}", " {2,}", line) for line in lines)
    return "".join("(.*\n)*" if line == ".*" else f"{line}\n" for line in lines)
