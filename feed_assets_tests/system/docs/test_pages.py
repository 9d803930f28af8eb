"""Check each page: commands run, YAML is valid, queries return what is shown, links resolve."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from feed_assets_tests.system.docs.page_runner import PageRunner, commands, read_by_shell
from feed_assets_tests.system.docs.pages import DOCS, PROJECT, Page, decisions, pages

PAGES = {page.name: page for page in pages()}
DECISIONS = {page.name: page for page in decisions()}
each_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
each_text = pytest.mark.parametrize(
    "page", [*PAGES.values(), *DECISIONS.values()], ids=lambda page: page.name
)
TEXTS = {
    "alerts.md": "test_alerts_page.py",
    "coming-from.md": "test_coming_from.py",
    "operations.md": "test_operations_page.py",
}
"""Pages that quote messages, and the test that compares them with the real ones."""
RUN_ELSEWHERE = {"production.md": "test_production.py"}
"""Pages that need PostgreSQL or a cloud, and their test; here, a shell parses their commands."""


@pytest.fixture
def page_runner(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[PageRunner]:
    with PageRunner(tmp_path, lambda: request.getfixturevalue("bigquery")) as runner:
        yield runner


@each_page
def test_the_output_in_each_page_is_true(page: Page, page_runner: PageRunner) -> None:
    for block in page.blocks:
        if page.name in RUN_ELSEWHERE:
            assert page.name in (Path(__file__).parents[1] / RUN_ELSEWHERE[page.name]).read_text()
            if block.kind == "console":
                for command, _ in commands(block):
                    read_by_shell(command)
        elif block.kind == "text":
            assert page.name in TEXTS, f"{block} is compared with nothing"
            assert (Path(__file__).parent / TEXTS[page.name]).exists()
        else:
            page_runner.run(block)


@each_text
def test_links_have_a_target(page: Page) -> None:
    for link in page.links:
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        path = (page.path.parent / target).resolve() if target else page.path
        assert path.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in Page(path).anchors, f"{page.name} links to {link}"


@each_text
def test_files_that_a_page_names_exist(page: Page) -> None:
    for path in re.findall(
        r"`((?:feed_assets|feed_assets_tests|bench|deploy|docs)/[^`\s]*)`", page.prose
    ):
        if not re.search(r"[*<{]|NAME|\.env$", path):  # files that users make
            assert (PROJECT / path).exists(), f"{page.name} names {path}"


def test_the_readme_links_every_page_and_its_links_have_a_target() -> None:
    readme = Page(PROJECT / "README.md")
    test_links_have_a_target(readme)
    named = {link[5:] for link in readme.links if re.fullmatch(r"docs/[a-z-]+\.md", link)}
    assert named == PAGES.keys() | RUN_ELSEWHERE.keys()
    assert "docs/decisions/README.md" in readme.links


def test_the_index_of_decisions_has_every_one() -> None:
    linked = [link for link in DECISIONS["README.md"].links if link.endswith(".md")]
    assert sorted(linked) == sorted(DECISIONS.keys() - {"README.md"})


@pytest.mark.parametrize("page", [page for page in DECISIONS.values() if page.name[0] == "0"])
def test_a_decision_has_a_context_a_decision_and_consequences(page: Page) -> None:
    headings = re.findall(r"^#+ (.+)$", page.text, re.MULTILINE)
    assert headings[1:] == ["Context", "Decision", "Consequences"]
    assert headings[0] in DECISIONS["README.md"].text.replace("`", "")


def test_pages_are_found() -> None:
    assert {"attributes.md", "types.md"} <= PAGES.keys()
    assert DOCS.is_dir()
