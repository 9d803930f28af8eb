"""Bring the latest state of a feed by date up to date."""

from __future__ import annotations

from feed_assets.config.feed import Feed
from feed_assets.warehouse.base import Origin, Warehouse
from feed_assets.warehouse.latest_state import Deleted, LatestUpdate
from feed_assets.warehouse.store import finish_pending


def update(warehouse: Warehouse, feed: Feed, *, full_refresh: bool = False) -> LatestUpdate | None:
    """Apply the days that have changed since the last time. None if there is no shard yet."""
    assert feed.updated_at is not None
    hidden = feed.deleted
    finish_pending(warehouse, feed.destination)
    return warehouse.update_latest(
        feed.destination,
        [*map(feed.in_table, feed.key)],
        feed.in_table(feed.updated_at),
        deleted=Deleted(feed.in_table(hidden.column), hidden.values) if hidden else None,
        full_refresh=full_refresh,
        origin=Origin(description=feed.latest_description, columns=feed.table_descriptions),
    )
