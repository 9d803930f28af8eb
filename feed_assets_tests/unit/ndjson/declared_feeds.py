"""Feeds of one declared column, and the rows that the oracle expects of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from feed_assets.ndjson import Reading
from feed_assets_tests.unit.ndjson.declared_values import value
from feed_assets_tests.unit.ndjson.feeds import PLACES, read_bytes
from feed_assets_tests.unit.ndjson.oracle_declared import RefusedError, stored
from feed_assets_tests.unit.ndjson.test_block_reader import blocks_of, rowwise_only

_WRITTEN: tuple[Callable[[str], bool], ...] = (
    lambda text: text.startswith('"'),
    lambda text: not text.startswith('"'),
    lambda text: True,
)
"""Arrow reads a column that is all strings or all numbers, and none that is mixed."""


@dataclass(frozen=True)
class DeclaredFeed:
    """Lines of which each has a value of the column at `path`, declared `name`."""

    name: str
    path: str
    texts: list[str]
    rows: list[Any]
    """The values to be stored."""
    bad_lines: list[int]
    smallest: int
    """Bytes of a block that is not halved where Arrow cannot read it."""

    @property
    def data(self) -> bytes:
        return "\n".join(PLACES[self.path][0].format(text) for text in self.texts).encode()


def declared_feed(name: str, seed: int, count: int) -> DeclaredFeed:
    """A feed of `count` values at most: without bad lines, with few or with many.

    Nine consecutive seeds have the column in each place, written in each way.
    """
    chance = random.Random(f"{name} {seed}")
    path, written = list(PLACES)[seed % 3], _WRITTEN[seed // 3 % 3]
    bad = chance.choice([0, 0, 0.01, 1])
    texts, rows, bad_lines = [], [], []
    for _ in range(count):
        text = value(chance, name)
        if not written(text):
            continue
        try:
            found = stored(name, text)
        except RefusedError:
            if chance.random() < bad:
                texts.append(text)
                bad_lines.append(len(texts))
            continue
        texts.append(text)
        rows.append(found)
    return DeclaredFeed(name, path, texts, rows, bad_lines, chance.choice([1, *[4 << 10] * 4]))


def readings(feed: DeclaredFeed) -> tuple[Reading, Reading]:
    """The feed read at once, in three blocks, and line by line."""
    name, _, text = feed.name.partition(" ")
    declared = {"type": name, "format": text} if text else name
    options: dict[str, Any] = {"types": {feed.path: declared}, "max_bad_lines": len(feed.texts)}
    with blocks_of(len(feed.data) // 3 + 64, feed.smallest):
        at_once = read_bytes(feed.data, **options)
    with rowwise_only():
        return at_once, read_bytes(feed.data, **options)


def assert_stored(feed: DeclaredFeed) -> None:
    """Both ways of reading store what the oracle expects, and refuse the same lines."""
    for got in readings(feed):
        invalid = [bad.line for bad in got.bad_lines]
        for line in {*invalid} ^ {*feed.bad_lines}:
            raise AssertionError(
                f"line {line}, {feed.texts[line - 1]} as {feed.name}, is "
                f"{'invalid' if line in invalid else 'stored'}"
            )
        if not feed.rows:
            continue
        text_of = [text for line, text in enumerate(feed.texts, 1) if line not in feed.bad_lines]
        for text, row, want in zip(text_of, got.table.to_pylist(), feed.rows, strict=True):
            found = PLACES[feed.path][1](row)
            if getattr(found, "tzinfo", None) is not None:
                found = found.replace(tzinfo=UTC)  # Arrow's UTC is another class than datetime's
            # repr, so that -0.0 is not 0.0 and true is not 1
            assert repr(found) == repr(want), f"{text} as {feed.name} at {feed.path}"
