"""Feeds that would write to one table, or show up among the shards of another."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from feed_assets.errors import SettingError
from feed_assets.feed import Feed
from feed_assets.tables import Table


def check_together(feeds: Iterable[Feed], *, wildcards: bool) -> None:
    """Refuses feeds that would write to one table or asset, or show up among another's shards.

    Case does not distinguish, as it does not in DuckDB, though it does in BigQuery.
    `wildcards` says whether the warehouse queries shards by prefix, as BigQuery does: then nothing
    but a feed's shards may match `table_*`, what stands beside them included. Raises SettingError
    naming both feeds.
    """
    feeds = list(feeds)
    for feed in feeds:
        for name in _names(feed)[1:]:
            if clash := _among_shards(name, feed, wildcards=wildcards):
                raise SettingError(
                    f"feed {feed.name} would collide with itself: {name} {clash} of its own; give "
                    f"it another table"
                )
    for one, other in combinations(feeds, 2):
        if one.name == other.name:
            raise SettingError(f"two feeds are named {one.name}; rename one")
        if shared := _assets(one) & _assets(other):
            raise SettingError(
                f"feeds {one.name} and {other.name} would both make the asset {min(shared)}; "
                f"rename one"
            )
        for feed, against in ((one, other), (other, one)):
            for name in _names(feed):
                if clash := _clash(name, against, wildcards=wildcards):
                    raise SettingError(
                        f"feeds {one.name} and {other.name} would collide: {name} of {feed.name} "
                        f"{clash} of {against.name}; give one of them another table or dataset"
                    )


def _assets(feed: Feed) -> set[str]:
    return {feed.name, f"{feed.name}_latest"} if feed.has_latest else {feed.name}


def _names(feed: Feed) -> list[Table]:
    table = feed.destination
    return (
        [table, table.rejected, table.columns]
        if feed.partition_by_date
        else [table, table.rejected]
    )


def _clash(name: Table, feed: Feed, *, wildcards: bool) -> str | None:
    if name.dataset.casefold() != feed.dataset.casefold():
        return None
    if any(name.name.casefold() == taken.name.casefold() for taken in _names(feed)):
        return "is also a table"
    return _among_shards(name, feed, wildcards=wildcards)


def _among_shards(name: Table, feed: Feed, *, wildcards: bool) -> str | None:
    for table in (feed.destination, feed.destination.rejected) if feed.partition_by_date else ():
        if wildcards and name.name.casefold().startswith(f"{table.name}_".casefold()):
            return f"matches {table}_*, the shards"
        if name.is_shard_of(table):
            return "is named like a shard"
    return None
