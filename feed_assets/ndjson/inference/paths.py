"""Columns and the fields nested in them, listed by dotted path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from feed_assets.ndjson.datatypes.kinds import DeclaredType
from feed_assets.ndjson.inference.infer import Column
from feed_assets.schema.arrow_metadata import keyed_field, shorten_key
from feed_assets.schema.datatypes import is_text


@dataclass(frozen=True)
class ColumnPath:
    """A column's path by the feed's keys, its path by stored names, and its type."""

    source: str
    stored: str
    type: pa.DataType | None
    declared: DeclaredType | None


def walk_columns(columns: Sequence[Column]) -> Iterator[ColumnPath]:
    """Yield every column, a record before its fields; no fields of a column without a type."""
    for column in columns:
        yield ColumnPath(column.key, column.name, column.type, column.declared)
        if column.type is not None:
            for inner in walk_columns(column.fields):
                source, stored = f"{column.key}.{inner.source}", f"{column.name}.{inner.stored}"
                yield ColumnPath(source, stored, inner.type, inner.declared)


def schema_with_keys(columns: Sequence[Column]) -> pa.Schema:
    """Return the columns that have a type, each with its key where that differs from its name."""
    return pa.schema(_fields(columns))


def _fields(columns: Sequence[Column]) -> list[pa.Field]:
    return [
        keyed_field(
            each.name,
            _type(each, each.type),
            None if each.sent_as == each.name else shorten_key(each.sent_as),
        )
        for each in columns
        if each.type is not None
    ]


def _type(column: Column, of: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(of):
        return pa.struct(_fields(column.fields))
    return pa.list_(_type(column, of.value_type)) if pa.types.is_list(of) else of


def schema_of_keys(columns: Sequence[Column]) -> pa.Schema:
    """Return every column the feed sends or declares, of type null where no row has a value."""
    return pa.schema([pa.field(each.name, _type_or_null(each, each.type)) for each in columns])


def _type_or_null(column: Column, of: pa.DataType | None) -> pa.DataType:
    if of is not None and pa.types.is_list(of):
        return pa.list_(_type_or_null(column, of.value_type))
    if of is not None and not pa.types.is_struct(of):
        return of
    fields = [pa.field(each.name, _type_or_null(each, each.type)) for each in column.fields]
    return pa.struct(fields) if fields else pa.null()


def untyped_paths(columns: Sequence[Column]) -> tuple[str, ...]:
    """Return the feed's paths of columns that hold only null, [] and {}."""
    return tuple(path.source for path in walk_columns(columns) if path.type is None)


def renamed_paths(columns: Sequence[Column]) -> dict[str, str]:
    """Return stored path by source path, where the two differ."""
    return {
        path.source: path.stored
        for path in walk_columns(columns)
        if path.type is not None and path.source != path.stored
    }


def text_types(columns: Sequence[Column]) -> dict[str, str]:
    """Return JSON or GEOGRAPHY by stored path, for the columns that Arrow stores as text."""
    return {
        path.stored: path.declared.name
        for path in walk_columns(columns)
        if path.declared is not None and is_text(path.declared.name)
    }
