"""The columns of a table and of the records in it, by their dotted paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from feed_assets.ndjson.datatypes.kinds import DeclaredType
from feed_assets.ndjson.inference.infer import Column
from feed_assets.schema.arrow_metadata import kept, keyed_field
from feed_assets.schema.datatypes import TEXTS


@dataclass(frozen=True)
class Place:
    """A column's path as the feed sent it, its path as it is stored, and its type."""

    sent: str
    stored: str
    type: pa.DataType | None
    declared: DeclaredType | None


def places(columns: Sequence[Column]) -> Iterator[Place]:
    """Every column, records before what they hold; nothing inside a column without a type."""
    for column in columns:
        yield Place(column.key, column.name, column.type, column.declared)
        if column.type is not None:
            for inner in places(column.fields):
                sent, stored = f"{column.key}.{inner.sent}", f"{column.name}.{inner.stored}"
                yield Place(sent, stored, inner.type, inner.declared)


def keyed(columns: Sequence[Column]) -> pa.Schema:
    """The columns that have a type, each with its key where that is not its name."""
    return pa.schema(_fields(columns))


def _fields(columns: Sequence[Column]) -> list[pa.Field]:
    return [
        keyed_field(
            each.name, _type(each, each.type), None if each.key == each.name else kept(each.key)
        )
        for each in columns
        if each.type is not None
    ]


def _type(column: Column, of: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(of):
        return pa.struct(_fields(column.fields))
    return pa.list_(_type(column, of.value_type)) if pa.types.is_list(of) else of


def named(columns: Sequence[Column]) -> pa.Schema:
    """Every column that the feed names or declares, of type null where no row has a value."""
    return pa.schema([pa.field(each.name, _named(each, each.type)) for each in columns])


def _named(column: Column, of: pa.DataType | None) -> pa.DataType:
    if of is not None and pa.types.is_list(of):
        return pa.list_(_named(column, of.value_type))
    if of is not None and not pa.types.is_struct(of):
        return of
    fields = [pa.field(each.name, _named(each, each.type)) for each in column.fields]
    return pa.struct(fields) if fields else pa.null()


def untyped(columns: Sequence[Column]) -> tuple[str, ...]:
    """Columns seen with nothing but null, [] and {}, by path as sent."""
    return tuple(place.sent for place in places(columns) if place.type is None)


def renamed(columns: Sequence[Column]) -> dict[str, str]:
    """Path as stored by path as sent, where a name had to change."""
    return {
        place.sent: place.stored
        for place in places(columns)
        if place.type is not None and place.sent != place.stored
    }


def texts(columns: Sequence[Column]) -> dict[str, str]:
    """What the text of a column is, where Arrow has no type for it, by path as stored."""
    return {
        place.stored: place.declared.name
        for place in places(columns)
        if place.declared is not None and place.declared.name in TEXTS
    }
