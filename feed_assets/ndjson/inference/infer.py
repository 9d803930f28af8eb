"""Observation to columns and their types: the table of types, as pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from feed_assets.ndjson.datatypes.kinds import Declared
from feed_assets.ndjson.inference.column_names import column_names
from feed_assets.ndjson.inference.declared_types import NOTHING_DECLARED, Scope
from feed_assets.ndjson.inference.observed import Kind, Seen
from feed_assets.schema.arrow_metadata import sent_as, text_of

MAX_LEVEL = 15  # BigQuery's bound on RECORD inside RECORD; arrays do not count


_Fields = Iterable[pa.Field]  # of a schema or a struct
_Resolved = tuple[pa.DataType | None, tuple["Column", ...]]


def resolve(
    seen: Seen,
    scope: Scope = NOTHING_DECLARED,
    known: pa.DataType | None = None,
    level: int = 1,
) -> pa.DataType | None:
    """The type of a column in which that was seen; None while nothing in it has a type.

    `known` is the type that the column had in the table before. It matters where it is STRING:
    such a column stays one, so that its values are kept as they were sent. `level` is that of an
    object standing there: 1 for a column's own value.
    """
    return _resolved(seen, scope, known, level)[0]


@dataclass(frozen=True)
class Column:
    """A field of an object, or of the row: `key` as the feed spells it, `name` as it is stored.

    `fields` are those of the records in it, be they its values or elements of its arrays.
    """

    key: str
    name: str
    type: pa.DataType | None
    declared: Declared | None
    seen: Seen
    scope: Scope
    fields: tuple[Column, ...]


def columns(
    seen: Seen,
    scope: Scope = NOTHING_DECLARED,
    known: _Fields = (),
    level: int = 1,
) -> tuple[Column, ...]:
    """The columns that the fields of an object make, those without a type included.

    One that is `known` is known by its key, as `arrow_fields` tells it of a field.

    They are in the order in which their keys first appeared in the feed, be it with null: by line,
    then by place in the line. Declared ones that never appeared come last, as they were declared.
    """
    absent = [key for key in scope.types if key not in seen.fields and "." not in key]
    names = column_names(
        [*seen.fields, *absent],
        flexible=scope.flexible_names,
        known={sent_as(field): field.name for field in known},
    )
    in_order = sorted(seen.fields, key=lambda key: seen.fields[key].first or ())
    before = {field.name: field.type for field in known if text_of(field) is None}
    made = []
    for key in (*in_order, *absent):
        of_key, inside = seen.fields.get(key, Seen()), scope.within(key)
        declared, was = scope.types.get(key), before.get(names[key])
        if declared is None:
            found, fields = _resolved(of_key, inside, was, level)
        else:
            found, fields = declared.arrow, ()
        made.append(Column(key, names[key], found, declared, of_key, inside, fields))
    return tuple(made)


def _resolved(seen: Seen, scope: Scope, known: pa.DataType | None, level: int) -> _Resolved:
    kinds = seen.kinds.keys()
    if kinds == {Kind.OBJECT} and level <= MAX_LEVEL:
        found = _record(seen, scope, known, level)
    elif kinds == {Kind.ARRAY}:
        found = _repeated(seen.elements or Seen(), scope, known, level)
    else:
        found = _scalar(seen, scope), ()
    if found[0] is not None and known == pa.string():
        return known, ()
    return found


def _record(seen: Seen, scope: Scope, known: pa.DataType | None, level: int) -> _Resolved:
    before = known if known is not None and pa.types.is_struct(known) else ()
    fields = columns(seen, scope, before, level + 1)
    typed = [pa.field(each.name, each.type) for each in fields if each.type is not None]
    return (pa.struct(typed) if typed else None), fields


def _repeated(elements: Seen, scope: Scope, known: pa.DataType | None, level: int) -> _Resolved:
    if elements.kinds.keys() == {Kind.ARRAY}:  # there are no arrays of arrays: text
        return (None if _holds_nothing(elements, scope) else pa.list_(pa.string())), ()
    before = known.value_type if known is not None and pa.types.is_list(known) else None
    found, fields = _resolved(elements, scope, before, level)
    return (None if found is None else pa.list_(found)), fields


def _scalar(seen: Seen, scope: Scope) -> pa.DataType | None:
    kinds = seen.kinds.keys()
    if _holds_nothing(seen, scope):
        return None
    if kinds == {Kind.BOOLEAN}:
        return pa.bool_()
    if kinds <= {Kind.INTEGER, Kind.LONG}:
        return pa.int64()
    if kinds <= {Kind.INTEGER, Kind.FRACTION}:
        return pa.float64()
    if kinds == {Kind.DATETIME}:
        return pa.timestamp("us")
    if kinds == {Kind.TIMESTAMP}:
        return pa.timestamp("us", "UTC")
    return pa.string()  # other strings, a mixture, or numbers that no type holds exactly enough


def _holds_nothing(seen: Seen, scope: Scope) -> bool:
    """Whether all that was ever seen is null, `[]`, `{}` and these inside each other.

    A declared column holds something as soon as it was seen with a value: to STRING, `{}` is one.
    """
    return (
        seen.kinds.keys() <= {Kind.OBJECT, Kind.ARRAY}
        and all(
            not child.kinds if key in scope.types else _holds_nothing(child, scope.within(key))
            for key, child in seen.fields.items()
        )
        and (seen.elements is None or _holds_nothing(seen.elements, scope))
    )
