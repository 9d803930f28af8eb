"""Infer columns and their types from observations, in pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from feed_assets.errors import ContentError
from feed_assets.ndjson.datatypes.kinds import DeclaredType
from feed_assets.ndjson.inference.column_names import column_names, fold_name
from feed_assets.ndjson.inference.declared_types import NO_DECLARED_TYPES, DeclaredTypes
from feed_assets.ndjson.inference.observed import Observed, ValueKind
from feed_assets.schema.arrow_metadata import source_key, text_type
from feed_assets.schema.datatypes import BY_NAME

MAX_LEVEL = 15  # BigQuery's limit on nested RECORDs; arrays do not count


_INFERRED = (
    ("BOOLEAN", {ValueKind.BOOLEAN}),
    ("INTEGER", {ValueKind.INTEGER, ValueKind.LONG}),
    ("FLOAT", {ValueKind.INTEGER, ValueKind.FRACTION}),
    ("DATETIME", {ValueKind.DATETIME}),
    ("TIMESTAMP", {ValueKind.TIMESTAMP}),
)
"""The type of a column: the first that holds all kinds of its values, or else STRING."""
_Fields = Iterable[pa.Field]  # of a schema or a struct
_Resolved = tuple[pa.DataType | None, tuple["Column", ...]]


def infer_type(
    observed: Observed,
    types: DeclaredTypes = NO_DECLARED_TYPES,
    known: pa.DataType | None = None,
    level: int = 1,
) -> pa.DataType | None:
    """Infer the type of a column; None if it has no values.

    `known` is the column's previous type: STRING stays STRING, so that its values are stored as the
    feed wrote them. `level` is the nesting level of records: 1 for the value of a column.
    """
    return _resolved(observed, types, known, level)[0]


@dataclass(frozen=True)
class Column:
    """A column, or a field of a record: `key` in the feed, `name` in the table.

    `fields` are those of its records, whether they are values or elements of arrays.
    """

    key: str
    name: str
    type: pa.DataType | None
    declared: DeclaredType | None
    observed: Observed
    declared_types: DeclaredTypes
    fields: tuple[Column, ...]
    sent_as: str
    """The key, or the name that is declared for it: what the table knows the column by."""


def infer_columns(
    observed: Observed,
    types: DeclaredTypes = NO_DECLARED_TYPES,
    known: _Fields = (),
    level: int = 1,
) -> tuple[Column, ...]:
    """Infer the columns of an object, those without a type included.

    `known` fields are matched by key. Columns are in the order of their first occurrence in the
    feed, also with null. Declared columns that never occur come last, in declared order.
    """
    absent = [key for key in types.by_key if key not in observed.fields and "." not in key]
    sent_as = {key: types.names.get(key, key) for key in (*observed.fields, *absent)}
    names = column_names(
        sent_as.values(),
        flexible=types.flexible_names,
        known={source_key(field): field.name for field in known},
    )
    _check_renamed(sent_as, names)
    in_order = sorted(observed.fields, key=lambda key: observed.fields[key].first or ())
    before = {field.name: field.type for field in known if text_type(field) is None}
    made = []
    for key in (*in_order, *absent):
        of_key, inside = observed.fields.get(key, Observed()), types.for_key(key)
        name = names[sent_as[key]]
        declared, was = types.by_key.get(key), before.get(name)
        if declared is None:
            found, fields = _resolved(of_key, inside, was, level)
        else:
            found, fields = declared.arrow, ()
        made.append(Column(key, name, found, declared, of_key, inside, fields, sent_as[key]))
    return tuple(made)


def _check_renamed(sent_as: Mapping[str, str], names: Mapping[str, str]) -> None:
    """Raise ContentError if a column has no declared name because another key has it."""
    for key, name in sent_as.items():
        if key == name:
            continue
        others = [
            other
            for other, alias in sent_as.items()
            if other != key and fold_name(names[alias]) == fold_name(name)
        ]
        if others or names[name] != name:
            raise ContentError(
                f"columns renames {key} to {name}, which is the name of "
                f"{f'{others[0]} in the feed' if others else 'another column so far'}; choose a "
                f"different name"
            )


def _resolved(
    observed: Observed, types: DeclaredTypes, known: pa.DataType | None, level: int
) -> _Resolved:
    kinds = observed.kinds.keys()
    if kinds == {ValueKind.OBJECT} and level <= MAX_LEVEL:
        found = _record(observed, types, known, level)
    elif kinds == {ValueKind.ARRAY}:
        found = _repeated(observed.elements or Observed(), types, known, level)
    else:
        found = _scalar(observed, types), ()
    if found[0] is not None and known == pa.string():
        return known, ()
    return found


def _record(
    observed: Observed, types: DeclaredTypes, known: pa.DataType | None, level: int
) -> _Resolved:
    before = known if known is not None and pa.types.is_struct(known) else ()
    fields = infer_columns(observed, types, before, level + 1)
    typed = [pa.field(each.name, each.type) for each in fields if each.type is not None]
    return (pa.struct(typed) if typed else None), fields


def _repeated(
    elements: Observed, types: DeclaredTypes, known: pa.DataType | None, level: int
) -> _Resolved:
    if elements.kinds.keys() == {ValueKind.ARRAY}:  # BigQuery has no arrays of arrays: text
        return (None if _holds_nothing(elements, types) else pa.list_(pa.string())), ()
    before = known.value_type if known is not None and pa.types.is_list(known) else None
    found, fields = _resolved(elements, types, before, level)
    return (None if found is None else pa.list_(found)), fields


def _scalar(observed: Observed, types: DeclaredTypes) -> pa.DataType | None:
    kinds = observed.kinds.keys()
    if _holds_nothing(observed, types):
        return None
    # STRING: other strings, a mixture, or numbers that no type represents exactly
    name = next((name for name, allowed in _INFERRED if kinds <= allowed), "STRING")
    found: pa.DataType = BY_NAME[name].arrow
    return found


def _holds_nothing(observed: Observed, types: DeclaredTypes) -> bool:
    """Return whether all values are null, `[]`, `{}` or nestings of these.

    A declared column counts as soon as it has any kind: for STRING, `{}` is a value.
    """
    return (
        observed.kinds.keys() <= {ValueKind.OBJECT, ValueKind.ARRAY}
        and all(
            not child.kinds if key in types.by_key else _holds_nothing(child, types.for_key(key))
            for key, child in observed.fields.items()
        )
        and (observed.elements is None or _holds_nothing(observed.elements, types))
    )
