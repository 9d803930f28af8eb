"""Ticks of a feed's schedule, and the days that each imports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from feed_assets.config.feed import Feed
from feed_assets.orchestration.assets import IO_MANAGER, feed_asset
from feed_assets.orchestration.feed_attributes import FeedAttributes
from feed_assets.orchestration.schedules import (
    MOMENT,
    MOST_MISSED,
    RANGE_END,
    RANGE_START,
    SCHEDULE,
    feed_schedule,
)

_instance: dg.DagsterInstance


@pytest.fixture(scope="module", autouse=True)
def instance() -> Iterator[dg.DagsterInstance]:
    """The instance of `tick` and `walk`, created once: its database takes longest to create."""
    global _instance
    with dg.DagsterInstance.local_temp() as _instance:
        yield _instance


@pytest.fixture(autouse=True)
def without_runs(instance: dg.DagsterInstance) -> None:
    instance.run_storage.wipe()


def tick(moment: str, timezone: str = "UTC", **attributes: Any) -> dg.RunRequest | dg.SkipReason:
    """Return the requests of the schedule at a time in its time zone."""
    feed = Feed(name="orders", url="https://example.com/feed", dataset="crm", **attributes)
    at = datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(timezone))
    resources = {IO_MANAGER: dg.mem_io_manager}
    defs = dg.Definitions([feed_asset(feed)], [feed_schedule(feed)], resources=resources)
    with dg.build_schedule_context(
        _instance, scheduled_execution_time=at, repository_def=defs.get_repository_def()
    ) as context:
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


@pytest.mark.parametrize(
    ("by_date", "description"),
    [
        (None, "Imports orders whole."),
        ({}, "Imports the day and the one before it of orders, and what was missed meanwhile."),
        (
            {"refetch_days": 3, "include_today": False},
            "Imports the day that has ended and the 3 before it of orders, and what was missed "
            "meanwhile.",
        ),
        ({"refetch_days": 0}, "Imports the day of orders, and what was missed meanwhile."),
    ],
)
def test_a_schedule_describes_its_imports(by_date: dict[str, Any] | None, description: str) -> None:
    declared = None if by_date is None else {"start_date": "2020-01-01", **by_date}
    feed = Feed(
        name="orders",
        url="https://example.com/feed",
        dataset="crm",
        partition_by_date=declared,
    )

    assert feed_schedule(feed).description == description


def test_before_its_first_day_a_feed_is_not_imported() -> None:
    skipped = tick("2019-12-31T05:00", partition_by_date={"start_date": "2020-01-01"})

    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == "orders has no day to import before 2020-01-01"


def test_after_its_last_day_a_feed_is_not_imported() -> None:
    by_date = {"start_date": "2020-01-01", "end_date": "2020-01-20"}

    last = tick("2020-01-20T05:00", partition_by_date=by_date)
    again = tick("2020-01-21T05:00", partition_by_date=by_date)  # when the last day is complete
    skipped = tick("2020-01-22T05:00", partition_by_date=by_date)

    assert isinstance(last, dg.RunRequest)
    assert last.tags[RANGE_END] == "2020-01-20"
    assert isinstance(again, dg.RunRequest)
    assert (again.tags[RANGE_START], again.tags[RANGE_END]) == ("2020-01-20", "2020-01-20")
    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == "orders has no day to import after 2020-01-20"


def test_a_snapshot_is_imported_whole() -> None:
    request = tick("2020-01-20T05:00")

    assert isinstance(request, dg.RunRequest)
    assert RANGE_START not in request.tags


BERLIN = "Europe/Berlin"


def walk(
    since: str,
    until: str,
    *,
    down: tuple[str, str] = ("", ""),
    cron: str = "0 5 * * *",
    **by_date: Any,
) -> list[tuple[str, str, str]]:
    """The day of each tick that requested a run, and the days it is for.

    As Dagster has it: of the ticks while the daemon was down, it makes up for the last.
    """
    by_date = {"start_date": "2020-01-01", **by_date}
    timezone = by_date.get("timezone", "UTC")
    feed = Feed(
        name="orders",
        url="https://example.com/feed",
        dataset="crm",
        schedule=cron,
        partition_by_date=by_date,
    )
    resources = {IO_MANAGER: dg.mem_io_manager}
    defs = dg.Definitions([feed_asset(feed)], [feed_schedule(feed)], resources=resources)
    schedule = defs.resolve_schedule_def("orders_schedule")
    requested = []
    for moment in moments(cron, timezone, since, until, down):
        with dg.build_schedule_context(
            _instance,
            scheduled_execution_time=moment,
            repository_def=defs.get_repository_def(),
        ) as context:
            found = schedule.evaluate_tick(context)
        for request in found.run_requests or ():
            first, last = request.tags[RANGE_START], request.tags[RANGE_END]
            requested.append((moment.date().isoformat(), first, last))
            tags = {MOMENT: moment.astimezone(UTC).isoformat(), SCHEDULE: schedule.name}
            _instance.add_run(dg.DagsterRun("orders", tags={**request.tags, **tags}))
    return requested


def moments(
    cron: str, timezone: str, since: str, until: str, down: tuple[str, str]
) -> Sequence[datetime]:
    start = datetime.fromisoformat(since).replace(tzinfo=ZoneInfo(timezone)).timestamp()
    found: list[datetime] = []
    for moment in schedule_execution_time_iterator(start, cron, timezone):
        if (day := moment.date().isoformat()) > until:
            break
        made_up_for = bool(found) and down[0] < found[-1].date().isoformat() and day <= down[1]
        found[-1 if made_up_for else len(found) :] = [moment]
    return found


def test_each_day_is_imported_on_that_day_and_once_more_when_it_has_ended() -> None:
    assert walk("2020-02-27", "2020-03-02") == [
        ("2020-02-27", "2020-02-26", "2020-02-27"),
        ("2020-02-28", "2020-02-27", "2020-02-28"),
        ("2020-02-29", "2020-02-28", "2020-02-29"),
        ("2020-03-01", "2020-02-29", "2020-03-01"),
        ("2020-03-02", "2020-03-01", "2020-03-02"),
    ]


@pytest.mark.parametrize(
    ("since", "until"), [("2020-03-27", "2020-03-31"), ("2020-10-23", "2020-10-27")]
)
def test_when_clocks_change_at_the_schedules_hour_each_day_is_imported_once(
    since: str, until: str
) -> None:
    found = walk(since, until, cron="30 2 * * *", timezone=BERLIN, refetch_days=0)

    days = [f"{since[:8]}{day:02}" for day in range(int(since[8:]), int(until[8:]) + 1)]
    assert found == [(day, day, day) for day in days]


def test_days_missed_while_the_daemon_was_down_are_imported_once() -> None:
    found = walk("2020-02-24", "2020-03-05", down=("2020-02-26", "2020-03-04"))

    assert found == [
        ("2020-02-24", "2020-02-23", "2020-02-24"),
        ("2020-02-25", "2020-02-24", "2020-02-25"),
        ("2020-02-26", "2020-02-25", "2020-02-26"),
        ("2020-03-04", "2020-02-26", "2020-03-04"),  # the 26th was not over then
        ("2020-03-05", "2020-03-04", "2020-03-05"),
    ]


def test_missed_days_are_imported_also_without_the_day_that_has_begun() -> None:
    down = ("2020-01-10", "2020-01-17")
    found = walk("2020-01-10", "2020-01-18", down=down, include_today=False, refetch_days=0)

    assert found == [
        ("2020-01-10", "2020-01-09", "2020-01-09"),
        ("2020-01-17", "2020-01-10", "2020-01-16"),
        ("2020-01-18", "2020-01-17", "2020-01-17"),
    ]


def test_days_missed_before_the_feeds_end_are_imported_after_it() -> None:
    found = walk(
        "2020-01-18", "2020-01-27", down=("2020-01-18", "2020-01-25"), end_date="2020-01-20"
    )

    assert found == [
        ("2020-01-18", "2020-01-17", "2020-01-18"),
        ("2020-01-25", "2020-01-18", "2020-01-20"),
    ]


def test_a_tick_catches_up_a_month_and_reports_the_days_it_leaves(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    found = walk("2020-01-10", "2020-06-01", down=("2020-01-10", "2020-06-01"), refetch_days=0)

    logged = "".join(capfd.readouterr()) + caplog.text
    assert "orders was not imported since 2020-01-11; the last 31 missed days" in logged
    assert MOST_MISSED == 31
    assert found[1:] == [("2020-06-01", "2020-05-01", "2020-06-01")]


def test_a_schedule_that_is_not_daily_imports_all_days_since() -> None:
    assert walk("2020-01-06", "2020-01-13", cron="0 5 * * 1", refetch_days=0) == [
        ("2020-01-06", "2020-01-06", "2020-01-06"),
        ("2020-01-13", "2020-01-07", "2020-01-13"),
    ]


def test_a_schedule_several_times_a_day_imports_the_same_days_each_time() -> None:
    assert walk("2020-01-06", "2020-01-06", cron="0 6,18 * * *") == [
        ("2020-01-06", "2020-01-05", "2020-01-06"),
        ("2020-01-06", "2020-01-05", "2020-01-06"),
    ]


def test_no_day_before_the_first_day_of_a_feed_is_imported() -> None:
    assert walk("2019-12-30", "2020-01-02", refetch_days=3) == [
        ("2020-01-01", "2020-01-01", "2020-01-01"),
        ("2020-01-02", "2020-01-01", "2020-01-02"),
    ]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"schedule": "61 * * * *"}, "schedule\n.*'61 \\* .*is not a cron expression that Dagster"),
        ({"schedule": "daily"}, "schedule\n.*'daily' is not a cron expression"),
        ({"schedule": "* * * * * *"}, "is not a cron expression"),  # with seconds
        ({"schedule": "0 5 30 2 *"}, "is not a cron expression"),
        ({"schedule": "0 5 31 4 *"}, "names a day that does not exist"),
        ({"partition_by_date": {"start_date": "9999-01-01"}}, "start_date 9999-01-01 is in the f"),
    ],
)
def test_a_schedule_that_would_never_run_is_refused_by_its_field(
    attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FeedAttributes(name="orders", url="https://example.com/f", dataset="crm", **attributes)


@pytest.mark.parametrize("cron", ["0 5 * * *", "@daily", "0 5 29 2 *", "0 5 * * MON-FRI"])
def test_a_schedule_that_dagster_can_run_is_accepted(cron: str) -> None:
    declared = {
        "name": "orders",
        "url": "https://example.com/f",
        "dataset": "crm",
        "schedule": cron,
    }

    assert FeedAttributes(**declared).fingerprint == Feed(**declared).fingerprint
