"""`feed-assets erase`: delete the rows of a person or an order from all tables of a feed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

from feed_assets.importing.erase_rows import Pairs, make_plan, matching
from feed_assets.orchestration.import_command import find_feed, load_project
from feed_assets.orchestration.resources import WarehouseResource
from feed_assets.schema.table import Table

Say = Callable[[str], None]
REMAINS = (
    "What remains: time travel, backups and exports of the warehouse, tables that others made from "
    "these, and the feed itself: have it stop sending the rows, or an import stores them again."
)


def erase(name: str, key: Pairs, where: Pairs, *, all_rejected: bool, yes: bool, say: Say) -> None:
    """Count the rows to delete by table; with `yes`, delete them. Raises FeedAssetsError."""
    warnings.filterwarnings("ignore", module="dagster")
    feed = find_feed(load_project(), name)
    equals = matching(feed, key, where)
    texts = None if all_rejected else [value for _, value in (*key, *where)]
    with WarehouseResource().open() as warehouse, warehouse:
        plan = make_plan(warehouse, feed, equals, texts, by_key=bool(key))
        counts = plan.counts(warehouse)
        for table, rows in sorted(counts.items()):
            say(f"{table}: {_rows(rows)}")
        if not yes:
            say(f"{_total(counts)} would be deleted; repeat the command with --yes to delete them")
            return
        plan.delete(warehouse)
    say(f"{_total(counts)} deleted. {REMAINS}")


def _total(counts: Mapping[Table, int]) -> str:
    return f"{_rows(sum(counts.values()))} of {len(counts)} table{'s' * (len(counts) != 1)}"


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"
