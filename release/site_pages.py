"""Builds the site of the documentation: site_pages.py FOLDER.

The pages are the Markdown files of this repository. Links to other files lead to copies of them, so that a
site has everything that its pages name. Zensical makes the pages and the search; it is the successor of
Material for MkDocs, by the same authors, who only maintain the latter (https://zensical.org/compatibility).
`llms.txt` names the Markdown of each page (https://llmstxt.org).
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import zip_longest
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
ZENSICAL = ROOT / ".local" / "venv" / "site" / "bin" / "zensical"
HOME = "index.md"
NAVIGATION = {
    "Start": ["docs/LOCAL.md", "docs/DEPLOY.md", "terraform/README.md"],
    "Producers": [
        f"docs/producers/{name}.md"
        for name in ("github", "stripe", "shopify", "ses", "eventbridge", "s3", "debezium", "iot")
    ],
    "Reference": [
        f"docs/{name}.md"
        for name in ("MAPPING", "CONFIGURATION", "CLI", "GUARANTEES", "OBSERVABILITY", "COMPATIBILITY")
    ],
    "Operation": [f"docs/{name}.md" for name in ("RUNBOOK", "ANALYSIS", "UNVERIFIED")],
    "Compare and move": [
        *(
            f"docs/compare/{name}.md"
            for name in (
                "faucet-stream",
                "redpanda-connect",
                "vector",
                "sqs-ingest",
                "powertools",
                "your-own-function",
            )
        ),
        "docs/MOVING.md",
        "docs/MIGRATING.md",
    ],
    "Project": [
        "CHANGELOG.md",
        "docs/VERSIONING.md",
        "SECURITY.md",
        "CONTRIBUTING.md",
        "CODE_OF_CONDUCT.md",
        "docs/ARCHITECTURE.md",
        "docs/RELEASING.md",
        "benches/README.md",
    ],
}
PAGES = [page for pages in NAVIGATION.values() for page in pages]
FENCE = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
EXAMPLE = re.compile(r"<!-- example: (\w+) -->")
SHOWN_ROWS = 25


def stage(folder: Path) -> None:
    """Copies the pages into a folder, with links that lead to pages and copies of files there."""
    for page in ["README.md", *PAGES]:
        place = folder / (HOME if page == "README.md" else page)
        place.parent.mkdir(parents=True, exist_ok=True)
        text = EXAMPLE.sub(lambda found: example(found[1]), (ROOT / page).read_text())
        place.write_text("".join(adapted(FENCE.split(text), page, folder)))


def adapted(parts: list[str], page: str, folder: Path) -> Iterator[str]:
    """The text between blocks of code, in which links are, and the blocks: a second word is for our tests."""
    for text, block in zip_longest(parts[::2], parts[1::2], fillvalue=""):
        yield LINK.sub(lambda link: f"{link[1]}{led(link[2], page, folder)}{link[3]}", text)
        yield re.sub(r"^(```\w+) .*", r"\1", block)


def led(target: str, page: str, folder: Path) -> str:
    """Where a link of a page leads in the site."""
    parts = urlsplit(target)
    if parts.scheme or not parts.path:
        return target
    file = (ROOT / page).parent / parts.path
    if not file.exists():
        sys.exit(f"{page}: there is no {target}")
    named = file.resolve().relative_to(ROOT).as_posix()
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    if named == "README.md":
        return relative(HOME, page) + fragment
    return relative(named if named in PAGES else copied(named, folder), page) + fragment


def relative(target: str, page: str) -> str:
    return os.path.relpath(target, Path(page).parent)


def copied(named: str, folder: Path) -> str:
    """A file of the repository, or a page that lists those of a folder, among the sources of the site."""
    place = f"source/{named.lstrip('.')}"
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    if (ROOT / named).is_file():
        shutil.copy(ROOT / named, folder / place)
        return place
    listed = subprocess.run(["git", "ls-files", named], cwd=ROOT, capture_output=True, text=True, check=True)
    links = [
        f"- [{file}]({os.path.relpath(copied(file, folder), place)})" for file in listed.stdout.splitlines()
    ]
    (folder / place).mkdir(exist_ok=True)
    (folder / place / HOME).write_text(f"# {named}\n\n" + "\n".join(links) + "\n")
    return f"{place}/{HOME}"


def example(name: str) -> str:
    """The mapping, the first message and the rows of an example."""
    files = {kind: (ROOT / "examples" / f"{name}.{kind}").read_text() for kind in ("toml", "jsonl", "rows")}
    first, *_ = files["jsonl"].splitlines()
    if first.startswith("{"):  # others are packed
        first = json.dumps(json.loads(first), indent=2, ensure_ascii=False)
    rows = files["rows"].splitlines()
    more = ["…"] if len(rows) > SHOWN_ROWS else []
    return (
        f"## The mapping\n\n```toml\n{files['toml'].rstrip()}\n```\n\n"
        f"## A message\n\n```json\n{first}\n```\n\n"
        f"## The rows\n\n```text\n{chr(10).join([*rows[:SHOWN_ROWS], *more])}\n```\n"
    )


def title(text: str) -> str:
    return next(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")).replace(
        "`", ""
    )


def configuration(folder: Path, site: Path) -> dict[str, object]:
    nav: list[dict[str, object]] = [{"Home": HOME}]
    for section, pages in NAVIGATION.items():
        nav.append({section: [{title((folder / page).read_text()): page} for page in pages]})
    mermaid = {
        "name": "mermaid",
        "class": "mermaid",
        "format": "pymdownx.superfences.fence_code_format",
    }
    extensions = {
        "tables": {},
        # The anchors of GitHub, by which the pages link to each other.
        "toc": {
            "permalink": True,
            "slugify": {"object": "pymdownx.slugs.slugify", "kwds": {"case": "lower"}},
        },
        "pymdownx": {"superfences": {"custom_fences": [mermaid]}, "highlight": {}, "inlinehilite": {}},
    }
    # Without it there is no link of a page to itself.
    address = {"site_url": os.environ["SITE_URL"]} if "SITE_URL" in os.environ else {}
    return address | {
        "site_name": "sqs-to-postgres",
        "site_description": "Loads an SQS queue of JSON messages into Postgres tables",
        "docs_dir": folder.name,
        "site_dir": site.name,
        "nav": nav,
        "theme": {
            "font": False,
            "features": ["navigation.sections", "content.code.copy", "search.highlight"],
        },
        "markdown_extensions": extensions,
    }


def toml(value: object) -> str:
    """JSON is almost TOML: only the tables differ."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(name)} = {toml(part)}" for name, part in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(part) for part in value) + "]"
    return json.dumps(value)


def build(work: Path) -> Path:
    """The pages as HTML, with search."""
    staged, site = work / "pages", work / "site"
    shutil.rmtree(work, ignore_errors=True)
    staged.mkdir(parents=True)
    stage(staged)
    settings = configuration(staged, site)
    lines = ["[project]", *(f"{name} = {toml(value)}" for name, value in settings.items())]
    (work / "zensical.toml").write_text("\n".join(lines) + "\n")
    plain = os.environ | {"NO_COLOR": "1"}
    subprocess.run(
        [ZENSICAL, "build", "--clean", "--config-file", "zensical.toml"], cwd=work, check=True, env=plain
    )
    for page in [HOME, *PAGES]:
        (site / page).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(staged / page, site / page)
    (site / "llms.txt").write_text(llms(staged))
    return site


def llms(folder: Path) -> str:
    """What each page is about, for programs that read Markdown."""
    lines = ["# sqs-to-postgres", "", f"> {about((folder / HOME).read_text())}", "", f"- [Overview]({HOME})"]
    for section, pages in NAVIGATION.items():
        lines += ["", f"## {section}", ""]
        for page in pages:
            text = (folder / page).read_text()
            lines.append(f"- [{title(text)}]({page}): {about(text)}")
    return "\n".join(lines) + "\n"


def about(text: str) -> str:
    """The first sentence under the title."""
    paragraph = next(
        part for part in text.split("\n\n")[1:] if not part.startswith(("#", "|", "<", "`", "-"))
    )
    sentence = " ".join(paragraph.split()).partition(". ")[0].rstrip(".:")
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", sentence) + "."


class Links(HTMLParser):
    """Where a page leads, and where it can be entered."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.targets.append(value)


def broken(site: Path) -> list[str]:
    """The links within the site that lead nowhere."""
    pages = {file: Links(file.read_text()) for file in site.rglob("*.html") if file.name != "404.html"}
    found = []
    for file, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            led = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            led = led / "index.html" if led.is_dir() else led
            fragment = unquote(parts.fragment)
            if not led.exists():
                found.append(f"{file.relative_to(site)}: {target}")
            elif fragment and led in pages and fragment not in pages[led].anchors:
                found.append(f"{file.relative_to(site)}: {target} has no such section")
    return sorted(set(found))


def main() -> None:
    site = build(Path(sys.argv[1]).resolve())
    if problems := broken(site):
        sys.exit("broken links:\n" + "\n".join(problems))
    print(f"{site}: {len(PAGES) + 1} pages")


if __name__ == "__main__":
    main()
