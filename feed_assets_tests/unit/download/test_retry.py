"""Retries: which failures, after how long, and how often."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from feed_assets.backoff import JITTER
from feed_assets.config.feed import Feed
from feed_assets.download.cancellation import Transfer
from feed_assets.download.retry import Attempts
from feed_assets.errors import AccessRefused, DownloadError, NotReady, ServerFailed

LOG = logging.LoggerAdapter(logging.getLogger("feed_assets"))


@dataclass
class Waits:
    """A download that records its waits and does not wait."""

    remaining: float = 7200.0
    waits: list[float] = field(default_factory=list)
    first_response: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.remaining -= seconds


def attempts(waits: Waits, **attributes: Any) -> Attempts:
    feed = Feed(name="orders", url="https://example.com/f", dataset="crm", **attributes)
    return Attempts(feed, cast("Transfer", waits), LOG)


def busy(retry_after: float | None = None) -> DownloadError:
    return ServerFailed("is busy", url="", status=503, retry_after=retry_after)


def test_waits_double_and_a_part_of_each_is_random() -> None:
    waits = Waits()
    counted = attempts(waits, max_attempts=6, retry_wait=2)
    for _ in range(5):
        counted.wait_before_next(busy())
    for wait, longest in zip(waits.waits, [2, 4, 8, 16, 32], strict=True):
        assert longest * (1 - JITTER) <= wait <= longest


def test_no_wait_is_longer_than_max_retry_wait() -> None:
    waits = Waits()
    counted = attempts(waits, max_attempts=40, retry_wait=100, max_retry_wait=300)
    for _ in range(10):
        counted.wait_before_next(busy())
    assert max(waits.waits) <= 300


def test_the_wait_stays_at_its_limit_for_as_many_attempts_as_a_feed_may_have() -> None:
    waits = Waits(remaining=1e9)
    counted = attempts(waits, max_attempts=1_000, retry_wait=1)
    for _ in range(999):
        counted.wait_before_next(busy())
    assert waits.waits[-1] <= 300


def test_the_error_after_max_attempts_has_their_number() -> None:
    waits = Waits()
    counted = attempts(waits, max_attempts=3)
    counted.wait_before_next(busy())
    counted.wait_before_next(busy())
    with pytest.raises(ServerFailed, match=r"^is busy; try again later \(3 attempts\)$"):
        counted.wait_before_next(busy())
    assert len(waits.waits) == 2


def test_a_permanent_error_is_not_retried() -> None:
    waits = Waits()
    with pytest.raises(AccessRefused):
        attempts(waits).wait_before_next(AccessRefused("no", url="", status=401))
    assert waits.waits == []


@pytest.mark.parametrize("asked", [7.0, 300.0])
def test_a_longer_retry_after_lengthens_the_wait(asked: float) -> None:
    waits = Waits()
    attempts(waits).wait_before_next(busy(asked))
    assert waits.waits == [asked]


def test_a_shorter_retry_after_does_not_shorten_the_wait() -> None:
    waits = Waits()
    attempts(waits, retry_wait=10).wait_before_next(busy(0.0))
    assert waits.waits[0] >= 5


@pytest.mark.parametrize(
    ("asked", "remaining"), [(301.0, 7200.0), (60.0, 59.0)], ids=["too long", "beyond its time"]
)
def test_a_wait_that_would_hold_the_run_too_long_is_not_begun(
    asked: float, remaining: float
) -> None:
    waits = Waits(remaining)
    with pytest.raises(ServerFailed, match=r"try again later$"):
        attempts(waits).wait_before_next(busy(asked))
    assert waits.waits == []


def not_ready(retry_after: float | None = None) -> NotReady:
    return NotReady("answered 202", url="", status=202, retry_after=retry_after)


def test_a_feed_that_is_not_ready_is_requested_until_the_time_limit() -> None:
    waits = Waits(remaining=100)
    counted = attempts(waits, max_attempts=1, download_timeout=100)
    for _ in range(9):
        counted.wait_before_next(not_ready(10))
    with pytest.raises(NotReady, match=r"download_timeout \(100 s\) is over .*\(10 attempts\)"):
        counted.wait_before_next(not_ready(10))
    assert waits.waits == [10] * 9


def test_without_retry_after_the_waits_for_a_feed_that_is_not_ready_double() -> None:
    waits = Waits()
    counted = attempts(waits, retry_wait=2, max_retry_wait=8)
    for _ in range(4):
        counted.wait_before_next(not_ready())
    for wait, longest in zip(waits.waits, [2, 4, 8, 8], strict=True):
        assert longest * (1 - JITTER) <= wait <= longest


def test_waiting_until_a_feed_is_ready_uses_up_no_attempts() -> None:
    waits = Waits()
    counted = attempts(waits, max_attempts=2)
    for _ in range(5):
        counted.wait_before_next(not_ready())
    counted.wait_before_next(busy())
    with pytest.raises(ServerFailed):
        counted.wait_before_next(busy())
