"""A preview: everything that is told of a feed, from its rows and their columns."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from feed_assets.config.feed import Feed
from feed_assets.errors import BadLine
from feed_assets.masking import LIKE_A_SECRET, SecretMask, secret_mask
from feed_assets.ndjson import Options
from feed_assets.preview.column_stats import Facts, facts_of
from feed_assets.preview.open_input import Rows, rows_of
from feed_assets.preview.printable import count_of, fit
from feed_assets.preview.progress_bar import Bar
from feed_assets.preview.request import Asked
from feed_assets.preview.string_columns import Oddity, oddities
from feed_assets.preview.suggestions import Guesses, guesses
from feed_assets.schema.columns import Columns, columns_of, told
from feed_assets.schema.table import parse_day

KEPT_BAD_LINES = 1000


@dataclass(frozen=True)
class Preview:
    """Of a feed, which was read from what is `shown`. Paths are as in an `ndjson.Reading`."""

    shown: str
    feed: Feed
    rows: int
    bytes: int
    columns: Columns
    facts: Sequence[Facts]
    untyped: Sequence[str]
    renamed: Mapping[str, str]
    bad_lines: Sequence[BadLine]
    """The first of them."""
    bad_line_count: int
    warnings: Sequence[str]
    oddities: Sequence[Oddity]
    guesses: Guesses
    mask: SecretMask = field(default_factory=SecretMask)
    """Masks the feed's secrets in what is shown."""

    @property
    def is_ndjson(self) -> bool:
        """Whether one line at least is a row, or there are none."""
        return bool(self.rows or not self.bad_line_count)

    @property
    def json(self) -> dict[str, Any]:
        """What `--json` prints."""
        found = {
            "rows": self.rows,
            "bytes": self.bytes,
            "schema": [column.json for column in self.columns],
            "untyped": list(self.untyped),
            "renamed": dict(self.renamed),
            "bad_lines": [
                {"line": bad.line, "reason": bad.reason, "text": bad.text} for bad in self.bad_lines
            ],
            "bad_line_count": self.bad_line_count,
        }
        masked: dict[str, Any] = self.mask.values(found)
        return masked


def preview(asked: Asked) -> Preview:
    """Reads the source to its end. Raises FeedAssetsError."""
    feed = asked.feed()
    mask = secret_mask(feed)
    with mask.errors():
        return _preview(asked, feed, mask)


def _preview(asked: Asked, feed: Feed, mask: SecretMask) -> Preview:
    options = Options(
        types=feed.types,
        max_bad_lines=sys.maxsize,
        max_line_bytes=feed.max_line_bytes,
        empty_as_null=feed.empty_as_null,
        flexible_names=feed.partition_by_date is None,  # `table_*` works with plain names only
        kept_bad_lines=KEPT_BAD_LINES,
    )
    with Bar() as bar, rows_of(asked, feed, options, bar, mask) as rows:
        reading = rows.reading
        stored = columns_of(told(reading.table, reading.types).schema)
        sent = reading.columns
        return Preview(
            shown=rows.shown,
            feed=feed,
            rows=reading.rows,
            bytes=reading.bytes,
            columns=stored,
            facts=facts_of(stored, reading.table),
            untyped=reading.untyped,
            renamed=reading.renamed,
            bad_lines=reading.bad_lines,
            bad_line_count=reading.bad_line_count,
            warnings=list(_warnings(asked, feed, rows)),
            oddities=list(oddities(sent, rows)),
            guesses=guesses(sent, reading.table),
            mask=mask,
        )


def _warnings(asked: Asked, feed: Feed, rows: Rows) -> Iterator[str]:
    reading = rows.reading
    if not reading.rows and reading.bad_line_count:
        yield "not one line is a row, so this may be no NDJSON at all: one JSON object per line"
    elif not reading.rows and asked.day is None:
        yield "there are no rows, and an import refuses such a snapshot unless allow_empty is true"
    elif reading.rows and not reading.table.num_columns:
        yield "there is not one value in the rows, which an import refuses"
    for path, count in reading.dropped_nulls.items():
        nulls = count_of(count, "nulls")
        yield f"{fit(path)}: {nulls} in arrays dropped, as BigQuery stores none there"
    if not rows.marked:
        yield (
            "the server does not tell where its answer ends, so that one cut short at the end of a "
            "line would look the same; have it send Content-Length, or gzip"
        )
    for name, value in feed.address.parameters:
        if value and LIKE_A_SECRET.search(name):
            yield (
                f"{fit(name)} in the URL may be a secret, and the YAML has it as it is; have the "
                f"server take it as a header, which headers_env reads from the environment"
            )
        elif name == "date" and (day := parse_day(value)):
            yield f"the URL has a day in it; for a feed by date, leave it out and add --date {day}"
