"""Each page is true: commands run, YAML is valid, queries answer so, links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from feed_assets_tests.system.docs.page_runner import Story, commands, read_by_shell
from feed_assets_tests.system.docs.pages import DOCS, PROJECT, Page, pages

PAGES = {page.name: page for page in pages()}
each_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
NAMED = re.compile(r"`((?:feed_assets|feed_assets_tests|bench|deploy|docs)/[^`\s]*)`")
TEXTS = {
    "alerts.md": "test_alerts_page.py",
    "coming-from.md": "test_coming_from.py",
    "operations.md": "test_operations_page.py",
}
"""Pages with messages on them, and who compares those with what is really said."""
TOLD_ELSEWHERE = {"production.md": "test_production.py"}
"""Pages that want PostgreSQL or a cloud, and which test reads them. Here, only a shell does."""


@pytest.fixture
def story(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Story]:
    with Story(tmp_path, lambda: request.getfixturevalue("bigquery")) as told:
        yield told


@each_page
def test_what_a_page_shows_is_so(page: Page, story: Story) -> None:
    for block in page.blocks:
        if page.name in TOLD_ELSEWHERE:
            assert (
                page.name in (PROJECT / "feed_assets_tests" / TOLD_ELSEWHERE[page.name]).read_text()
            )
            if block.kind == "console":
                for command, _ in commands(block):
                    read_by_shell(command)
        elif block.kind == "text":
            assert page.name in TEXTS, f"{block} is compared with nothing"
            assert (Path(__file__).parent / TEXTS[page.name]).exists()
        else:
            story.tell(block)


@each_page
def test_links_lead_somewhere(page: Page) -> None:
    for link in page.links:
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        path = (page.path.parent / target).resolve() if target else page.path
        assert path.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in Page(path).anchors, f"{page.name} links to {link}"


@each_page
def test_files_that_are_named_are_there(page: Page) -> None:
    for path in re.findall(
        r"`((?:feed_assets|feed_assets_tests|bench|deploy|docs)/[^`\s]*)`", page.prose
    ):
        if not re.search(r"[*<{]|NAME|\.env$", path):  # which users make
            assert (PROJECT / path).exists(), f"{page.name} names {path}"


def test_the_readme_names_every_page_and_its_links_lead_somewhere() -> None:
    readme = Page(PROJECT / "README.md")
    test_links_lead_somewhere(readme)
    named = {link[5:] for link in readme.links if re.fullmatch(r"docs/[a-z-]+\.md", link)}
    assert named == PAGES.keys() | TOLD_ELSEWHERE.keys()


def test_the_index_of_decisions_has_every_one() -> None:
    decisions = PAGES["decisions.md"]
    listed = {link.removeprefix("#") for link in decisions.links if link.startswith("#")}
    missing = decisions.anchors - listed - {"decisions"}
    assert not missing, f"add these to the index on top of decisions.md: {missing}"


def test_pages_are_found() -> None:
    assert {"attributes.md", "types.md"} <= PAGES.keys()
    assert DOCS.is_dir()
