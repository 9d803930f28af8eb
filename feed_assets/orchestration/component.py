"""A feed in YAML, as Dagster's component."""

from __future__ import annotations

import dagster as dg
from pydantic import BaseModel

from feed_assets.feed import Feed
from feed_assets.orchestration.assets import feed_asset, latest_asset
from feed_assets.orchestration.scaffold import FeedScaffolder
from feed_assets.orchestration.schedules import feed_schedule


@dg.scaffold_with(FeedScaffolder)
class JsonFeed(dg.Component):
    """Imports an NDJSON feed into BigQuery or DuckDB, every day.

    With `partition_by_date`, an asset partitioned by day with a table `table_YYYYMMDD` for each,
    and, given `key` and `updated_at`, a view `table` of the latest state. Without it, an asset
    whose table is replaced whole.
    """

    def __init__(self, feed: Feed) -> None:
        self.feed = feed

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return Feed

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> JsonFeed:
        assert isinstance(attributes, Feed)
        return cls(attributes)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        assets = [feed_asset(self.feed)]
        if self.feed.has_latest:
            assets.append(latest_asset(self.feed))
        return dg.Definitions(assets=assets, schedules=[feed_schedule(self.feed)])
