"""Waits double up to a limit, and a part of each is random."""

from __future__ import annotations

import sys

import pytest

from feed_assets.backoff import JITTER, backoff


@pytest.mark.parametrize(
    ("first", "failures", "longest", "wait"),
    [
        (2, 1, 300, 2),
        (2, 2, 300, 4),
        (2, 5, 300, 32),
        (100, 3, 300, 300),
        (400, 1, 300, 300),
        (60, 16, 3600, 3600),
        (1, 1_025, 300, 300),
        (1, 10**9, 300, 300),
        (1e-300, 10**9, 300, 1e-300 * 2**64),
        (sys.float_info.max, 1_025, 300, 300),
        (0, 1_025, 300, 0),
        (1, 1_025, 0, 0),
    ],
)
def test_a_wait_doubles_with_each_failure_up_to_the_longest(
    first: float, failures: int, longest: float, wait: float
) -> None:
    for _ in range(20):
        assert wait * (1 - JITTER) <= backoff(first, failures, longest=longest) <= wait


def test_waits_differ_so_that_clients_do_not_retry_together() -> None:
    assert len({backoff(60, 99, longest=60) for _ in range(20)}) > 1
