"""Advice on columns of text: a declaration that was tried on all of their values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from feed_assets import ndjson
from feed_assets.schema.time_formats import EPOCHS, TimeFormat, parse_format
from feed_assets.schema.type_declarations import Declared

TIMES = ("DATETIME", "TIMESTAMP")
_NULL_LIKE = {"", "-", "--", "n/a", "na", "n.a.", "#n/a", "null", "none", "nil", "nan", "undefined"}
_ZERO_DATE = re.compile(r"(?=(?:[^0]*0){8})[0\-./: TZ]+")
MAY_BE_NULL = r"^\s*(?:[a-z./#]{2,9}|[-0./: tz]*)\s*$"
"""Pattern, in any case, of all texts that `is_null_like` accepts, and few others."""
_DATES = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d"),
    *("%Y%m%d", "%d.%m.%y", "%Y-%m-%d", "%d %b %Y", "%a, %d %b %Y", "%b %d, %Y"),
)
_CLOCKS = (
    *("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", "T%H:%M:%S", "%H%M%S"),
    *(" %I:%M %p", " %I:%M:%S %p", ", %H:%M", ", %H:%M:%S"),
)
_ZONES = ("", "%z", " %z", " %Z")
_PLAUSIBLE = (631_152_000_000_000, 4_102_444_800_000_000)
"""Microseconds of 1990 and 2100: numbers of a day or of an epoch lie between."""


@dataclass(frozen=True)
class Advice:
    """Declaration that fits the values of a column."""

    declared: Declared | None
    """The type to declare; None if it is inferred once `null_values` are null."""
    null_values: tuple[str, ...] = ()
    other: Declared | None = None
    """A different type or format that fits all values as well."""


def advise(texts: Collection[str], types: Sequence[str]) -> Advice | None:
    """Return the first of `types`, or a format of a time among them, that all texts fit.

    Texts that look like a missing value, such as "" and 0000-00-00, may become null.
    """
    values = [text for text in texts if not is_null_like(text)]
    if not values:
        return None
    null_values = tuple(sorted({*texts} - {*values}))
    for name in types:
        if name in TIMES and all(ndjson.is_valid(name, text) for text in values):
            return Advice(None if null_values else name, null_values)
    if found := [each for each in _formats(types) if _fits(each, values)]:
        first, *others = found
        other = next((each for each in others if not _agree(each, first, values)), None)
        return Advice(_declared(first), null_values, _declared(other) if other else None)
    for name in types:
        if all(ndjson.is_valid(name, text) for text in values):
            return Advice(name, null_values)
    return None


def is_null_like(text: str) -> bool:
    """Return whether a text looks like a missing value."""
    return text.strip().lower() in _NULL_LIKE or bool(_ZERO_DATE.fullmatch(text))


def flow_of(declared: Declared) -> str:
    """Write a declaration as YAML on one line."""
    if isinstance(declared, str):
        return declared
    text = declared["format"]
    return f"{{type: {declared['type']}, format: {text if text in EPOCHS else json.dumps(text)}}}"


def null_values_of(values: Collection[str]) -> str:
    """Write null_values as YAML on one line."""
    return f"null_values: {json.dumps(list(values), ensure_ascii=False)}"


def _formats(types: Sequence[str]) -> Iterator[TimeFormat]:
    for date, clock, zone in product(_DATES, _CLOCKS, _ZONES):
        kind = "TIMESTAMP" if zone else "DATETIME"
        if kind in types and (clock or not zone):
            yield parse_format(kind, f"{date}{clock}{zone}")
    if "TIMESTAMP" in types:
        yield from (parse_format("TIMESTAMP", each) for each in EPOCHS)


def _declared(time_format: TimeFormat) -> Declared:
    return {"type": time_format.type, "format": time_format.text}


def _agree(one: TimeFormat, other: TimeFormat, texts: Collection[str]) -> bool:
    return all(one.parse(text) == other.parse(text) for text in texts)


def _fits(time_format: TimeFormat, texts: Collection[str]) -> bool:
    is_number = time_format.epoch or "%Y%m%d" in time_format.text
    is_right: Callable[[int], bool] = _is_plausible if is_number else lambda _: True
    found = (time_format.parse(text) for text in texts)
    return all(each is not None and is_right(each) for each in found)


def _is_plausible(microseconds: int) -> bool:
    return _PLAUSIBLE[0] <= microseconds < _PLAUSIBLE[1]
