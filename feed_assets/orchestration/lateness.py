"""Lateness of a feed: not imported some hours after its last scheduled time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import dagster as dg

from feed_assets.config.feed import Feed
from feed_assets.orchestration.dagster_internals import reverse_cron_string_iterator
from feed_assets.orchestration.schedules import last_day


@dataclass(frozen=True)
class Due:
    """A due import: its scheduled time, and its day ("" for a snapshot)."""

    moment: datetime
    day: str


def last_due(feed: Feed, now: datetime) -> Due | None:
    """Return the import last due by the schedule; None outside the feed's days."""
    by_date = feed.partition_by_date
    timezone = by_date.timezone if by_date else "UTC"
    times = reverse_cron_string_iterator(now.timestamp(), feed.schedule, timezone)
    moment = next(time for time in times if time <= now)
    if by_date is None:
        return Due(moment, "")
    day = last_day(by_date, moment)
    if day < by_date.start_date or (by_date.end_date is not None and day > by_date.end_date):
        return None
    return Due(moment, day.isoformat())


def is_late(due: Due, last: datetime | None) -> bool:
    """Return whether there was no import since the due time."""
    return last is None or last < due.moment


def last_import_time(instance: dg.DagsterInstance, feed: Feed, day: str = "") -> datetime | None:
    """Return the time of the last import of a feed or of one of its days."""
    chosen = dg.AssetRecordsFilter(dg.AssetKey(feed.name), [day] if day else None)
    records = instance.fetch_materializations(chosen, limit=1).records
    if not records:
        return None
    timezone = feed.partition_by_date.timezone if feed.partition_by_date else "UTC"
    return datetime.fromtimestamp(records[0].timestamp, ZoneInfo(timezone))
