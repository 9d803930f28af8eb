"""Plan the erasure of the rows of a person or an order: conditions and tables of a feed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from feed_assets.config.feed import Feed
from feed_assets.errors import SettingError
from feed_assets.importing import latest
from feed_assets.ndjson.column_rules import hasher
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Warehouse
from feed_assets.warehouse.erasure import (
    Condition,
    Contains,
    Equals,
    Keys,
    key_names,
    with_stored_names,
)

MAX_KEYS = 10_000
"""Keys to delete at once; a person has fewer."""
Pairs = Sequence[tuple[str, str]]
"""Columns by their paths, each with a value as text."""


def matching(feed: Feed, key: Pairs, where: Pairs) -> Equals:
    """Return what a row must equal, with hashes in place of values that the feed hashes."""
    if not key and not where:
        raise SettingError(
            f"name the rows of {feed.name} to erase: --key {(feed.key or ('COLUMN',))[0]}=VALUE "
            f"or --where COLUMN=VALUE"
        )
    named = {feed.in_table(path) for path, _ in key}
    if key and named != {feed.in_table(path) for path in feed.key}:
        has = f"its key is {', '.join(feed.key)}" if feed.key else "it has no key in its YAML"
        raise SettingError(f"--key does not name the key of {feed.name}: {has}; use --where")
    return Equals(
        tuple((feed.in_table(path), _stored(feed, path, v)) for path, v in (*key, *where))
    )


def _stored(feed: Feed, path: str, value: str) -> str:
    if feed.columns is None or not feed.selection.hashes(feed.selection.original(path)):
        return value
    return hasher(feed.columns.hash_key())(value)


@dataclass(frozen=True)
class Plan:
    """Conditions by table. Other rows of a key go first: a killed run can then be repeated."""

    feed: Feed
    has_latest: bool
    steps: Sequence[tuple[Sequence[Table], Condition]]

    def counts(self, warehouse: Warehouse) -> dict[Table, int]:
        """Count the rows to delete, of tables that have any."""
        found: dict[Table, int] = {}
        for tables, condition in self.steps:
            for table, rows in warehouse.count_matching(tables, condition).items():
                found[table] = found.get(table, 0) + rows
        return found

    def delete(self, warehouse: Warehouse) -> None:
        """Delete the rows and update the latest state. Call it again after an interruption."""
        for tables, condition in self.steps:
            for table in warehouse.count_matching(tables, condition):
                warehouse.delete_matching(table, condition)
        if self.has_latest:
            latest.update(warehouse, self.feed)


def make_plan(
    warehouse: Warehouse,
    feed: Feed,
    equals: Equals,
    texts: Sequence[str] | None,
    *,
    by_key: bool = False,
) -> Plan:
    """Find the tables, and the keys whose rows all have to go.

    A key with a matching row loses all its rows, or an older one would become its latest state.
    Rejected lines match that have all `texts` in them; None matches every one. Raises SettingError.
    """
    table = feed.destination
    if feed.partition_by_date:
        shards = warehouse.shards(table)
        columns = warehouse.known(table).columns or (
            (warehouse.columns(shards[-1]) or ()) if shards else ()
        )
        rejected = warehouse.shards(table.rejected)
        state = [table.latest] if warehouse.columns(table.latest) is not None else []
    else:
        columns, state = warehouse.columns(table) or (), []
        shards = [table] if columns else []
        rejected = [table.rejected] if warehouse.columns(table.rejected) is not None else []
    if not columns:
        raise SettingError(f"{table} does not exist yet, so there is no row to erase")
    equals = with_stored_names(columns, equals, table)
    steps: list[tuple[Sequence[Table], Condition]] = []
    names = key_names(columns, [*map(feed.in_table, feed.key)])
    if feed.has_latest and names and not by_key:
        paths = tuple(".".join(path) for path in names)
        keys = {
            each
            for one in (*warehouse.count_matching(shards, equals), *state)
            for each in warehouse.keys_matching(one, equals, paths)
        }
        if len(keys) > MAX_KEYS:
            raise SettingError(
                f"{len(keys):,} keys of {table} match, and {MAX_KEYS:,} can be erased at once; "
                f"name a column that fewer rows share"
            )
        others = Keys(paths, tuple(sorted(keys)), equals)
        steps += [(shards, others), (state, others)]
    steps += [(rejected, Contains(tuple(texts or ()))), (shards, equals), (state, equals)]
    return Plan(feed, bool(state) and feed.has_latest, steps)
