"""Freshness in the UI: a feed is fresh if imported since its last scheduled time, or not late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo

import dagster as dg

from feed_assets.alerts.config import LATE_AFTER_HOURS
from feed_assets.config.feed import Feed
from feed_assets.orchestration.dagster_internals import schedule_execution_time_iterator

LATE_AFTER = timedelta(hours=LATE_AFTER_HOURS)
_FROM = datetime(2020, 1, 1, tzinfo=UTC)
_YEARS = timedelta(days=10 * 366)


def freshness_policy(feed: Feed) -> dg.FreshnessPolicy | None:
    """Return the deadline for imports of the feed; None if its last day has passed.

    Like `lateness.py`, except that Dagster looks at the last import of any day.
    """
    by_date = feed.partition_by_date
    if by_date is None:
        return _policy(feed.schedule, "UTC")
    today = datetime.now(ZoneInfo(by_date.timezone)).date()
    if by_date.end_date is not None and by_date.end_date < today:
        return None
    return _policy(feed.schedule, by_date.timezone)


@cache  # Dagster iterates a thousand ticks per policy, and most feeds share one
def _policy(schedule: str, timezone: str) -> dg.FreshnessPolicy:
    """Return a deadline per tick; if cron cannot express it, the longest time between ticks."""
    if deadline := _deadline(schedule):
        return dg.FreshnessPolicy.cron(deadline, LATE_AFTER, timezone)
    ticks = schedule_execution_time_iterator(_FROM.timestamp(), schedule, "UTC")
    within = takewhile(lambda tick: tick < _FROM + _YEARS, (next(ticks) for _ in range(500)))
    longest = max((after - tick for tick, after in pairwise(within)), default=timedelta(366))
    return dg.FreshnessPolicy.time_window(fail_window=longest + LATE_AFTER)


def _deadline(schedule: str) -> str | None:
    """Shift the schedule by LATE_AFTER_HOURS; None if its hours alone do not express that.

    Also None if a tick can come before the previous deadline.
    """
    minute, *rest = schedule.split()
    if not minute.isdecimal() or not rest[0].replace(",", "").isdecimal():
        return None
    hours = sorted({int(hour) for hour in rest[0].split(",")})
    if any(b - a < LATE_AFTER_HOURS for a, b in pairwise([*hours, hours[0] + 24])):
        return None
    later = [hour + LATE_AFTER_HOURS for hour in hours]
    if max(later) >= 24 and rest[1:] != ["*", "*", "*"]:  # past midnight
        return None
    return " ".join([minute, ",".join(str(hour % 24) for hour in later), *rest[1:]])
