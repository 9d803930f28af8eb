"""Patterns that search the text of rows for a key or a number; matches must be verified.

A pattern finds every occurrence, and perhaps the same key on another path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

KeyPath = tuple[str | None, ...]
"""Keys, and None for the elements of an array."""

INTEGER = r"-?\d+\s*[,}\]]"
FRACTION = r"-?\d+[.eE]"
NOT_PLAINLY_ZERO = r"-?[0-9.]*[1-9eE]"


def key_pattern(key: str) -> str:
    """Return a pattern for a key. It also finds every key that is written with an escape."""
    return rf'(?:"{re.escape(key)}"|\\(?s:.)[^"\\]*")\s*:'


def number_pattern(path: KeyPath, number: str) -> str:
    """Return a pattern for a number at a path whose values are all numbers or null."""
    if (key := path[-1]) is not None:
        return rf"{key_pattern(key)}\s*{number}"
    if (key := path[-2]) is not None:
        return rf"{key_pattern(key)}\s*\[(?:[^\]]*,)?\s*{number}"
    return rf"[\[,]\s*{number}"


def values_at(value: Any, path: KeyPath) -> Iterator[Any]:
    """Yield the values of a row at a path, null included."""
    if not path:
        yield value
    elif path[0] is None:
        for each in value if type(value) is list else ():
            yield from values_at(each, path[1:])
    elif type(value) is dict and path[0] in value:
        yield from values_at(value[path[0]], path[1:])
