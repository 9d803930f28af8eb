"""Freshness of a feed in the UI, by Dagster's own evaluation at given times."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._core.definitions.freshness_evaluator import FRESHNESS_EVALUATORS_BY_POLICY_TYPE
from dagster._core.loader import LoadingContext
from dagster._core.test_utils import freeze_time

from feed_assets.config.feed import Feed
from feed_assets.orchestration.assets import feed_asset
from feed_assets.orchestration.freshness import freshness_policy
from feed_assets.orchestration.lateness import is_late, last_due
from feed_assets_tests.dagster.test_lateness import feed
from feed_assets_tests.support.dagster.instances import ephemeral_instance

BERLIN = {"start_date": "2020-01-01", "timezone": "Europe/Berlin"}
LATE_AFTER = timedelta(hours=3)


def state(declared: Feed, imported: datetime, now: datetime) -> str:
    """Return the state that Dagster's daemon finds for a feed with that last import."""
    (spec,) = feed_asset(declared).specs
    policy = spec.freshness_policy
    assert policy is not None
    with ephemeral_instance() as instance:
        with freeze_time(imported):
            instance.report_runless_asset_event(dg.AssetMaterialization("orders"))
        with freeze_time(now):
            node = SimpleNamespace(key=spec.key, freshness_policy_or_from_metadata=policy)
            context = cast("LoadingContext", _Loading(instance))
            evaluator = FRESHNESS_EVALUATORS_BY_POLICY_TYPE[type(policy)]()
            found = asyncio.run(evaluator.evaluate_freshness(context, cast("Any", node)))
    return found.value


class _Loading(LoadingContext):
    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance, self._loaders = instance, dict[Any, Any]()

    @property
    def instance(self) -> dg.DagsterInstance:
        return self._instance

    @property
    def loaders(self) -> dict[Any, Any]:
        return self._loaders


@pytest.mark.parametrize(
    ("schedule", "imported", "now", "fresh"),
    [
        ("0 5 * * *", "2020-01-20T05:10", "2020-01-21T07:59", True),  # it has until eight
        ("0 5 * * *", "2020-01-20T05:10", "2020-01-21T08:01", False),
        ("0 5 * * *", "2020-01-21T08:30", "2020-01-21T08:31", True),
        ("0 5 * * *", "2020-03-28T05:10", "2020-03-29T08:01", False),  # clocks went forward
        ("0 5 * * *", "2020-10-25T05:10", "2020-10-25T08:01", True),  # and back
        ("0 23 * * *", "2020-01-19T23:10", "2020-01-21T01:59", True),
        ("0 23 * * *", "2020-01-19T23:10", "2020-01-21T02:01", False),
        ("0 6 * * 1-5", "2020-01-24T06:10", "2020-01-27T08:59", True),  # over the weekend
        ("0 6 * * 1-5", "2020-01-24T06:10", "2020-01-27T09:01", False),
        ("0 6,18 * * *", "2020-01-20T06:10", "2020-01-20T21:01", False),
    ],
)
def test_a_feed_is_stale_when_alerts_call_it_late(
    schedule: str, imported: str, now: str, fresh: bool
) -> None:
    declared = feed(schedule, **BERLIN)
    zone = ZoneInfo("Europe/Berlin")
    last, at = (datetime.fromisoformat(text).replace(tzinfo=zone) for text in (imported, now))

    assert state(declared, last, at) == ("PASS" if fresh else "FAIL")
    due = last_due(declared, at - LATE_AFTER)
    assert due is not None
    assert is_late(due, last) is not fresh


@pytest.mark.parametrize(
    ("schedule", "hours"),
    [
        ("@daily", 24),
        ("0 * * * *", 1),
        ("*/10 * * * *", 1 / 6),
        ("0 22 * * 1-5", 72),  # the deadline is on another weekday
        ("0 5,6 * * *", 23),  # the ticks are less than three hours apart
        ("0 22 29 2 *", (3 * 365 + 366) * 24),
    ],
)
def test_a_deadline_that_cron_cannot_express_is_the_longest_wait(
    schedule: str, hours: float
) -> None:
    window = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=hours) + LATE_AFTER)

    assert freshness_policy(feed(schedule)) == window


def test_a_feed_that_has_ended_is_neither_fresh_nor_stale() -> None:
    assert freshness_policy(feed(start_date="2020-01-01", end_date="2020-01-31")) is None
