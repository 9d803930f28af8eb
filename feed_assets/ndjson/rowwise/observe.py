"""Observe rows: the kinds of value in each column, and the first position of each key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from feed_assets.errors import ContentError, row_text
from feed_assets.ndjson.datatypes.datetimes import parse_datetime
from feed_assets.ndjson.datatypes.kinds import is_empty
from feed_assets.ndjson.datatypes.numbers import kind_of_fraction, kind_of_integer
from feed_assets.ndjson.inference.declared_types import NO_DECLARED_TYPES, DeclaredTypes
from feed_assets.ndjson.inference.observed import Observed, ValueKind
from feed_assets.ndjson.strict_json import FloatText, IntText, Row
from feed_assets.schema.datatypes import MAX_COLUMNS as MAX_COLUMNS

_SHORTEST_MOMENT = 10


class Observer:
    """Observation of a feed or a block, grown row by row in ascending order of lines."""

    def __init__(self, types: DeclaredTypes = NO_DECLARED_TYPES) -> None:
        self.observed = Observed()
        self._types = types
        self._columns = 0

    def row(self, row: Row, line: int) -> None:
        """Observe a row. Raise ContentError at the first column beyond MAX_COLUMNS.

        `observed` then includes that column.
        """
        self._value(row, self.observed, self._types, (line,))

    def _value(
        self, value: Any, observed: Observed, types: DeclaredTypes, place: tuple[int, ...]
    ) -> None:
        if is_empty(value):
            return
        if type(value) is dict:
            observed.kinds.setdefault(ValueKind.OBJECT, place[0])
            self._fields(value, observed.fields, types, place)
        elif type(value) is list:
            observed.kinds.setdefault(ValueKind.ARRAY, place[0])
            self._elements(value, observed, types, place)
        else:
            observed.kinds.setdefault(kind_of_value(value), place[0])

    def _fields(
        self, row: Row, fields: dict[str, Observed], types: DeclaredTypes, place: tuple[int, ...]
    ) -> None:
        for index, (key, value) in enumerate(row.items()):
            child = fields.get(key)
            if child is None:
                child = fields[key] = Observed(first=(*place, index))
                self._columns += 1
                if self._columns > MAX_COLUMNS:
                    raise too_many_columns(self.observed)
            if value is None:
                continue
            if type(value) is not dict and type(value) is not list:
                kind = _KIND_OF[type(value)](value)
                if kind not in child.kinds:
                    child.kinds[kind] = place[0]
            elif key in types.by_key:
                # Its type is declared, and its keys can be data, millions of them: skip them.
                if value or types.by_key[key].keeps_empty:
                    child.kinds.setdefault(kind_of_value(value), place[0])
            else:
                self._value(value, child, types.for_key(key), place)

    def _elements(
        self, array: list[Any], observed: Observed, types: DeclaredTypes, place: tuple[int, ...]
    ) -> None:
        if observed.elements is None:
            observed.elements = Observed()
        for index, value in enumerate(array):
            if value is not None:
                self._value(value, observed.elements, types, (*place, index))


def too_many_columns(observed: Observed) -> ContentError:
    """Build the error for an observation with more than MAX_COLUMNS columns."""
    first, key = sorted(_first_positions(observed))[MAX_COLUMNS]
    what = (
        f"line {first[0]} brings the feed to more than {MAX_COLUMNS} columns, nested ones included"
    )
    way = (
        ". Keys that are data cannot be columns: declare the object that contains them as STRING "
        "(types: {path.of.the.object: STRING})"
    )
    return ContentError(what + row_text(f" (here {key[:80]!r})") + way)


def _first_positions(observed: Observed) -> Iterator[tuple[tuple[int, ...], str]]:
    for key, child in observed.fields.items():
        yield child.first or (), key
        yield from _first_positions(child)
    if observed.elements is not None:
        yield from _first_positions(observed.elements)


def kind_of_value(value: Any) -> ValueKind:
    """Return the kind of a value that is not null."""
    return _KIND_OF[type(value)](value)


def _kind_of_string(text: str) -> ValueKind:
    # Most strings are not dates; comparing two characters is cheaper than the pattern.
    if len(text) < _SHORTEST_MOMENT or text[4] != "-" or text[7] != "-":
        return ValueKind.TEXT
    found = parse_datetime(text)
    if found is None:
        return ValueKind.TEXT
    return ValueKind.DATETIME if found.tzinfo is None else ValueKind.TIMESTAMP


_KIND_OF: dict[type, Callable[[Any], ValueKind]] = {
    bool: lambda _: ValueKind.BOOLEAN,
    IntText: kind_of_integer,
    FloatText: kind_of_fraction,
    str: _kind_of_string,
    dict: lambda _: ValueKind.OBJECT,
    list: lambda _: ValueKind.ARRAY,
}
