"""Derive column names from the feed's keys by BigQuery's rules.

https://cloud.google.com/bigquery/docs/schemas#column_names and #flexible-column-names there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from feed_assets.schema.arrow_metadata import shorten_key

MAX_LENGTH = 300  # characters

_RESERVED = (
    "_TABLE_",
    "_FILE_",
    "_PARTITION",
    "_ROW_TIMESTAMP",
    "__ROOT__",
    "_COLIDENTIFIER",
    "_CHANGE_SEQUENCE_NUMBER",
    "_CHANGE_TYPE",
    "_CHANGE_TIMESTAMP",
)
_SYMBOLS = frozenset("&%=+:'<>#| ")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_]")
_CLASSES = ("L", "N", "M", "Pc", "Pd")  # letters, numbers, marks, connectors such as _, dashes


def column_names(
    keys: Iterable[str], *, flexible: bool = True, known: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Return the column name of each key of one object, independent of the order of the keys.

    A `known` key has its name from there, and no other key gets that name. Among new keys whose
    names collide (case-insensitively), the first in sort order gets the name if it is free; the
    others get the next free of `_2`, `_3` and so on. Unless `flexible`, new names have only ASCII
    letters, digits and `_`, and do not start with a digit.
    """
    accepted = _flexible if flexible else _plain
    keys = set(keys)
    names = {key: known[shorten_key(key)] for key in keys if shorten_key(key) in known}
    wished = {key: accepted(key) for key in sorted(keys - names.keys())}
    numbers = {fold_name(name): 1 for name in known.values()}
    taken = numbers.keys() | {fold_name(name) for name in wished.values()}
    for key, name in wished.items():
        number = numbers.get(fold_name(name), 0) + 1
        while number > 1 and fold_name(_numbered(name, number)) in taken:
            number += 1
        numbers[fold_name(name)] = number
        names[key] = _numbered(name, number)
        taken.add(fold_name(names[key]))
    return names


def _numbered(name: str, number: int) -> str:
    suffix = f"_{number}" if number > 1 else ""
    return name[: MAX_LENGTH - len(suffix)] + suffix


def fold_name(name: str) -> str:
    """Return a form of the name that is equal for names BigQuery cannot distinguish."""
    return unicodedata.normalize("NFC", name).casefold()


def _flexible(key: str) -> str:
    return _unreserved("".join(each if _is_flexible(each) else "_" for each in key) or "_")


def _plain(key: str) -> str:
    name = _NOT_PLAIN.sub("_", key) or "_"
    return _unreserved(f"_{name}" if name[0].isdigit() else name)


def _unreserved(name: str) -> str:
    if name.upper().startswith(_RESERVED):
        name = f"_{name}"
    return name[:MAX_LENGTH]


def _is_flexible(character: str) -> bool:
    return character in _SYMBOLS or unicodedata.category(character).startswith(_CLASSES)
