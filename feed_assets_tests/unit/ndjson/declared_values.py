"""Values for columns of a declared type, as JSON text: most of them fit, and many only just.

Numbers have random signs, digits, exponents, and zeros at either end; times their borders.
"""

from __future__ import annotations

import json
import random
import re
from base64 import b64encode
from collections.abc import Callable

from feed_assets_tests.unit.ndjson.feeds import NUMBERS, STRINGS

_PLACES = {"INTEGER": (19, 0), "FLOAT": (40, 20), "NUMERIC": (29, 9), "BIGNUMERIC": (38, 38)}
"""Digits before and after the point."""
_BORDERS = {
    "INTEGER": (2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**18, 10**19, 2**53, 2**53 + 1),
    "FLOAT": (2**53, 2**53 + 1, -(2**53) - 1, 2**60, 2**1023, 2**1024 - 2**970, 2**1024),
    "NUMERIC": (10**29 - 1, 10**29, -(10**29), 10**30, 2**127, 2**128, 2**63),
    "BIGNUMERIC": (10**38 - 1, 10**38, -(10**38), 10**39, 2**128, 2**255, 2**256),
    "JSON": (2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1),
}
_DOUBLES = ("5e-324", "2.4703282292062327e-324", "2.4703282292062328e-324", "1e-400", "1e309",
            "1.7976931348623157e308", "1.7976931348623158e308", "1.797693134862315808e308",
            "1.7976931348623159e308", "2.2250738585072011e-308", "9007199254740993.0")  # fmt: skip
_ODD = ("", "-", "+", ".", "1.", ".5", "1e", "e5", "1e+", "0x1", "1_0", "1,5", " 1", "1 ", "1\n",
        "nan", "Infinity", "-inf", "\u0661", "\uff11", "--1", "1.2.3", "1e5.5", "true")  # fmt: skip


def value(chance: random.Random, name: str) -> str:
    """A value for a column of that type; in one of a hundred it is for a column of any type."""
    odd = chance.random()
    if odd < 0.005:
        return chance.choice(["null", "true", "[]", "{}", "[1]", '{"a":1.50}', '""', *NUMBERS])
    if odd < 0.01:
        return json.dumps(chance.choice((*STRINGS, *_ODD)))
    return _VALUES[name](chance)


def number(chance: random.Random, name: str, *, quoted: bool) -> str:
    """The text of a number that the type takes, or nearly takes."""
    if chance.random() < 0.03:
        return str(chance.choice(_BORDERS[name]) + chance.choice([0, 0, -1, 1]))
    if name == "FLOAT" and chance.random() < 0.1:
        return chance.choice(["", "-"]) + chance.choice(_DOUBLES)
    whole, fraction = _PLACES.get(name, (17, 5))
    if chance.random() < 0.08:
        whole, fraction = whole + chance.randrange(4), fraction + chance.randrange(4)
    digits = _digits(chance, chance.randint(1, chance.choice([1, 4, max(1, whole)]))).lstrip("0")
    if name == "FLOAT" and chance.random() < 0.5:  # most long integers are no doubles
        digits = str(chance.randrange(2**53) << chance.randrange(60))
    after = _digits(chance, chance.randint(0, chance.choice([2, fraction])) if fraction else 0)
    after = after.rstrip("0") + "0" * chance.choice([0, 0, 0, 1, 3, 40, 200])
    if not after and chance.random() < 0.1:
        after = "0" * chance.choice([1, 2, 30])
    exponent = ""
    if chance.random() < 0.25:  # the same number, with the point elsewhere
        digits, after, exponent = _shifted(chance, digits, after)
    elif chance.random() < 0.03:
        exponent = chance.choice(["e", "E-"]) + chance.choice(
            ["0", "1", "28", "99", "400", "9" * 21]
        )
    digits = digits or "0"
    sign = "-" if chance.random() < 0.4 else ""
    if quoted and chance.random() < 0.2:
        digits = "0" * chance.choice([1, 2, 30, 90]) + digits
        sign = sign or chance.choice(["", "+"])
    return f"{sign}{digits}{'.' if after else ''}{after}{exponent}"


def _digits(chance: random.Random, count: int) -> str:
    if chance.random() < 0.1:
        return chance.choice("0123459") * count
    return "".join(chance.choices("0123456789", k=count))


def _shifted(chance: random.Random, digits: str, after: str) -> tuple[str, str, str]:
    by = chance.choice([1, 2, 5, 9, 20, 38, 50, 100])
    if chance.random() < 0.5:
        zeros = digits.rjust(by + 1, "0")
        digits, after, exponent = zeros[:-by].lstrip("0"), zeros[-by:] + after, by
    else:
        zeros = after.ljust(by, "0")
        digits, after, exponent = (digits + zeros[:by]).lstrip("0"), zeros[by:], -by
    sign = "-" if exponent < 0 else chance.choice(["", "+"])
    zeros = "0" * chance.choice([0, 0, 1, 25])
    return digits, after, f"{chance.choice('eE')}{sign}{zeros}{abs(exponent)}"


def _any_number(name: str) -> Callable[[random.Random], str]:
    def made(chance: random.Random) -> str:
        if chance.random() < 0.5:
            return number(chance, name, quoted=False)
        return json.dumps(number(chance, name, quoted=True))

    return made


def _day(chance: random.Random) -> str:
    year = chance.choice([1, 2, 1582, 1600, 1900, 1969, 1970, 2000, 2024, 9998, 9999])
    if chance.random() < 0.5:
        year = chance.randint(1, 9999)
    if chance.random() < 0.01:
        year = chance.choice([0, 10000])
    month, day = chance.choice([1, 2, 12, chance.randint(1, 12)]), chance.randint(1, 28)
    if chance.random() < 0.1:
        month, day = chance.choice([(2, 29), (2, 30), (4, 31), (12, 31), (13, 1), (0, 1), (1, 0)])
    return f"{year:04}-{month:02}-{day:02}"


def _clock(chance: random.Random) -> str:
    hour, minute = chance.choice([0, 23, chance.randrange(24)]), chance.randrange(60)
    if chance.random() < 0.02:
        hour, minute = chance.choice([(24, 0), (24, 1), (12, 60), (99, 99)])
    if chance.random() < 0.2:
        return f"{hour:02}:{minute:02}"
    second = chance.choice([0, 59, chance.randrange(60)]) if chance.random() < 0.98 else 60
    digits = (
        _digits(chance, chance.choice([1, 3, 6, 7, 9, 12, 40])) if chance.random() < 0.6 else ""
    )
    return f"{hour:02}:{minute:02}:{second:02}{'.' if digits else ''}{digits}"


def _zone(chance: random.Random) -> str:
    hour, minute = chance.choice([0, 1, 5, 14, 23]), chance.choice([0, 0, 30, 59])
    if chance.random() < 0.01:
        hour, minute = chance.choice([(24, 0), (1, 60)])
    offset = chance.choice([f"{hour:02}:{minute:02}", f"{hour:02}{minute:02}", f"{hour:02}"])
    return chance.choice(["Z", f"+{offset}", f"-{offset}"])


def _text(made: Callable[[random.Random], str]) -> Callable[[random.Random], str]:
    """Return a JSON string, now and then with a character changed."""

    def text(chance: random.Random) -> str:
        found = made(chance)
        if found and chance.random() < 0.02:
            at = chance.randrange(len(found))
            found = (
                found[:at] + chance.choice("0189-:.TZ t,+=/") + found[at + chance.randrange(2) :]
            )
        return json.dumps(found)

    return text


def _moment(chance: random.Random, zone: str) -> str:
    return f"{_day(chance)}{chance.choice('T ')}{_clock(chance)}{zone}"


def _datetime(chance: random.Random) -> str:
    return _day(chance) if chance.random() < 0.2 else _moment(chance, "")


def _timestamp(chance: random.Random) -> str:
    return _moment(chance, _zone(chance) if chance.random() < 0.98 else "")


def _json(chance: random.Random) -> str:
    numbers = [number(chance, "JSON", quoted=False) for _ in range(3)]
    return chance.choice([
        numbers[0],
        json.dumps(chance.choice(STRINGS)),
        f'{{"a" : {numbers[0]},"b":[{numbers[1]}, {numbers[2]}]}}',
        f"[{numbers[0]},true,null]",
    ])  # fmt: skip


def _geography(chance: random.Random) -> str:
    places = [chance.randint(-most - chance.randrange(2), most) for most in (180, 90)]
    after = [_digits(chance, chance.randint(1, 20)) for _ in places]
    x, y = (
        f"{p}.{a}" if chance.random() < 0.7 else str(p) for p, a in zip(places, after, strict=True)
    )
    if chance.random() < 0.3:
        return f'{{"type":"Point", "coordinates":[{x},{y}]}}'
    return _text(lambda _: f"{chance.choice(['POINT', 'Point '])}({x} {y})")(chance)


_VALUES: dict[str, Callable[[random.Random], str]] = {
    **{name: _any_number(name) for name in _PLACES},
    "STRING": lambda chance: _VALUES[chance.choice(["FLOAT", "DATETIME", "JSON", "BYTES"])](chance),
    "BOOLEAN": lambda chance: chance.choice(["true", "false", '"true"', '"false"', '"True"']),
    "DATE": _text(_day),
    "TIME": _text(_clock),
    "DATETIME": _text(_datetime),
    "TIMESTAMP": _text(_timestamp),
    "BYTES": _text(lambda chance: b64encode(chance.randbytes(chance.randrange(20))).decode()),
    "JSON": _json,
    "GEOGRAPHY": _geography,
}
NAMES = tuple(_VALUES)


def _formatted(text: str) -> Callable[[random.Random], str]:
    """Write random times in a format, some not as usual."""

    def made(chance: random.Random) -> str:
        year = chance.choice([1969, 1970, 2000, 2020, 2068])
        if "%y" not in text:
            year = chance.choice([year, chance.choice([1, 999, 1582, 9999])])
        day = chance.randint(1, 28) if chance.random() < 0.95 else chance.choice([0, 29, 31, 32])
        parts = {
            "Y": f"{year:04}",
            "y": f"{year % 100:02}",
            "m": _two(chance, chance.randint(1, 12 if chance.random() < 0.98 else 13)),
            "b": _any_case(chance, chance.choice(_MONTHS)[:3]),
            "B": _any_case(chance, chance.choice(_MONTHS)),
            "d": _two(chance, day),
            "a": _any_case(chance, chance.choice(["Mon", "Sun", "Fri"])),
            "H": _two(chance, chance.randrange(24 if chance.random() < 0.98 else 26)),
            "I": _two(chance, chance.randint(0 if chance.random() < 0.05 else 1, 12)),
            "p": _any_case(chance, chance.choice(["AM", "PM"])),
            "M": _two(chance, chance.randrange(60)),
            "S": _two(chance, chance.randrange(60 if chance.random() < 0.98 else 62)),
            "f": _digits(chance, chance.choice([1, 3, 6, 7, 12])),
            "z": _zone(chance),
            "Z": chance.choice(["Z", "UTC", "GMT"]),
            "%": "%",
        }
        return re.sub("%(.)", lambda found: parts[found[1]], text)

    if text.startswith("epoch"):
        return _epoch
    if re.search("[^%mdYHMS]", text):
        return _text(made)
    return lambda chance: _perhaps_unquoted(chance, _text(made)(chance))


def _perhaps_unquoted(chance: random.Random, text: str) -> str:
    """Write digits as a number, where they are one."""
    is_number = re.fullmatch('"[1-9][0-9]*"', text) and chance.random() < 0.5
    return text.strip('"') if is_number else text


def _epoch(chance: random.Random) -> str:
    number = str(chance.choice([0, -1, 1_579_514_400, 10**12, 253_402_300_799, 10**19, -(10**17)]))
    if chance.random() < 0.9:
        number = str(chance.randrange(-(10**10), 10 ** chance.choice([10, 13, 16])))
    if chance.random() < 0.3:
        number += f".{_digits(chance, chance.choice([1, 3, 6, 7, 20]))}"
    if chance.random() < 0.05:
        number += chance.choice(["e3", "E-5", "e+1", "e99", "e-999", "e99999999999999999999"])
    return number if chance.random() < 0.5 else json.dumps(number)


def _two(chance: random.Random, number: int) -> str:
    return f"{number:02}" if chance.random() < 0.9 else str(number)


def _any_case(chance: random.Random, name: str) -> str:
    return chance.choice([name, name, name.upper(), name.lower()])


_MONTHS = ("January", "February", "May", "August", "September", "December")
FORMATS: tuple[tuple[str, str], ...] = (
    ("DATE", "%d.%m.%Y"),
    ("DATE", "%Y%m%d"),
    ("DATE", "%d %B %y"),
    ("DATETIME", "%m/%d/%Y %I:%M %p"),
    ("DATETIME", "%Y-%m-%dT%H"),
    ("DATETIME", "%Y-%d-%m"),
    ("DATETIME", "%d%m%Y%H%M%S"),
    ("DATETIME", "%d.%m.%Y %H:%M:%S,%f"),
    ("TIME", "%H%M"),
    ("TIMESTAMP", "%Y/%m/%d %H:%M:%S.%f%z"),
    ("TIMESTAMP", "%a, %d %b %Y %H:%M:%S %Z"),
    ("TIMESTAMP", "100%% %Y %m %d %H:%M %z"),
    ("TIMESTAMP", "epoch_s"),
    ("TIMESTAMP", "epoch_ms"),
    ("TIMESTAMP", "epoch_us"),
)
"""Types with formats."""
_VALUES |= {f"{name} {text}": _formatted(text) for name, text in FORMATS}
FORMATTED = tuple(f"{name} {text}" for name, text in FORMATS)
