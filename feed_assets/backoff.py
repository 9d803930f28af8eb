"""How long to wait before trying again."""

from __future__ import annotations

import random

JITTER = 0.5
"""Share of a wait that is random, so that clients that failed together do not return together."""
_DOUBLINGS = 64


def backoff(first: float, failures: int, *, longest: float) -> float:
    """Seconds to wait after so many failures in a row.

    `first` seconds after the first failure, twice as long after each further one, and never more
    than `longest`; up to half of the wait is left out at random.
    """
    wait = first * 2.0 ** min(failures - 1, _DOUBLINGS)
    return min(wait, longest) * random.uniform(1 - JITTER, 1)  # noqa: S311  no secret
