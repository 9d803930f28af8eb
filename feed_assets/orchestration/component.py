"""A feed in YAML, as Dagster's component."""

from __future__ import annotations

import dagster as dg
from dagster._utils.schedules import is_valid_cron_string, schedule_execution_time_iterator
from dagster._vendored.croniter.croniter import CroniterBadDateError
from pydantic import BaseModel, field_validator

from feed_assets.feed import Feed
from feed_assets.orchestration.assets import feed_asset, latest_asset
from feed_assets.orchestration.scaffold import FeedScaffolder
from feed_assets.orchestration.schedules import feed_schedule


class ScheduledFeed(Feed):
    """A URL that answers with NDJSON, and the table it goes to."""

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        """Here, as only Dagster knows what it takes for cron."""
        try:
            if is_valid_cron_string(value):
                next(schedule_execution_time_iterator(0, value, "UTC"))
                return value
        except CroniterBadDateError:
            raise ValueError(f"{value!r} names a day that no year has") from None
        raise ValueError(
            f"{value!r} is no cron expression that Dagster can run; write minute, hour, day, month "
            f"and weekday, such as 0 5 * * *"
        )


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
        return ScheduledFeed

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> JsonFeed:
        assert isinstance(attributes, Feed)
        return cls(attributes)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        assets = [feed_asset(self.feed)]
        if self.feed.has_latest:
            assets.append(latest_asset(self.feed))
        return dg.Definitions(assets=assets, schedules=[feed_schedule(self.feed)])
