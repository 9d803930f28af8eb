"""Exponential backoff with jitter."""

from __future__ import annotations

import random

JITTER = 0.5
"""Random share of a wait, so that clients that failed together do not retry together."""
_DOUBLINGS = 64


def backoff(first: float, failures: int, *, longest: float) -> float:
    """Return the seconds to wait after this number of consecutive failures.

    The wait is `first` seconds, doubled per failure, at most `longest`, minus up to half at random.
    """
    wait = first * 2.0 ** min(failures - 1, _DOUBLINGS)
    return min(wait, longest) * random.uniform(1 - JITTER, 1)  # noqa: S311  no secret
