"""Log lines about the progress of a run of many days."""

from __future__ import annotations

import logging
import time

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]
FEW = 31
"""Most days of a run that logs a line for every day."""
EVERY = 5.0
"""Seconds between two lines of a longer run."""


class Progress:
    """Count the days of a run and log its progress."""

    def __init__(self, log: Log, days: int) -> None:
        self._log, self._days = log, days
        self._done = self._failed = self._rows = 0
        self._began, self._logged = time.monotonic(), float("-inf")

    def stored(self, rows: int, summary: str) -> None:
        """Count a day that is stored; log a line, unless there are many."""
        self._done, self._rows = self._done + 1, self._rows + rows
        now = time.monotonic()
        if self._days <= FEW or not self._left or now - self._logged >= EVERY:
            self._logged = now
            self._log.info(self._so_far(now) + summary)

    def failed(self, summary: str) -> None:
        """Count a day that failed, and always log it."""
        self._failed += 1
        self._log.error(self._so_far(time.monotonic()) + summary)

    @property
    def _left(self) -> int:
        return self._days - self._done - self._failed

    def _so_far(self, now: float) -> str:
        if self._days == 1:
            return ""
        seconds = max(now - self._began, 1e-3)
        over = self._done + self._failed
        parts = [f"{over} of {self._days} days"]
        parts += [f"{self._failed} failed"] if self._failed else []
        if self._rows:  # without rows, neither the rate nor the rest can be known
            parts += [f"{self._rows:,} rows", f"{self._rows / seconds:,.0f} rows/s"]
            parts += [f"{_time(seconds / over * self._left)} left"] if self._left else []
        return f"{', '.join(parts)}: "


def _time(seconds: float) -> str:
    """Format a duration: 45 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
