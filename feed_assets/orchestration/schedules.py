"""When a feed is imported, and which days."""

from __future__ import annotations

import dagster as dg

from feed_assets.feed import Feed
from feed_assets.orchestration.assets import partitions

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


def feed_schedule(feed: Feed) -> dg.ScheduleDefinition:
    """Imports a snapshot, or the last day and `refetch_days` before it, at the feed's times."""
    by_date, days = feed.partition_by_date, partitions(feed)

    def request(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        moment = context.scheduled_execution_time
        if by_date is None or days is None:
            return dg.RunRequest(run_key=f"{moment:%Y-%m-%dT%H:%M}")
        keys = days.get_partition_keys(current_time=moment)[-1 - by_date.refetch_days :]
        if not keys:
            return dg.SkipReason(f"{feed.name} has no day before {by_date.start_date}")
        return dg.RunRequest(
            run_key=f"{moment:%Y-%m-%dT%H:%M}", tags={RANGE_START: keys[0], RANGE_END: keys[-1]}
        )

    return dg.ScheduleDefinition(
        name=f"{feed.name}_schedule",
        target=dg.AssetSelection.assets(feed.name),
        cron_schedule=feed.schedule,
        execution_timezone=by_date.timezone if by_date else "UTC",
        execution_fn=request,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
