"""The first feeds of the fuzzer; run it longer by hand."""

from __future__ import annotations

import pytest

from feed_assets_tests.support.examples import TIMES
from feed_assets_tests.unit.ndjson import fuzz


@pytest.mark.parametrize("seed", range(20 * TIMES))
def test_both_ways_through_a_feed_give_the_same_result(seed: int) -> None:
    fuzz.check(seed)
