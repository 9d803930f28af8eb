"""Classify the text of a number by the types that can represent it."""

from __future__ import annotations

from feed_assets.ndjson.inference.observed import ValueKind

INT64_LEAST, INT64_GREATEST, UINT64_GREATEST = -(2**63), 2**63 - 1, 2**64 - 1

_EXACT_IN_DOUBLE = 2**53
_SURELY_EXACT = 15  # characters: every integer this short is below 2^53
_LONGEST_INT64 = 20  # characters, the sign included
_INFINITE = (float("inf"), float("-inf"))


def kind_of_integer(text: str) -> ValueKind:
    """Return INTEGER, LONG or BEYOND for an integer in JSON notation (no leading zeros)."""
    if len(text) <= _SURELY_EXACT:
        return ValueKind.INTEGER
    if len(text) > _LONGEST_INT64:
        return ValueKind.BEYOND
    number = int(text)
    if abs(number) <= _EXACT_IN_DOUBLE:
        return ValueKind.INTEGER
    return ValueKind.LONG if INT64_LEAST <= number <= INT64_GREATEST else ValueKind.BEYOND


def kind_of_fraction(text: str) -> ValueKind:
    """Return FRACTION or BEYOND for a number with a fraction or an exponent."""
    return ValueKind.BEYOND if double(text) is None else ValueKind.FRACTION


def double(text: str) -> float | None:
    """Return the nearest double; None on overflow to infinity or underflow to zero."""
    number = float(text)
    if number in _INFINITE:
        return None
    return None if number == 0 and not is_zero(text) else number


def is_zero(text: str) -> bool:
    """Return whether all digits before the exponent are 0."""
    return not text.lower().partition("e")[0].strip("+-.0")
