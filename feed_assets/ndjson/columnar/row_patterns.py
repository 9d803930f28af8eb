"""Where to look, in the text of a row, for a key or a number; what is found must be verified.

A pattern finds all that is there, and maybe the same key on another path.
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
    """Also finds every key that is written with an escape: from the last one to its end."""
    return rf'(?:"{re.escape(key)}"|\\(?s:.)[^"\\]*")\s*:'


def number_pattern(path: KeyPath, number: str) -> str:
    """For values that are numbers or null, and so are those next to them in an array."""
    if (key := path[-1]) is not None:
        return rf"{key_pattern(key)}\s*{number}"
    if (key := path[-2]) is not None:
        return rf"{key_pattern(key)}\s*\[(?:[^\]]*,)?\s*{number}"
    return rf"[\[,]\s*{number}"


def values_at(value: Any, path: KeyPath) -> Iterator[Any]:
    """The values that a row has on a path, null included."""
    if not path:
        yield value
    elif path[0] is None:
        for each in value if type(value) is list else ():
            yield from values_at(each, path[1:])
    elif type(value) is dict and path[0] in value:
        yield from values_at(value[path[0]], path[1:])
