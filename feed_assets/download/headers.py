"""Parse response headers. Each function returns None for a missing or invalid header."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_DELAY = 366 * 86_400
"""Seconds. A longer Retry-After is ignored."""
LONGEST_TAG = 1024
"""Characters of an entity tag that is stored and repeated in later requests."""
LONGEST_REASON = 80
"""Characters of a server's text in a message."""

_DATE = re.compile(r"[ -~]{1,64}")
_TAG = re.compile(rf"[!-~\xa1-\xff]{{1,{LONGEST_TAG}}}")
_SECONDS = re.compile(r"[0-9]{1,10}")
_LENGTH = re.compile(r"[0-9]{1,18}")
_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")


@dataclass(frozen=True)
class ContentRange:
    """First byte of a partial response, and the size of the whole body if known."""

    first: int
    total: int | None


def date_of(text: str | None) -> datetime | None:
    """Return the time in a header, with its time zone."""
    if text is None or not _DATE.fullmatch(text):
        return None
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError, IndexError, TypeError):  # the parser raises all of them
        return None
    return found if found.tzinfo else None  # "-0000" has none


def delay(retry_after: str | None, date: str | None) -> float | None:
    """Return the seconds of a Retry-After (RFC 9110, 10.2.3): a number, or a date by its clock."""
    text = (retry_after or "").strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    elif until := date_of(text):
        seconds = max(0.0, (until - (date_of(date) or datetime.now(UTC))).total_seconds())
    else:
        return None
    return seconds if seconds <= LONGEST_DELAY else None


def content_length(text: str | None) -> int | None:
    """Return the size of a body. A repeated length counts once (RFC 9110, 8.6)."""
    lengths = {each.strip() for each in (text or "").split(",")}
    if len(lengths) == 1 and _LENGTH.fullmatch(length := lengths.pop()):
        return int(length)
    return None


def content_range(text: str | None) -> ContentRange | None:
    """Return the range of a partial response (RFC 9110, 14.4)."""
    found = _RANGE.fullmatch(text or "")
    if found is None:
        return None
    return ContentRange(int(found[1]), None if found[2] == "*" else int(found[2]))


def entity_tag(text: str | None) -> str | None:
    """Return the ETag, quoted or not, if it is valid in a request header."""
    return text if text and _TAG.fullmatch(text) else None


def printable(text: str | None, most: int = LONGEST_REASON) -> str:
    """Return a server's text for a message: shortened, control characters replaced."""
    whole = (text or "").strip()
    shown = "".join(each if each.isprintable() else "?" for each in whole[:most])
    return f"{shown}…" if len(whole) > most else shown
