"""Import the example CRM, and complete feeds of which a page shows some attributes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from feed_assets.config.feed import Feed
from feed_assets.demo import crm
from feed_assets.demo.server import PASSWORD, USERNAME, serving
from feed_assets.download.prefetch import PendingDay, prefetch_days
from feed_assets.importing.import_feed import store
from feed_assets.warehouse.base import Warehouse

CREDENTIALS = {"CRM_FEED_USERNAME": USERNAME, "CRM_FEED_PASSWORD": PASSWORD}
DAYS = [crm.FIRST + timedelta(number) for number in range((crm.LAST - crm.FIRST).days + 1)]
SHORTEST = {"name": "crm_orders", "url": "https://example.com/feed.ndjson", "dataset": "crm"}
BY_DATE = {"partition_by_date": {"start_date": crm.FIRST.isoformat()}}
LATEST = {"key": ["orderId"], "updated_at": "updatedAt"}


def declared(document: Mapping[str, Any]) -> Feed:
    """Complete the attributes to a feed; by date if they require it."""
    whole = {**SHORTEST, **document}
    for more in ({}, BY_DATE, {**BY_DATE, **LATEST}):
        try:
            return Feed(**{**whole, **more, **document})
        except ValueError:
            continue
    return Feed(**whole)


def import_example(warehouse: Warehouse) -> None:
    """Import the example's days and define the view of the latest state."""
    with serving() as url, pytest.MonkeyPatch.context() as environment:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        auth = {"username_env": "CRM_FEED_USERNAME", "password_env": "CRM_FEED_PASSWORD"}
        feed = Feed(
            **{
                **SHORTEST,
                **BY_DATE,
                **LATEST,
                "url": f"{url}/feed.ndjson",
                "table": "orders",
                "basic_auth": auth,
            }
        )
        import_days(feed, DAYS, warehouse)
    with warehouse:
        warehouse.update_latest(feed.destination, feed.key, feed.updated_at or "")


def import_days(feed: Feed, days: Iterable[Any], warehouse: Warehouse) -> None:
    """Import the days as a run does. Raise the first failure."""
    for _, delivered in prefetch_days(feed, list(days)):
        if isinstance(delivered, Exception):
            raise delivered
        assert isinstance(delivered, PendingDay)
        store(delivered, warehouse, attempt=uuid4().hex)
