"""The site of the documentation: every page, no broken link, a search, and nothing from other hosts."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stack.settings import Settings

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "release"))
import site_pages

PRODUCERS = ("github", "stripe", "shopify", "ses", "eventbridge", "s3", "debezium", "iot")
LOADED = re.compile(
    r'<(?:script|img|iframe)[^>]* src="(https?:[^"]*)"|<link rel="stylesheet" href="(https?:[^"]*)"'
)


@pytest.fixture(scope="module")
def site(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make site` builds it."""
    folder = tmp_path_factory.mktemp("site") / "built"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--no-print-directory", "site", f"SITE={folder}"]
    done = subprocess.run(command, cwd=settings.root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout + done.stderr
    return folder / "site"


def pages(settings: Settings) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=settings.root, capture_output=True, text=True, check=True
    )
    # Those of a crate are for its page in the registry.
    return {
        page for page in listed.stdout.splitlines() if page != "README.md" and not page.startswith("crates/")
    }


def test_every_document_is_a_page_of_the_site(settings: Settings, site: Path) -> None:
    assert pages(settings) <= set(site_pages.PAGES)
    for page in site_pages.PAGES:
        assert (site / page).is_file()
        folder = page.removesuffix(".md").removesuffix("README")
        assert (site / folder / "index.html").is_file(), page


def test_every_page_is_found_by_its_title(settings: Settings, site: Path) -> None:
    titles = {
        re.sub("<.*?>", "", item["title"]) for item in json.loads((site / "search.json").read_text())["items"]
    }
    for page in site_pages.PAGES:
        assert site_pages.title((settings.root / page).read_text()) in titles, page


def test_the_site_loads_nothing_from_other_hosts(site: Path) -> None:
    for file in site.rglob("*.html"):
        assert not LOADED.search(file.read_text()), file


def test_a_broken_link_and_a_missing_section_are_found(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<a href="gone/">x</a><a href="#no">x</a><a href="#yes" id="yes">x</a>'
    )
    assert site_pages.broken(tmp_path) == [
        "index.html: #no has no such section",
        "index.html: gone/",
    ]


def test_programs_find_the_markdown_of_every_page(site: Path) -> None:
    text = (site / "llms.txt").read_text()
    assert re.match(r"# sqs-to-postgres\n\n> [A-Z].*\n", text)
    links = dict(re.findall(r"^- \[.*?\]\((.*?)\): (.+)$", text, re.MULTILINE))
    assert set(links) == set(site_pages.PAGES)
    for page, about in links.items():
        assert (site / page).is_file()
        assert about.endswith("."), page


@pytest.mark.parametrize("name", PRODUCERS)
def test_the_page_of_a_producer_shows_its_mapping_a_message_and_its_rows(
    settings: Settings, site: Path, name: str
) -> None:
    page = (site / f"docs/producers/{name}.md").read_text()
    examples = settings.root / "examples"
    assert (examples / f"{name}.toml").read_text().strip() in page
    assert (examples / f"{name}.rows").read_text().splitlines()[0] in page
    assert page.index("## A message") < page.index("## The rows")


def test_every_comparison_says_when_to_choose_the_other_first_and_its_sources_with_their_date(
    settings: Settings,
) -> None:
    compared = sorted((settings.root / "docs" / "compare").glob("*.md"))
    assert len(compared) == 6
    for page in compared:
        text = page.read_text()
        if page.stem == "your-own-function":
            assert text.index("**Write your own**") < text.index("- A bad message")
            continue
        assert text.index("**Choose ") < text.index("| sqs-to-postgres |"), page
        assert "read in November 2026" in text, page
        # A source in a repository is of one commit, so that it stays what it was.
        for link in re.findall(r"https://github\.com/\S+/blob/([^/)]+)/", text):
            assert re.fullmatch(r"[0-9a-f]{40}", link), page
