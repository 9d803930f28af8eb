"""The preview of a feed, computed from its rows and columns."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from feed_assets.config.feed import Feed
from feed_assets.errors import BadLine
from feed_assets.importing.read_options import read_options
from feed_assets.masking import LIKE_A_SECRET, SecretMask, secret_mask
from feed_assets.preview.column_stats import ColumnStats, column_stats
from feed_assets.preview.findings import Finding
from feed_assets.preview.open_input import PreviewInput, open_input
from feed_assets.preview.printable import count_of, escape
from feed_assets.preview.progress_bar import ProgressBar
from feed_assets.preview.request import PreviewRequest
from feed_assets.preview.string_columns import findings
from feed_assets.preview.suggestions import Suggestions, suggestions
from feed_assets.schema.columns import Columns, columns_of, with_text_types
from feed_assets.schema.table import parse_day

KEPT_BAD_LINES = 1000
OFFSETS_BYTES = 1 << 18  # of the feed, in which times are looked at for their offset


@dataclass(frozen=True)
class Preview:
    """The preview of a feed; `shown` names its source. Paths are as in `ndjson.Reading`."""

    shown: str
    feed: Feed
    rows: int
    bytes: int
    columns: Columns
    stats: Sequence[ColumnStats]
    untyped: Sequence[str]
    renamed: Mapping[str, str]
    bad_lines: Sequence[BadLine]
    """The first KEPT_BAD_LINES bad lines."""
    bad_line_count: int
    warnings: Sequence[str]
    findings: Sequence[Finding]
    suggestions: Suggestions
    mask: SecretMask = field(default_factory=SecretMask)
    """Masks the feed's secrets in the output."""

    @property
    def is_ndjson(self) -> bool:
        """Return whether the input is NDJSON: at least one valid row, or no line at all."""
        return bool(self.rows or not self.bad_line_count)

    @property
    def json(self) -> dict[str, Any]:
        """Return the output of `--json`."""
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


def preview(request: PreviewRequest) -> Preview:
    """Read the whole source. Raises FeedAssetsError."""
    feed = request.feed()
    mask = secret_mask(feed, quote_rows=True)  # a person's own terminal
    with mask.errors():
        return _preview(request, feed, mask)


def _preview(request: PreviewRequest, feed: Feed, mask: SecretMask) -> Preview:
    options = replace(read_options(feed), max_bad_lines=sys.maxsize, kept_bad_lines=KEPT_BAD_LINES)
    with ProgressBar() as bar, open_input(request, feed, options, bar, mask) as rows:
        reading = rows.reading
        stored = columns_of(with_text_types(reading.table, reading.types).schema)
        in_feed = reading.columns
        return Preview(
            shown=rows.shown,
            feed=feed,
            rows=reading.rows,
            bytes=reading.bytes,
            columns=stored,
            stats=column_stats(stored, reading.table),
            untyped=reading.untyped,
            renamed=reading.renamed,
            bad_lines=reading.bad_lines,
            bad_line_count=reading.bad_line_count,
            warnings=list(_warnings(request, feed, rows)),
            findings=findings(rows, options),
            suggestions=suggestions(
                in_feed,
                reading.table,
                b"" if feed.selection.is_private else rows.source.read(0, OFFSETS_BYTES),
            ),
            mask=mask,
        )


def _warnings(request: PreviewRequest, feed: Feed, rows: PreviewInput) -> Iterator[str]:
    reading = rows.reading
    if not reading.rows and reading.bad_line_count:
        yield "no line is a row; the input may not be NDJSON, which has one JSON object per line"
    elif not reading.rows and request.day is None:
        yield "there are no rows; an import refuses an empty snapshot unless allow_empty is true"
    elif reading.rows and not reading.table.num_columns:
        yield "no row has a value; an import rejects such a feed"
    for path in reading.unnamed if reading.rows else ():
        yield f"columns names {escape(path)}, which no row has; check the spelling"
    for path, count in reading.dropped_nulls.items():
        nulls = count_of(count, "nulls")
        yield f"{escape(path)}: {nulls} in arrays dropped; BigQuery stores no nulls in arrays"
    if not rows.end_is_marked:
        yield (
            "the response has no marked end, so a truncated one may look complete; have the server "
            "send Content-Length, or gzip"
        )
    for name, value in feed.address.parameters:
        if value and LIKE_A_SECRET.search(name):
            yield (
                f"{escape(name)} in the URL may be a secret, and the YAML would contain it; have "
                f"the server take it as a header, and name its environment variable in headers_env"
            )
        elif name == "date" and (day := parse_day(value)):
            yield f"the URL contains a day; for a feed by date, remove it and add --date {day}"
