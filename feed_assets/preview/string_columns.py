"""Columns that are text and might be something else, and the values that make them text."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feed_assets.ndjson import Column, Observed, ValueKind, classify_strings, infer_type
from feed_assets.ndjson.buffers import Numbers, flags, positions, without_empty
from feed_assets.preview.open_input import Rows
from feed_assets.preview.printable import count_of, fit
from feed_assets.preview.row_values import arrays_at, line_numbers
from feed_assets.schema.columns import columns_of

_SHOWN, _QUOTED = 3, 20  # values, and characters of each
_NUMBERS = {ValueKind.INTEGER, ValueKind.LONG, ValueKind.FRACTION, ValueKind.BEYOND}
_NAMES = {
    **dict.fromkeys(_NUMBERS, "numbers"),
    ValueKind.BOOLEAN: "booleans",
    ValueKind.DATETIME: "dates",
    ValueKind.TIMESTAMP: "dates with an offset",
    ValueKind.TEXT: "strings",
    ValueKind.OBJECT: "objects",
    ValueKind.ARRAY: "arrays",
}
_LOOKS = {  # of values as they are stored, where a string has no quotes
    "numbers": r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$",
    "booleans": "^(?:true|false)$",
    "dates": "^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:$|[T ])",
    "objects": r"^\{",
    "arrays": r"^\[",
}
_STRINGS = "strings"  # all others
_DECIMALS = {
    "NUMERIC": r"^-?[0-9]{1,29}(?:\.[0-9]{1,9})?$",
    "BIGNUMERIC": r"^-?[0-9]{1,38}(?:\.[0-9]{1,38})?$",
}
_DECIMAL = r"^-?(?:0|[1-9][0-9]*)\.[0-9]+$"


@dataclass(frozen=True)
class Oddity:
    """Why a column is text, and what would change that: to read "" as null, or to fix its type."""

    said: str
    as_null: bool = False
    fixed: tuple[str, str] | None = None


@dataclass(frozen=True)
class _Text:
    """A column of text: its path as sent, and as stored, unless it is in an array; what it held."""

    sent: str
    stored: tuple[str, ...] | None
    observed: Observed

    @property
    def firsts(self) -> Mapping[str, int]:
        """The first line of each kind of value, in their order."""
        found: dict[str, int] = {}
        for kind, line in sorted(self.observed.kinds.items(), key=lambda each: each[1]):
            found.setdefault(_NAMES[kind], line)
        return found

    @property
    def is_string(self) -> str:
        return f"{fit(self.sent)} is STRING"


def oddities(columns: Sequence[Column], rows: Rows) -> Iterator[Oddity]:
    """Of the columns that nobody has declared."""
    for text in _texts(columns, "", ()):
        if found := _oddity(text, rows):
            yield found


def _texts(
    columns: Sequence[Column], parent: str, stored: tuple[str, ...] | None
) -> Iterator[_Text]:
    for column in columns:
        sent, observed, of = f"{parent}{column.key}", column.observed, column.type
        path = None if stored is None else (*stored, column.name)
        if of is not None and pa.types.is_list(of):
            of, observed, path = of.value_type, observed.elements or observed, None
        yield from _texts(column.fields, f"{sent}.", path)
        if of == pa.string() and column.declared is None:
            yield _Text(sent, path, observed)


def _oddity(text: _Text, rows: Rows) -> Oddity | None:
    kinds = text.observed.kinds.keys()
    if kinds == {ValueKind.TEXT}:
        return _decimals_in_quotes(text, rows)
    if kinds <= _NUMBERS:
        return Oddity(
            f"{text.is_string}: no number type holds all its numbers exactly, so they are kept as "
            f"they were sent"
        )
    if text.stored is not None and kinds != {ValueKind.DATETIME, ValueKind.TIMESTAMP}:
        return _mixed(text, text.stored, rows)
    return Oddity(f"{text.is_string}: {_firsts(text)}")


def _firsts(text: _Text) -> str:
    return " and ".join(f"{name} (first at line {line})" for name, line in text.firsts.items())


def _mixed(text: _Text, path: tuple[str, ...], rows: Rows) -> Oddity | None:
    held = dict.fromkeys(name.partition(" ")[0] for name in text.firsts)
    names = [name for name in held if name in _LOOKS]
    counts, blank = Counter(dict.fromkeys([*names, _STRINGS], 0)), 0
    for array in arrays_at(rows.reading.table, path):
        counts[_STRINGS] += len(array) - array.null_count
        blank += without_empty(array).null_count - array.null_count
        for name in names:
            alike = pc.match_substring_regex(array, _LOOKS[name]).true_count
            counts[name] += alike
            counts[_STRINGS] -= alike
    ((most, _),) = counts.most_common(1)
    if (
        text.observed.kinds.keys() <= {ValueKind.DATETIME, ValueKind.TIMESTAMP, ValueKind.TEXT}
        and most == _STRINGS
    ):
        return None  # some look like dates, as among words
    if counts[most] == counts.total():
        return _alike(text, path, most, rows)
    odd = dict(_odd(path, rows, most, names))
    at = line_numbers(list(odd), rows)
    if counts[_STRINGS] == blank == counts.total() - counts[most]:
        otherwise = _type_without(text, {ValueKind.TEXT})
        if otherwise and (most != "dates" or _are_times_but_for_blanks(path, rows)):
            first = f", the first at line {at[0]}" if at else ""
            are = "is" if blank == 1 else "are"
            makes = "makes" if most == "dates" else "may make"  # unless some are in quotes, too
            return Oddity(
                f'{text.is_string}: {blank:,} of {counts.total():,} values {are} ""{first}; '
                f"--empty-as-null {makes} it {otherwise}",
                as_null=True,
            )
    others = " and ".join(
        count_of(count, name) for name, count in counts.items() if count and name != most
    )
    shown = ", ".join(
        f"{f'line {at[place]} ' if at else ''}{_quoted(value)}"
        for place, value in enumerate(odd.values())
    )
    fixed = _type_without(
        text, {kind for kind, name in _NAMES.items() if name.partition(" ")[0] != most}
    )
    refused = f"; --type {fit(text.sent)}={fixed} refuses such lines" if fixed else ""
    return Oddity(
        f"{text.is_string}: {count_of(counts[most], most)}, but {others} ({shown}){refused}"
    )


def _alike(text: _Text, path: tuple[str, ...], most: str, rows: Rows) -> Oddity:
    """Of values that all look like one kind, and are more than one, or no type holds them."""
    if most == "numbers" and (fixed := _decimal(path, rows)):
        return Oddity(
            f"{text.is_string}: some of its numbers are in quotes, {_firsts(text)}; "
            f"--type {fit(text.sent)}={fixed} takes both",
            fixed=(text.sent, fixed),
        )
    return Oddity(f"{text.is_string}: {_firsts(text)}")


def _odd(
    path: tuple[str, ...], rows: Rows, most: str, names: Sequence[str]
) -> Iterator[tuple[int, str]]:
    """The first rows that are not like most, and their values."""
    before = found = 0
    for array in arrays_at(rows.reading.table, path):
        odd = flags(array.is_valid())
        if most == _STRINGS:
            odd = odd & np.logical_or.reduce([_looks(array, name) for name in names])
        else:
            odd = odd & ~_looks(array, most)
        for place in odd.nonzero()[0][: _SHOWN - found].tolist():
            yield before + place, array[place].as_py()
            found += 1
        if found == _SHOWN:
            return
        before += len(array)


def _looks(array: pa.Array, name: str) -> Numbers:
    return flags(pc.match_substring_regex(array, _LOOKS[name]))


def _quoted(value: str) -> str:
    """As JSON has it: what is no string, without quotes."""
    is_text = not any(re.match(look, value) for name, look in _LOOKS.items() if name != "dates")
    return fit(json.dumps(value, ensure_ascii=False) if is_text else value, _QUOTED)


def _type_without(text: _Text, kinds: set[ValueKind]) -> str | None:
    """The type that the column has without values of these kinds, if it has one by that."""
    left = Observed({kind: line for kind, line in text.observed.kinds.items() if kind not in kinds})
    of = infer_type(left)
    if of is None or of == pa.string():
        return None
    return columns_of(pa.schema([pa.field("it", of)]))[0].type


def _are_times_but_for_blanks(path: tuple[str, ...], rows: Rows) -> bool:
    """Whether they also keep to the calendar."""
    return all(
        ValueKind.TEXT not in classify_strings(without_empty(array))[0]
        for array in arrays_at(rows.reading.table, path)
    )


def _decimals_in_quotes(text: _Text, rows: Rows) -> Oddity | None:
    """Of a column of strings, which are all such as "12.50"."""
    for array in arrays_at(rows.reading.table, text.stored) if text.stored else ():
        some = positions(array)[:1]
        if len(some):
            first = array.slice(int(some[0]), 1)
            if not pc.match_substring_regex(first, _DECIMAL).true_count:
                return None
            if pc.match_substring_regex(array, _DECIMAL).true_count < len(array) - array.null_count:
                return None
    if text.stored is None or not (fixed := _decimal(text.stored, rows)):
        return None
    return Oddity(
        f"{text.is_string}: all its numbers are in quotes; "
        f"--type {fit(text.sent)}={fixed} makes numbers of them",
        fixed=(text.sent, fixed),
    )


def _decimal(path: tuple[str, ...], rows: Rows) -> str | None:
    """The decimal type that takes each of the texts at `path`, if one does."""
    arrays = list(arrays_at(rows.reading.table, path))
    return next(
        (
            name
            for name, digits in _DECIMALS.items()
            if all(
                pc.match_substring_regex(array, digits).true_count == len(array) - array.null_count
                for array in arrays
            )
        ),
        None,
    )
