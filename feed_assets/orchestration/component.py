"""The JsonFeed component: a feed declared in YAML."""

from __future__ import annotations

import dagster as dg
from pydantic import BaseModel

from feed_assets.config.feed import Feed
from feed_assets.orchestration.assets import feed_asset
from feed_assets.orchestration.feed_attributes import FeedAttributes
from feed_assets.orchestration.latest_asset import latest_asset
from feed_assets.orchestration.scaffold import FeedScaffolder
from feed_assets.orchestration.schedules import feed_schedule


def declared_in(context: dg.ComponentLoadContext) -> str:
    """Return the component's defs.yaml, relative to the project's folder."""
    return str((context.path / "defs.yaml").relative_to(context.project_root))


@dg.scaffold_with(FeedScaffolder)
class JsonFeed(dg.Component):
    """Import an NDJSON feed into BigQuery or DuckDB every day.

    With `partition_by_date`: an asset partitioned by day, one table `table_YYYYMMDD` per day, and,
    given `key` and `updated_at`, `table` with the latest state. Without: an asset whose table
    every import replaces.
    """

    def __init__(self, feed: Feed, file: str = "") -> None:
        self.feed = feed
        self.file = file

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return FeedAttributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> JsonFeed:
        assert isinstance(attributes, Feed)
        return cls(attributes, declared_in(context))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        assets = [feed_asset(self.feed)]
        if self.feed.has_latest:
            assets.append(latest_asset(self.feed))
        return dg.Definitions(assets=assets, schedules=[feed_schedule(self.feed)])
