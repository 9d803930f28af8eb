"""Ranges of days: to name them in a message, and to store many in little space."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

DAY = timedelta(days=1)


def spans(days: Iterable[str]) -> Sequence[tuple[date, date]]:
    """Return the first and last day of each unbroken range of days (YYYY-MM-DD, any order)."""
    found: list[tuple[date, date]] = []
    for day in sorted({date.fromisoformat(text) for text in days}):
        if found and day - found[-1][1] == DAY:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def between(first: str, last: str) -> Sequence[str]:
    """Return every day from the first to the last, both included, as YYYY-MM-DD."""
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [(start + DAY * number).isoformat() for number in range((end - start).days + 1)]


def pack(items: Iterable[str]) -> tuple[str, ...]:
    """Write days as ISO 8601 intervals (`2024-05-01/2024-05-07`); keep other items unchanged."""
    found = set(items)
    days = {item for item in found if is_day(item)}
    stretches = (str(first) if first == last else f"{first}/{last}" for first, last in spans(days))
    return (*sorted(found - days), *stretches)


def unpack(items: Iterable[str]) -> set[str]:
    """Return the items that `pack` was called with."""
    found: set[str] = set()
    for item in items:
        first, slash, last = item.partition("/")
        found.update(between(first, last) if slash and is_day(first) else [item])
    return found


def is_day(text: str) -> bool:
    """Return whether the text is a day written YYYY-MM-DD."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
