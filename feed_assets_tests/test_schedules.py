"""When a feed is imported, and which days."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from feed_assets.feed import Feed
from feed_assets.orchestration.assets import IO_MANAGER, feed_asset
from feed_assets.orchestration.schedules import RANGE_END, RANGE_START, feed_schedule


def tick(moment: str, timezone: str = "UTC", **attributes: Any) -> dg.RunRequest | dg.SkipReason:
    """What the schedule asks for at a moment of its time zone."""
    feed = Feed(name="orders", url="https://example.com/feed", dataset="crm", **attributes)
    at = datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(timezone))
    resources = {IO_MANAGER: dg.mem_io_manager}
    defs = dg.Definitions([feed_asset(feed)], [feed_schedule(feed)], resources=resources)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_schedule_context(
            instance, scheduled_execution_time=at, repository_def=defs.get_repository_def()
        ) as context,
    ):
        found = defs.resolve_schedule_def("orders_schedule").evaluate_tick(context)
    if not found.run_requests:
        return dg.SkipReason(found.skip_message)
    (request,) = found.run_requests
    return request


@pytest.mark.parametrize(
    ("moment", "by_date", "first", "last"),
    [
        ("2020-01-20T05:00", {}, "2020-01-19", "2020-01-20"),
        ("2020-01-20T05:00", {"refetch_days": 0}, "2020-01-20", "2020-01-20"),
        ("2020-01-20T05:00", {"refetch_days": 3}, "2020-01-17", "2020-01-20"),
        ("2020-01-20T05:00", {"include_today": False}, "2020-01-18", "2020-01-19"),
        ("2020-03-01T05:00", {}, "2020-02-29", "2020-03-01"),
        ("2020-01-01T05:00", {}, "2020-01-01", "2020-01-01"),  # the first day has none before it
        ("2020-03-29T05:00", {"timezone": "Europe/Berlin"}, "2020-03-28", "2020-03-29"),
        ("2020-10-25T05:00", {"timezone": "Europe/Berlin"}, "2020-10-24", "2020-10-25"),
        ("2020-01-20T00:30", {"timezone": "Europe/Berlin"}, "2020-01-19", "2020-01-20"),
        ("2020-01-20T23:30", {"timezone": "America/New_York"}, "2020-01-19", "2020-01-20"),
    ],
)
def test_a_day_is_imported_with_those_before_it(
    moment: str, by_date: dict[str, Any], first: str, last: str
) -> None:
    timezone = by_date.get("timezone", "UTC")
    declared = {"start_date": "2020-01-01", **by_date}

    request = tick(moment, timezone, partition_by_date=declared)

    assert isinstance(request, dg.RunRequest)
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == (first, last)


def test_before_its_first_day_a_feed_is_not_imported() -> None:
    skipped = tick("2019-12-31T05:00", partition_by_date={"start_date": "2020-01-01"})

    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == "orders has no day to import before 2020-01-01"


def test_after_its_last_day_a_feed_is_not_imported() -> None:
    by_date = {"start_date": "2020-01-01", "end_date": "2020-01-20"}

    last = tick("2020-01-20T05:00", partition_by_date=by_date)
    skipped = tick("2020-01-21T05:00", partition_by_date=by_date)

    assert isinstance(last, dg.RunRequest)
    assert last.tags[RANGE_END] == "2020-01-20"
    assert isinstance(skipped, dg.SkipReason)


def test_a_snapshot_is_imported_whole() -> None:
    request = tick("2020-01-20T05:00")

    assert isinstance(request, dg.RunRequest)
    assert RANGE_START not in request.tags
