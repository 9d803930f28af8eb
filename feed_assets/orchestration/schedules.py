"""The schedule of a feed: when to import, and which days."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from feed_assets.config.feed import Feed
from feed_assets.config.partition import PartitionByDate

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
SCHEDULE = "dagster/schedule_name"
MOMENT = ".dagster/scheduled_execution_time"
"""Tags that Dagster sets on the runs of a schedule."""

MOST_MISSED = 31
"""Most missed days that a tick requests; the user may backfill older ones."""
_RUNS = 25  # runs to look at; repeated runs are newer than the runs they repeat


def feed_schedule(feed: Feed) -> dg.ScheduleDefinition:
    """Build the schedule: import the snapshot, or the last day and `refetch_days` before it.

    After a downtime Dagster runs the last tick only; it then imports the missed days as well.
    """
    by_date = feed.partition_by_date
    name = f"{feed.name}_schedule"
    target = [dg.AssetKey(feed.name)]  # the UI shows it as the target of the run

    def request(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        moment = context.scheduled_execution_time
        run_key = moment.isoformat()  # with the offset: one hour comes twice in autumn
        if by_date is None:
            return dg.RunRequest(run_key, asset_selection=target)
        last = last_day(by_date, moment)
        due = last - timedelta(days=by_date.refetch_days)
        before = _last_requested(context.instance, name, moment)
        if before is not None:
            missed = (last - last_day(by_date, before)).days - 1
            if missed > MOST_MISSED:
                first_missed = last - timedelta(days=missed)
                context.log.warning(
                    f"{feed.name} was not imported since {first_missed}; the last {MOST_MISSED} "
                    f"missed days are requested now, so backfill those before them"
                )
            due -= timedelta(days=min(max(missed, 0), MOST_MISSED))
        first, end = max(by_date.start_date, due), min(last, by_date.end_date or last)
        if last < by_date.start_date:
            return dg.SkipReason(f"{feed.name} has no day to import before {by_date.start_date}")
        if first > end:
            return dg.SkipReason(f"{feed.name} has no day to import after {end}")
        tags = {RANGE_START: first.isoformat(), RANGE_END: end.isoformat()}
        return dg.RunRequest(run_key, tags=tags, asset_selection=target)

    return dg.ScheduleDefinition(
        name=name,
        target=dg.AssetSelection.assets(*target),
        cron_schedule=feed.schedule,
        execution_timezone=by_date.timezone if by_date else "UTC",
        execution_fn=request,
        description=_description(feed),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        owners=list(feed.owners),
    )


def _description(feed: Feed) -> str:
    """Describe the schedule for the UI."""
    by_date = feed.partition_by_date
    if by_date is None:
        return f"Imports {feed.name} whole."
    day = "the day" if by_date.include_today else "the day that has ended"
    before = {0: "", 1: " and the one before it"}.get(
        by_date.refetch_days, f" and the {by_date.refetch_days} before it"
    )
    return f"Imports {day}{before} of {feed.name}, and what was missed meanwhile."


def last_day(by_date: PartitionByDate, moment: datetime) -> date:
    """Return the last day at a time: the current one with `include_today`, else the previous."""
    today = moment.astimezone(ZoneInfo(by_date.timezone)).date()
    return today if by_date.include_today else today - timedelta(days=1)


def _last_requested(
    instance: dg.DagsterInstance, schedule: str, moment: datetime
) -> datetime | None:
    """Return the last earlier time at which the schedule requested a run."""
    runs = instance.get_runs(dg.RunsFilter(tags={SCHEDULE: schedule}), limit=_RUNS)
    moments = [datetime.fromisoformat(run.tags[MOMENT]) for run in runs if MOMENT in run.tags]
    return max((each for each in moments if each < moment), default=None)
