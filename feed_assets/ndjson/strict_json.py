"""Parse a line into a row: strict JSON, with every number as its source text."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable
from itertools import accumulate
from typing import Any

from feed_assets.errors import Redacted
from feed_assets.ndjson.buffers import greatest_depth

Row = dict[str, Any]
"""Values are None, bool, str, IntText, FloatText, list and dict, nested."""

MAX_NESTING = 200  # far beyond any feed, and far below the limit of Python's stack
_QUOTED = 80  # characters of a key in a reason
_JSON_SPACE = " \t\r\n"
# Strings are skipped whole: their brackets are text. Possessive, so a long one needs no memory.
_BETWEEN_BRACKETS = re.compile(r'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"?)++', re.DOTALL)
_SHORT = 3  # characters
_MANY_BRACKETS = 10_000
_STEPS = {"{": 1, "[": 1, "}": -1, "]": -1}


class IntText(str):
    """Source text of an integer."""

    __slots__ = ()


class _ShortIntegers(dict[str, IntText]):
    """Cache of short integers, of which a line can have millions."""

    def __missing__(self, text: str) -> IntText:
        found = IntText(text)
        if len(text) <= _SHORT:
            self[text] = found
        return found


class FloatText(str):
    """Source text of a number with a fraction or an exponent."""

    __slots__ = ()


class InvalidLine(ValueError):
    """Reason why a line is bad, worded to follow `line 812`, redacted if it quotes the line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse(line: bytes, *, null_values: Collection[str] = ()) -> tuple[str, Row]:
    """Return text and row of a line without white space around it. Raise InvalidLine.

    Strings that are `null_values` become null in the row.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        byte, at = line[error.start], error.start + 1
        raise InvalidLine(f"is not UTF-8 (byte 0x{byte:02x} at position {at})") from None
    if nested_too_deep(text):
        raise InvalidLine(f"is nested deeper than {MAX_NESTING} levels")
    row = _only_object(text)
    # Only an escape can write a surrogate (UTF-8 cannot); the encoder finds a lone one.
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise InvalidLine("contains half a character (a lone surrogate)") from None
    to_null(row, text, null_values)
    return text, row


def parse_object(text: str) -> Row:
    """Parse the text of an object that is known to be valid."""
    return _only_object(text)


def _only_object(text: str) -> Row:
    if text[0] == "[":  # the reason, also for an incomplete array
        raise InvalidLine("is not a JSON object (got an array)")
    try:
        row, end = _decoder.raw_decode(text)
    except json.JSONDecodeError as error:
        raise InvalidLine(_not_json(error.msg, error.pos)) from None
    if end != len(text):
        rest = text[end:].lstrip(_JSON_SPACE)
        if rest[0] == "{" == text[0]:
            raise InvalidLine("contains more than one JSON object")
        raise InvalidLine(_not_json("Extra data", len(text) - len(rest)))
    if type(row) is not dict:
        raise InvalidLine(f"is not a JSON object (got {json_type_name(row)})")
    return row


def json_type_name(value: Any) -> str:
    """Name the JSON type of a value for a message: `an array`, `a number`."""
    if value is None:
        return "null"
    if isinstance(value, IntText | FloatText):
        return "a number"
    return {bool: "a boolean", str: "a string", list: "an array", dict: "an object"}[type(value)]


def decode_value(text: str, start: int) -> tuple[Any, int]:
    """Return the value that starts at `start` of a valid line, and its end."""
    value, end = _decoder.raw_decode(text, start)
    return value, end


def skip_space(text: str, at: int) -> int:
    """Return the position of the next character of a valid line that is not white space."""
    while text[at] in _JSON_SPACE:
        at += 1
    return at


def after_comma(text: str, at: int) -> int:
    """Return the position of the next member or element, or of the bracket, after a value."""
    at = skip_space(text, at)
    return skip_space(text, at + 1) if text[at] == "," else at


def nested_too_deep(text: str) -> bool:
    """Return whether `text` nests more than MAX_NESTING brackets.

    Counted here, since the parser's own limit depends on the depth of its caller.
    """
    brackets = text.count("{") + text.count("[")
    if brackets <= MAX_NESTING:
        return False
    if brackets > _MANY_BRACKETS and "\\" not in text:
        return greatest_depth(text.encode(errors="replace")) > MAX_NESTING
    brackets_only = _BETWEEN_BRACKETS.sub("", text)
    return max(accumulate(map(_STEPS.__getitem__, brackets_only)), default=0) > MAX_NESTING


def _object(pairs: list[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        shown = json.dumps(twice)[:_QUOTED]
        raise InvalidLine(
            Redacted("has a key twice in one object", f"has the key {shown} twice in one object")
        )
    return found


def _constant(name: str) -> None:
    raise InvalidLine(f"is not JSON ({name} is not a JSON number)")


_decoder = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_ShortIntegers().__getitem__,
    parse_float=FloatText,
    parse_constant=_constant,
)


def _not_json(message: str, position: int) -> str:
    message = message.removesuffix(" at")
    return f"is not JSON ({message[0].lower()}{message[1:]} at character {position + 1})"


def may_contain(text: str | bytes, strings: Iterable[str]) -> bool:
    """Return False if JSON surely has none of the strings as a value."""
    if isinstance(text, str):
        return "\\" in text or any(f'"{each}"' in text for each in strings)
    return b"\\" in text or any(f'"{each}"'.encode() in text for each in strings)


def to_null(row: Row, text: str, null_values: Collection[str]) -> None:
    """Replace strings that are `null_values` in a row with that text."""
    if null_values and may_contain(text, null_values):
        _to_null(row, null_values)


def _to_null(row: Row | list[Any], null_values: Collection[str]) -> None:
    places: Any = row.items() if type(row) is dict else enumerate(row)
    holder: Any = row
    for place, value in places:
        if type(value) is str and value in null_values:
            holder[place] = None
        elif type(value) is dict or type(value) is list:
            _to_null(value, null_values)
