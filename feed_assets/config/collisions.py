"""Reject feeds that would share a table, or whose table looks like a shard of another feed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from feed_assets.config.feed import Feed
from feed_assets.errors import SettingError
from feed_assets.schema.table import SHARD, Table

Sharded = Mapping[str, tuple[Feed, Table]]
"""Prefixes of shards with their feeds, by case-insensitive name."""


def check_names(kind: str, files: Iterable[tuple[str, str]]) -> None:
    """Raise SettingError if two objects of a kind have one name; `files` are (name, file) pairs."""
    first: dict[str, str] = {}
    for name, file in files:
        if name in first:
            raise SettingError(
                f"two {kind} are named {name}, in {first[name]} and {file}; rename one"
            )
        first[name] = file


def check_together(feeds: Iterable[Feed], *, wildcards: bool) -> None:
    """Raise SettingError if feeds would share a table or an asset, or mix with others' shards.

    Names are compared without case, as in DuckDB. With `wildcards` (BigQuery), only a feed's shards
    may match `table_*`.
    """
    feeds = list(feeds)
    _check_assets(feeds)
    taken: dict[str, tuple[Feed, Table]] = {}
    for feed in feeds:
        for name in _names(feed):
            one, first = taken.setdefault(_key(name), (feed, name))
            if one is not feed:
                why = f"{first} of {one.name} is also a table of {feed.name}"
                raise _collision(one, feed, why)
    sharded = {
        _key(table): (feed, table)
        for feed in feeds
        for table in (feed.destination, feed.destination.rejected)
        if feed.partition_by_date
    }
    for feed in feeds:
        for name in _names(feed):
            for against, clash in _among_shards(name, sharded, wildcards=wildcards):
                if against is feed:
                    raise SettingError(
                        f"feed {feed.name} would collide with itself: {name} {clash} of its own; "
                        f"give it another table"
                    )
                why = f"{name} of {feed.name} {clash} of {against.name}"
                one, other = sorted((feed, against), key=feeds.index)
                raise _collision(one, other, why)


def _check_assets(feeds: Iterable[Feed]) -> None:
    makers: dict[str, Feed] = {}
    for feed in feeds:
        for asset in [feed.name, f"{feed.name}_latest"][: 1 + feed.has_latest]:
            other = makers.setdefault(asset, feed)
            if other is not feed:
                raise SettingError(
                    f"feeds {other.name} and {feed.name} would both make the asset {asset}; rename "
                    f"one"
                )


def _collision(one: Feed, other: Feed, why: str) -> SettingError:
    return SettingError(
        f"feeds {one.name} and {other.name} would collide: {why}; give one of them another table "
        f"or dataset"
    )


def _names(feed: Feed) -> list[Table]:
    table = feed.destination
    names = [table, table.rejected]
    if feed.partition_by_date:
        names.append(table.columns)
    if feed.has_latest:
        names += [table.latest, table.ledger]
    return names


def _among_shards(name: Table, sharded: Sharded, *, wildcards: bool) -> Iterator[tuple[Feed, str]]:
    """Return the feeds whose wildcard would match a table of that name, and how."""
    key = _key(name)
    if wildcards:
        for place, letter in enumerate(key):
            if letter == "_" and (found := sharded.get(key[:place])):
                yield found[0], f"matches {found[1]}_*, the shards"
    elif (match := SHARD.fullmatch(key)) and (found := sharded.get(match["table"])):
        yield found[0], "is named like a shard"


def _key(table: Table) -> str:
    return str(table).casefold()
