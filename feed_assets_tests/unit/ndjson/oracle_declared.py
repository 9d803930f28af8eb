"""Compute the stored value of a declared type independently of the engine, digit by digit.

Shares no code with the engine; of the oracle for undeclared columns, the parser and the dates.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any

from feed_assets_tests.unit.ndjson.oracle import moment_of
from feed_assets_tests.unit.ndjson.oracle_json import Node, Parser

_NUMBER = re.compile(r"([-+]?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([-+]?[0-9]+))?")
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_POINT = re.compile(r"\s*POINT\s*\(\s*(\S+)\s+([^\s)]+)\s*\)\s*", re.IGNORECASE)
_WKT_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_FAR = 10**6  # powers of ten beyond which no type has a digit


class RefusedError(Exception):
    """The type cannot hold the value, so its line is bad."""


def stored(name: str, text: str) -> Any:
    """Return the stored value of the type `name` for a JSON value; None for null.

    Raises RefusedError.
    """
    node = Parser(text).node(1)
    empty = text.strip() in {"[]", "{}"} and name not in {"STRING", "JSON"}  # holds no value
    if node.kind == "null" or empty:
        return None
    kind, _, text = name.partition(" ")
    return _in_format(node, kind, text) if text else _STORED[kind](node)


def _string(node: Node) -> str:
    return str(node.value) if node.kind == "string" else node.text


def _digits(node: Node) -> tuple[bool, str, int, bool]:
    """Split a number: is it negative; its digits without outer zeros; the power of ten
    of the last; and whether it is written as an integer."""
    if node.kind not in ("integer", "number", "string"):
        raise RefusedError
    match = _NUMBER.fullmatch(_string(node))
    if match is None:
        raise RefusedError
    sign, whole, fraction, exponent = match.groups()
    digits = (whole + (fraction or "")).lstrip("0")
    significant = digits.rstrip("0")
    power = len(digits) - len(significant) - len(fraction or "")
    if exponent and significant:
        far = len(exponent.strip("+-").lstrip("0")) > 15
        power += (_FAR if exponent[0] != "-" else -_FAR) * 10 if far else int(exponent)
    return sign == "-", significant, power, fraction is None and exponent is None


def _units(node: Node, whole: int, scale: int) -> int:
    """The number in units of its last place, for `whole` digits before the point."""
    negative, digits, power, _ = _digits(node)
    if not digits:
        return 0
    if power < -scale or len(digits) + power > whole:
        raise RefusedError
    units = int(digits + "0" * (power + scale))
    return -units if negative else units


def _integer(node: Node) -> int:
    number = _units(node, 19, 0)
    if not -(2**63) <= number < 2**63:
        raise RefusedError
    return number


def _decimal(whole: int, scale: int) -> Callable[[Node], Decimal]:
    def convert(node: Node) -> Decimal:
        units = _units(node, whole, scale)
        return Decimal((units < 0, tuple(map(int, str(abs(units)))), -scale))

    return convert


def _float(node: Node) -> float:
    negative, digits, power, is_integer = _digits(node)
    if not digits:
        return -0.0 if negative else 0.0
    if not -400 < len(digits) + power < 400:
        raise RefusedError
    number = Fraction(int(digits)) * Fraction(10) ** power
    # Halfway between 0 and the least double rounds to 0; halfway beyond the greatest, to infinity.
    if not Fraction(2) ** -1075 < number < Fraction(2) ** 1024 - Fraction(2) ** 970:
        raise RefusedError
    nearest = number.numerator / number.denominator  # Python divides integers to the nearest double
    if is_integer and Fraction(nearest) != number:
        raise RefusedError
    return -nearest if negative else nearest


def _boolean(node: Node) -> bool:
    text = _string(node)
    if node.kind == "boolean" or (node.kind == "string" and text in ("true", "false")):
        return bool(node.value) if node.kind == "boolean" else text == "true"
    raise RefusedError


def _moment(zoned: bool) -> Callable[[Node], datetime]:
    def convert(node: Node) -> datetime:
        found = moment_of(node.value) if node.kind == "string" else None
        if found is None or (found.tzinfo is not None) != zoned:
            raise RefusedError
        return found

    return convert


def _date(node: Node) -> date:
    found = _moment(False)(node)
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", node.value):
        raise RefusedError
    return found.date()


def _time(node: Node) -> time:
    match = node.kind == "string" and re.fullmatch(
        r"([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?", node.value
    )
    if not match:
        raise RefusedError
    hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
    if hour > 23 or minute > 59 or second > 59:
        raise RefusedError
    return time(hour, minute, second, int(((match[4] or "") + "000000")[:6]))


def _in_format(node: Node, kind: str, text: str) -> Any:
    """Read a value of a format, directive by directive."""
    if node.kind not in ("string", "integer", "number"):
        raise RefusedError
    if text.startswith("epoch"):
        return _since_1970(node, {"epoch_s": 10**6, "epoch_ms": 1000, "epoch_us": 1}[text])
    parts, left = dict[str, str](), _string(node)
    pieces = re.findall("%.|[^%]", text)
    for at, piece in enumerate(pieces):
        beside = {*pieces[max(at - 1, 0) : at], *pieces[at + 1 : at + 2]}
        both = any(each in beside for each in ("%Y", "%y", "%m", "%d", "%H", "%M", "%S", "%f"))
        parts[piece], left = _take(piece, left, both)
    if left:
        raise RefusedError
    number = {key: int(each) for key, each in parts.items() if each.isdigit()}
    year = number.get("%Y", 1970)
    if "%y" in number:
        year = number["%y"] + (1900 if number["%y"] > 68 else 2000)
    name = parts.get("%b", parts.get("%B", "")).lower()[:3]
    month = "xxxjanfebmaraprmayjunjulaugsepoctnovdec".index(name or "xxx") // 3
    hour = number.get("%H", 0)
    if "%p" in parts:
        if number["%I"] not in range(1, 13):
            raise RefusedError
        hour = number["%I"] % 12 + (12 if parts["%p"].lower() == "pm" else 0)
    clock = hour, number.get("%M", 0), number.get("%S", 0)
    try:
        found = datetime(year, month or number.get("%m", 1), number.get("%d", 1), *clock)
        found += timedelta(microseconds=int(parts.get("%f", "")[:6].ljust(6, "0")))
    except ValueError:
        raise RefusedError from None
    if kind == "TIMESTAMP":
        zone = parts.get("%z", "Z")
        moved = moment_of(found.isoformat() + zone.upper())
        if moved is None:
            raise RefusedError
        return moved
    return {"DATE": found.date(), "TIME": found.time(), "DATETIME": found}[kind]


def _take(piece: str, text: str, both: bool) -> tuple[str, str]:
    """Take what a directive accepts, or a character, from the start of a text."""
    if piece[0] != "%" or piece == "%%":
        if text[:1].lower() != piece[:1].lower():
            raise RefusedError
        return text[:1], text[1:]
    two = "[0-9][0-9]" if both else "[0-9][0-9]?"
    patterns = {"Y": "[0-9]{4}", "y": "[0-9]{2}", "f": "[0-9]+", "p": "[AP]M", "Z": "UTC|GMT|Z"}
    patterns |= {"a": "Mon|Sun|Fri|Tue|Wed|Thu|Sat", "z": "Z|[-+][0-9]{2}(:?[0-9]{2})?"}
    patterns |= {
        "b": "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec",
        "B": "January|February|March|April|May|June|July|August|September|October|November"
        "|December",
    }
    match = re.match(patterns.get(piece[1], two), text, re.IGNORECASE)
    if match is None:
        raise RefusedError
    return match[0], text[match.end() :]


def _since_1970(node: Node, unit: int) -> datetime:
    negative, digits, power, _ = _digits(node)
    if len(digits) + power > 30:
        raise RefusedError
    number = Fraction(int(digits or 0)) * Fraction(10) ** max(power, -1000) * unit
    whole = floor(-number if negative else number)
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=whole)
    except OverflowError:
        raise RefusedError from None


def _bytes(node: Node) -> bytes:
    if node.kind != "string" or len(node.value) % 4:
        raise RefusedError
    characters = node.value.rstrip("=")
    padding = len(node.value) - len(characters)
    if padding > 2 or any(each not in _BASE64 for each in characters):
        raise RefusedError
    bits = "".join(f"{_BASE64.index(each):06b}" for each in characters)
    whole, rest = bits[: len(bits) // 8 * 8], bits[len(bits) // 8 * 8 :]
    if "1" in rest:
        raise RefusedError
    return bytes(int(whole[at : at + 8], 2) for at in range(0, len(whole), 8))


def _json(node: Node) -> str:
    for each in (*node.fields.values(), *node.items):
        _json(each)
    if node.kind == "integer":
        _, digits, power, _ = _digits(node)
        if len(digits) + power > 20 or not -(2**63) <= int(node.text) < 2**64:
            raise RefusedError
    elif node.kind == "number":
        _float(node)
    return node.text


def _geography(node: Node) -> str:
    """Check a geography of points only."""
    if node.kind == "object":
        kind = node.fields.get("type")
        place = node.fields.get("coordinates")
        if kind is None or kind.value != "Point" or place is None or len(place.items) != 2:
            raise RefusedError
        if not all(each.kind in ("integer", "number") for each in place.items):
            raise RefusedError
        numbers = [each.text for each in place.items]
    else:
        match = node.kind == "string" and _POINT.fullmatch(node.value)
        if not match or not all(_WKT_NUMBER.fullmatch(each) for each in match.groups()):
            raise RefusedError
        numbers = list(match.groups())
    if any(abs(Fraction(each)) > most for each, most in zip(numbers, (180, 90), strict=True)):
        raise RefusedError
    return _string(node)


_STORED: dict[str, Callable[[Node], Any]] = {
    "STRING": _string,
    "INTEGER": _integer,
    "FLOAT": _float,
    "BOOLEAN": _boolean,
    "DATETIME": _moment(False),
    "TIMESTAMP": _moment(True),
    "NUMERIC": _decimal(29, 9),
    "BIGNUMERIC": _decimal(38, 38),
    "DATE": _date,
    "TIME": _time,
    "BYTES": _bytes,
    "JSON": _json,
    "GEOGRAPHY": _geography,
}
