"""Placeholders for the day in a feed's URL: {date}, {date:%Y-%m-%d}, {next_date}."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from urllib.parse import quote
from zoneinfo import ZoneInfo

from feed_assets.urls import PLACEHOLDER, SOURCES, Url

_DEFAULT = "%Y%m%d"
_NAMED = re.compile(r"\{(date|next_date)(?::([^{}]+))?\}")
_DIRECTIVE = re.compile(r"%(:z|-[md]|.?)", re.DOTALL)
_SAFE = "/:,;=-._~"

DIRECTIVES: Mapping[str, Callable[[datetime], str]] = {
    "%Y": lambda day: f"{day.year:04}",
    "%y": lambda day: f"{day.year % 100:02}",
    "%m": lambda day: f"{day.month:02}",
    "%-m": lambda day: f"{day.month}",
    "%d": lambda day: f"{day.day:02}",
    "%-d": lambda day: f"{day.day}",
    "%j": lambda day: f"{day:%j}",
    "%s": lambda day: f"{day.timestamp():.0f}",
    "%:z": lambda day: f"{_offset(day)[:3]}:{_offset(day)[3:]}",
    "%%": lambda day: "%",
}
"""Parts of a format, each with its text for midnight of a day. %s are seconds since 1970."""
KNOWN = (
    "{date} is the day as 20200120, {next_date} the day after, and {date:%Y-%m-%d} the day in "
    f"another format, of {' '.join(DIRECTIVES)}"
)


def has_placeholders(url: str) -> bool:
    """Return True if the URL has anything in braces."""
    return "{" in url or "}" in url


def parse_source(text: str) -> Url:
    """Parse a feed's URL, with placeholders or without. Raises ValueError."""
    return parse_template(text) if has_placeholders(text) else Url.parse(text, schemes=SOURCES)


def parse_template(text: str) -> Url:
    """Parse a URL with placeholders. Raise ValueError for others, or one that is in the host."""
    for found in PLACEHOLDER.findall(text):
        _check(found)
    if has_placeholders(PLACEHOLDER.sub("", text)):
        raise ValueError("has a brace without its other one (write %7B for { and %7D for })")
    url = Url.parse(text, placeholders=True, schemes=SOURCES)
    if "{" not in url.path + (url.query or ""):
        raise ValueError("has a placeholder after #, which is not requested")
    return url


def url_of_day(url: Url, day: date, timezone: str) -> Url:
    """Fill in the placeholders of a parsed template."""
    days: list[str] = []

    def fill_in(placeholder: re.Match[str]) -> str:
        text = quote(_text(placeholder[0], day, timezone), safe=_SAFE)
        days.append(text)
        return text

    path = PLACEHOLDER.sub(fill_in, url.path)
    query = None if url.query is None else PLACEHOLDER.sub(fill_in, url.query)
    return replace(url, path=path, query=query, public=tuple(days), template=str(url))


def _check(placeholder: str) -> None:
    """Raise ValueError for an unknown placeholder, without a quote: it may be a secret."""
    found = _NAMED.fullmatch(placeholder)
    if found is None:
        raise ValueError(f"has a text in braces that is not a placeholder for the day: {KNOWN}")
    for directive in _DIRECTIVE.findall(found[2] or _DEFAULT):
        if f"%{directive}" not in DIRECTIVES:
            raise ValueError(f"has %{directive} in a placeholder, which is not known: {KNOWN}")


def _offset(day: datetime) -> str:
    return f"{day:%z}"[:5]  # before 1937 some zones had seconds, which no API reads


def _text(placeholder: str, day: date, timezone: str) -> str:
    found = _NAMED.fullmatch(placeholder)
    assert found is not None  # parse_template has checked it
    meant = day + timedelta(found[1] == "next_date")
    midnight = datetime(meant.year, meant.month, meant.day, tzinfo=ZoneInfo(timezone))
    return _DIRECTIVE.sub(lambda each: DIRECTIVES[each[0]](midnight), found[2] or _DEFAULT)
