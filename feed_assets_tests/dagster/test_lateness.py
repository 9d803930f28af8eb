"""A feed is late by its schedule and its last import, at given times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from feed_assets.config.feed import Feed
from feed_assets.orchestration.lateness import is_late, last_due

BERLIN = {"start_date": "2020-01-10", "timezone": "Europe/Berlin"}


def feed(schedule: str = "0 5 * * *", **by_date: Any) -> Feed:
    return Feed(
        name="orders",
        url="https://example.com/feed",
        dataset="crm",
        schedule=schedule,
        partition_by_date=by_date or None,
    )


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("declared", "now", "moment", "day"),
    [
        (feed(), "2024-05-02 04:59", "2024-05-01 05:00", ""),
        (feed(), "2024-05-02 05:00", "2024-05-02 05:00", ""),
        (feed("0 * * * *"), "2024-05-02 04:59", "2024-05-02 04:00", ""),
        (feed("0 5 * * 1"), "2024-05-02 12:00", "2024-04-29 05:00", ""),
        (feed("0 5 29 2 *"), "2027-05-02 12:00", "2024-02-29 05:00", ""),
        (feed(**BERLIN), "2024-05-02 02:59", "2024-05-01 03:00", "2024-05-01"),
        (feed(**BERLIN), "2024-05-02 03:00", "2024-05-02 03:00", "2024-05-02"),
        (feed(**BERLIN), "2024-03-30 04:00", "2024-03-30 04:00", "2024-03-30"),
        (feed(**BERLIN), "2024-03-31 03:00", "2024-03-31 03:00", "2024-03-31"),  # summer begins
        (feed(**BERLIN), "2024-10-27 04:00", "2024-10-27 04:00", "2024-10-27"),  # and ends
        (
            feed("30 23 * * *", **BERLIN),
            "2024-05-01 23:00",
            "2024-05-01 21:30",
            "2024-05-01",
        ),
        (
            feed("30 0 * * *", include_today=False, **BERLIN),
            "2024-02-29 23:00",
            "2024-02-28 23:30",
            "2024-02-28",
        ),
        (
            feed("30 0 * * *", include_today=False, **BERLIN),
            "2024-02-29 23:30",
            "2024-02-29 23:30",
            "2024-02-29",
        ),
    ],
)
def test_the_last_import_that_is_due_by_the_schedule(
    declared: Feed, now: str, moment: str, day: str
) -> None:
    due = last_due(declared, at(now))
    assert due is not None
    assert (due.moment, due.day) == (at(moment), day)


@pytest.mark.parametrize(
    ("declared", "now"),
    [
        (feed(**BERLIN), "2020-01-09 12:00"),
        (feed(include_today=False, **BERLIN), "2020-01-10 12:00"),
        (feed(end_date="2020-01-20", **BERLIN), "2020-01-21 12:00"),
    ],
)
def test_before_a_feed_begins_and_after_it_has_ended_nothing_is_due(
    declared: Feed, now: str
) -> None:
    assert last_due(declared, at(now)) is None


@pytest.mark.parametrize(
    ("last", "late"),
    [
        (None, True),
        ("2024-05-01 23:59", True),
        ("2024-05-02 05:00", False),
        ("2024-05-02 07:00", False),
    ],
)
def test_a_feed_is_late_without_an_import_since_it_was_due(last: str | None, late: bool) -> None:
    due = last_due(feed(), at("2024-05-02 08:00"))
    assert due is not None
    assert is_late(due, at(last) if last else None) is late
