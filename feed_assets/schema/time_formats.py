"""Formats of dates and times that a feed can declare: Python's directives, or epoch_s."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import MAX_EMAX, MIN_EMIN, ROUND_FLOOR, Context, Decimal, DecimalException
from functools import cached_property, lru_cache

from feed_assets.errors import SettingError

EPOCHS: Mapping[str, int] = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""Numbers of seconds, milliseconds or microseconds since 1970, with their microseconds."""

_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"
_LONG_MONTHS = (
    "January February March April May June July August September October November December"
)
_DAYS = "Mon Tue Wed Thu Fri Sat Sun"
_LONG_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
DIRECTIVES: Mapping[str, str] = {
    "Y": r"\d{4}",
    "y": r"\d\d",
    "m": r"\d\d?",
    "b": _MONTHS.replace(" ", "|"),
    "B": _LONG_MONTHS.replace(" ", "|"),
    "d": r"\d\d?",
    "a": _DAYS.replace(" ", "|"),
    "A": _LONG_DAYS.replace(" ", "|"),
    "H": r"\d\d?",
    "I": r"\d\d?",
    "M": r"\d\d?",
    "S": r"\d\d?",
    "f": r"\d+",
    "p": "AM|PM",
    "z": r"Z|[+-]\d\d(?::?\d\d)?",
    "Z": "Z|UTC|GMT",
}
"""Python's directives, with patterns of what they accept; names are English, in any case."""
_DIGITS_BOTH_WAYS = set("YymdHIMSf")
_GROUPS = ("Yy", "mbB", "d", "aA", "HI", "M", "S", "f", "p", "zZ")
_TOKEN = re.compile(r"%(.?)|([^%]+)", re.DOTALL)
_NUMERAL = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_EPOCH = datetime(1970, 1, 1)
LEAST, GREATEST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Microseconds of the years 0001 to 9999."""
_DATE, _TIME, _ZONE = {"DATE", "DATETIME", "TIMESTAMP"}, {"TIME", "TIMESTAMP"}, {"TIMESTAMP"}
FORMATTED = ("DATE", "DATETIME", "TIME", "TIMESTAMP")
"""Types that a format can be declared for."""
KNOWN = f"{', '.join(EPOCHS)}, or a format of {' '.join(f'%{each}' for each in DIRECTIVES)} %%"


@dataclass(frozen=True)
class TimeFormat:
    """A valid format of a type. `tokens` are directives, and other text as it stands."""

    type: str
    text: str
    tokens: tuple[tuple[str, str], ...] = ()
    """Pairs of directive and text; one of each pair is empty."""

    @property
    def epoch(self) -> int | None:
        """Microseconds of a unit, for a number since 1970."""
        return EPOCHS.get(self.text)

    def parse(self, text: str) -> int | None:
        """Return microseconds since 1970 (of a TIME: since midnight); None for other text.

        Fractions of microseconds are cut.
        """
        if self.epoch:
            return _since_epoch(text, self.epoch)
        found = self._pattern.fullmatch(text)
        return None if found is None else self._microseconds(found.groupdict())

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        parts = []
        for place, (directive, text) in enumerate(self.tokens):
            pattern = DIRECTIVES.get(directive, re.escape(text))
            if self.is_fixed(place):
                pattern = pattern.replace("?", "")
            parts.append(f"(?P<{directive}>{pattern})" if directive else pattern)
        return re.compile("".join(parts), re.ASCII | re.IGNORECASE)

    def is_fixed(self, place: int) -> bool:
        """Return whether a number has two digits always, as the next one follows at once."""
        if self.tokens[place][0] not in set("mdHIMS"):
            return False
        beside = self.tokens[max(place - 1, 0) : place] + self.tokens[place + 1 : place + 2]
        return any(directive in _DIGITS_BOTH_WAYS for directive, _ in beside if directive)

    def _microseconds(self, found: Mapping[str, str]) -> int | None:
        get = found.get
        year = int(get("Y") or get("y") or 1970)
        if "y" in found:  # as POSIX has it
            year += 1900 if year >= 69 else 2000
        named = (get("b") or get("B") or "")[:3].title()
        month = _MONTHS.split().index(named) + 1 if named else int(get("m") or 1)
        hour = int(get("H") or 0)
        if "I" in found:
            if not 1 <= int(found["I"]) <= 12:
                return None
            hour = int(found["I"]) % 12 + 12 * (found["p"].upper() == "PM")
        fraction = int((get("f") or "0")[:6].ljust(6, "0"))
        try:
            minute, second, day = int(get("M") or 0), int(get("S") or 0), int(get("d") or 1)
            moment = datetime(year, month, day, hour, minute, second, fraction)
            moment = moment.replace(tzinfo=_zone(get("z") or "Z")).astimezone(UTC)
        except (ValueError, OverflowError):  # no such day; a year outside 1 to 9999 once in UTC
            return None
        since = moment.replace(tzinfo=None) - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


@lru_cache(256)
def _zone(text: str) -> timezone:
    if text.upper() == "Z":
        return UTC
    hours, minutes = int(text[1:3]), int(text[3:].lstrip(":") or 0)
    if minutes > 59:
        raise ValueError
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)


def _since_epoch(text: str, unit: int) -> int | None:
    if not _NUMERAL.fullmatch(text):
        return None
    if not text.lower().partition("e")[0].strip("+-.0"):
        return 0
    try:
        exact = Context(prec=len(text) + 20, Emin=MIN_EMIN, Emax=MAX_EMAX)
        number = exact.multiply(Decimal(text), Decimal(unit))
        if number and number.adjusted() > 20:
            return None
        found = int(number.to_integral_value(ROUND_FLOOR, exact))
    except DecimalException:  # an exponent of twenty digits
        return None
    return found if LEAST <= found <= GREATEST else None


@lru_cache(1024)
def parse_format(type_name: str, text: str) -> TimeFormat:
    """Parse a format declared for a type. Raise SettingError, worded to follow a column."""
    if type_name not in FORMATTED:
        raise SettingError(
            f"has a format, which {type_name} does not have; only {', '.join(FORMATTED)} do"
        )
    if text in EPOCHS:
        if type_name != "TIMESTAMP":
            raise SettingError(f"is {type_name} with the format {text}; only a TIMESTAMP has that")
        return TimeFormat(type_name, text)
    tokens = tuple(("", "%") if each[0] == "%" else each for each in _TOKEN.findall(text))
    unknown = [f"%{each}" for each, literal in tokens if not literal and each not in DIRECTIVES]
    if unknown or not any(directive for directive, _ in tokens):
        what = f"{unknown[0]}, which is unknown" if unknown else "no directive"
        raise SettingError(f"has {what} in its format {text!r}; write {KNOWN}")
    used = [directive for directive, _ in tokens if directive]
    for group in _GROUPS:
        if sum(each in group for each in used) > 1:
            names = " or ".join(f"%{each}" for each in group)
            raise SettingError(f"has {names} twice in its format {text!r}; keep one")
    if problem := _mismatch(type_name, set(used)):
        raise SettingError(f"is {type_name}, and its format {text!r} {problem}")
    return TimeFormat(type_name, text, tokens)


def _mismatch(name: str, used: set[str]) -> str | None:
    """Return what a type's format lacks, or has too much."""
    needed = [("Yy", _DATE), ("mbB", _DATE), ("d", _DATE), ("HI", _TIME), ("M", _TIME)]
    for group, types in [*needed, ("zZ", _ZONE)]:
        if name in types and not used & {*group}:
            return f"has no {' or '.join(f'%{each}' for each in group)}{_INSTEAD.get(group, '')}"
    for group, types, other in (
        ("zZ", _ZONE, "TIMESTAMP"),
        ("YymbBdaA", _DATE, "DATETIME"),
        ("HIMSfp", {*FORMATTED} - {"DATE"}, "DATETIME"),
    ):
        if name not in types and (extra := used & {*group}):
            return f"has %{min(extra)}; declare {other}, or take it out"
    for each, others in (("I", "p"), ("p", "I"), ("M", "HI"), ("S", "M"), ("f", "S")):
        if each in used and not used & {*others}:
            return f"has %{each} without %{others[0]}"
    return None


_INSTEAD = {"zZ": "; declare DATETIME if the feed's times have no UTC offset"}
