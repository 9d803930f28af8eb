"""When a feed is imported, and which days."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from feed_assets.feed import Feed

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


def feed_schedule(feed: Feed) -> dg.ScheduleDefinition:
    """Imports a snapshot, or the last day and `refetch_days` before it, at the feed's times."""
    by_date = feed.partition_by_date

    def request(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        moment = context.scheduled_execution_time
        run_key = moment.isoformat()  # with its offset: in autumn an hour comes twice
        if by_date is None:
            return dg.RunRequest(run_key)
        last = moment.astimezone(ZoneInfo(by_date.timezone)).date()
        if not by_date.include_today:
            last -= timedelta(days=1)
        if last < by_date.start_date:
            return dg.SkipReason(f"{feed.name} has no day to import before {by_date.start_date}")
        if by_date.end_date is not None and last > by_date.end_date:
            return dg.SkipReason(f"{feed.name} has no day to import after {by_date.end_date}")
        first = max(by_date.start_date, last - timedelta(days=by_date.refetch_days))
        tags = {RANGE_START: first.isoformat(), RANGE_END: last.isoformat()}
        return dg.RunRequest(run_key, tags=tags)

    return dg.ScheduleDefinition(
        name=f"{feed.name}_schedule",
        target=dg.AssetSelection.assets(feed.name),
        cron_schedule=feed.schedule,
        execution_timezone=by_date.timezone if by_date else "UTC",
        execution_fn=request,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
