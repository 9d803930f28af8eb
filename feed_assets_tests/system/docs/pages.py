"""Parse the pages of the documentation: code blocks, tables, links."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path

PROJECT = Path(__file__).parents[3]
DOCS = PROJECT / "docs"
FENCE = re.compile(r"^```(\S*)\n(.*?)^```$\n?", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CELL = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Block:
    """Code block, its first line in the page, and the table right after it, if any."""

    page: str
    line: int
    kind: str
    text: str
    table: Sequence[Sequence[str]]

    def __str__(self) -> str:
        return f"{self.page}:{self.line} ({self.kind})"


@dataclass(frozen=True)
class Page:
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def blocks(self) -> Sequence[Block]:
        return [
            Block(
                self.name,
                self.text.count("\n", 0, found.start()) + 1,
                found[1],
                found[2],
                _table(self.text[found.end() :].lstrip("\n")),
            )
            for found in FENCE.finditer(self.text)
        ]

    def of(self, kind: str) -> Sequence[Block]:
        return [block for block in self.blocks if block.kind == kind]

    @property
    def prose(self) -> str:
        """Text without code blocks."""
        return FENCE.sub("", self.text)

    @property
    def links(self) -> Sequence[str]:
        return LINK.findall(self.prose)

    @property
    def anchors(self) -> set[str]:
        """Anchors of the headings, as GitHub derives them."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}

    def table_under(self, heading: str, number: int = 1) -> Sequence[Sequence[str]]:
        """Rows of a table after a heading, without the header row."""
        _, found, rest = self.text.partition(f"# {heading}\n")
        assert found, f"{self.name} has no heading {heading}"
        starts = list(re.finditer(r"(?<!\|\n)^\|", rest, re.MULTILINE))
        assert len(starts) >= number, f"{self.name} has no table {number} under {heading}"
        return _table(rest[starts[number - 1].start() :])[1:]


def pages() -> Sequence[Page]:
    return [Page(path) for path in sorted(DOCS.glob("*.md"))]


def decisions() -> Sequence[Page]:
    """The pages of decisions, with their index."""
    return [Page(path) for path in sorted((DOCS / "decisions").glob("*.md"))]


def page(name: str) -> Page:
    return Page(DOCS / name)


def _table(text: str) -> Sequence[Sequence[str]]:
    """Table at the start of a text, header row included."""
    lines = takewhile(lambda line: line.startswith("|"), text.splitlines())
    return [list(_cells(line)) for line in lines if not re.fullmatch(r"[|\s:-]+", line)]


def _cells(line: str) -> Iterator[str]:
    for cell in CELL.split(line.strip())[1:-1]:
        yield cell.strip().replace("\\|", "|")


def code(cell: str) -> str:
    """Content of a cell of code, without the backticks around it."""
    ticks = re.match(r"`+", cell)
    if ticks is None:
        return cell
    inner = cell.removeprefix(ticks[0]).removesuffix(ticks[0])
    return inner[1:-1] if len(ticks[0]) > 1 and inner.startswith(" ") else inner


def shown_in(pattern: str, text: str) -> bool:
    """True if the text matches the pattern, in which `...` matches any text."""
    parts = map(re.escape, pattern.strip().split("..."))
    return re.fullmatch(".*".join(parts), text.strip(), re.DOTALL) is not None
