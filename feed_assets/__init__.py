"""Import a CRM's NDJSON feeds into BigQuery or DuckDB every day, as Dagster assets.

Names are imported on first use: a notebook does not load Dagster, a code location not pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feed_assets.config.feed import Feed
    from feed_assets.ndjson import read_ndjson
    from feed_assets.orchestration.alert_sensor import ImportAlerts
    from feed_assets.orchestration.code_location import code_location
    from feed_assets.orchestration.component import JsonFeed

__all__ = ["Feed", "ImportAlerts", "JsonFeed", "code_location", "read_ndjson"]

_HOMES = {
    "Feed": "feed_assets.config.feed",
    "ImportAlerts": "feed_assets.orchestration.alert_sensor",
    "JsonFeed": "feed_assets.orchestration.component",
    "code_location": "feed_assets.orchestration.code_location",
    "read_ndjson": "feed_assets.ndjson",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
