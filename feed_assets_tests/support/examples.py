"""Number of examples of a property test: few in each run of the suite, more on request."""

from __future__ import annotations

import os

from hypothesis import settings

TIMES = int(os.environ.get("FEED_ASSETS_TEST_EXAMPLES", "1"))
"""Factor for all of them; with 20, what the suite tries in a minute goes on for twenty."""


def examples(number: int) -> settings:
    """Settings of a test with so many examples; the same ones in each run."""
    return settings(max_examples=number * TIMES)
