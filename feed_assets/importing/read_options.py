"""Options of reading a feed, from its declaration."""

from __future__ import annotations

from dataclasses import replace

from feed_assets import ndjson
from feed_assets.config.feed import Feed


def read_options(feed: Feed) -> ndjson.Options:
    """Return how a feed is read. Raise SettingError for a key of hashes that is not set."""
    key = feed.columns.hash_key() if feed.columns else b""
    return ndjson.Options(
        types=feed.types,
        max_bad_lines=feed.max_bad_lines,
        max_line_bytes=feed.max_line_bytes,
        null_values=feed.null_values,
        flexible_names=feed.partition_by_date is None,  # `table_*` needs plain names
        unit=feed.unit,
        columns=replace(feed.selection, hash_key=key),
    )
