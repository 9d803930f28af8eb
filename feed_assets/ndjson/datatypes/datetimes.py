"""Parse dates and times to microseconds.

The grammar is strict ISO 8601, extended format, in ASCII digits:

    date       YYYY-MM-DD
    date-time  YYYY-MM-DD[T ]HH:MM[:SS[.fraction]]
    zoned      a date-time directly followed by Z, ±HH:MM, ±HHMM or ±HH
    time       HH:MM[:SS[.fraction]], only where it is declared

Years are 0001 to 9999, also after conversion to UTC; days exist in the calendar; hours are 00 to 23
and seconds 00 to 59, so neither 24:00 nor a leap second. Everything else is text: 20200120 (ids
look like that), a week or ordinal date, a date with a zone, a small t or z, a comma before the
fraction.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d"
    r"(?:[T ](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?"
    r"(?:Z|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)?)?",
    re.ASCII,
)
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:\.(\d+))?)?", re.ASCII)
_DATE_LENGTH = len("2020-01-20")
_NAIVE_EPOCH = datetime(1970, 1, 1)  # a DATETIME has no zone
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_datetime(text: str) -> datetime | None:
    """Parse a date or date-time: in UTC if it has a zone, else naive; None for other text.

    A date becomes its midnight. Fractions of a second are truncated to microseconds.
    """
    if _MOMENT.fullmatch(text) is None:
        return None
    try:
        # fromisoformat accepts more than the grammar above; the pattern has rejected that.
        found = datetime.fromisoformat(text)
        return found if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):  # no such day; a year outside 1 to 9999 once in UTC
        return None


def parse_date(text: str) -> date | None:
    """Parse a date without a time; None for other text."""
    if len(text) != _DATE_LENGTH:
        return None
    found = parse_datetime(text)
    return found.date() if found else None


def parse_time(text: str) -> int | None:
    """Parse a time to microseconds since midnight, truncated; None for other text."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    hours, minutes, seconds, fraction = found.groups(default="0")
    whole = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    return whole * 1_000_000 + int(fraction[:6].ljust(6, "0"))


def microseconds(found: datetime) -> int:
    """Return microseconds since 1970-01-01, in UTC or, for a naive datetime, in its own clock."""
    since = found - (_EPOCH if found.tzinfo else _NAIVE_EPOCH)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
