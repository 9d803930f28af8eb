"""Columns as BigQuery describes them, converted to and from Arrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from feed_assets.errors import UnsupportedColumn
from feed_assets.schema.arrow_metadata import keyed_field, stored_key, text_field, text_type
from feed_assets.schema.datatypes import BY_NAME, DATATYPES, is_text

NO_DESCRIPTIONS: Mapping[str, str] = MappingProxyType({})
"""No descriptions of columns, by path."""


@dataclass(frozen=True)
class Column:
    """A column: `type` is one of DATATYPES, by name, or RECORD with `fields`.

    `long` is true for an INTEGER that has ever had a value beyond 2^53, which no FLOAT holds.
    `key` is the feed's key as `shorten_key` returns it; None if the column has its name.
    """

    name: str
    type: str
    repeated: bool = False
    fields: tuple[Column, ...] = ()
    long: bool = False
    key: str | None = None

    def __str__(self) -> str:
        """The type as a person reads it: `REPEATED RECORD`, `INTEGER beyond 2^53`."""
        beyond = " beyond 2^53" if self.long and self.type == "INTEGER" else ""
        return f"{'REPEATED ' * self.repeated}{self.type}{beyond}"

    @property
    def source_key(self) -> str:
        """The feed's key."""
        return self.name if self.key is None else self.key

    @property
    def arrow(self) -> pa.DataType:
        if self.type == "RECORD":
            inner: pa.DataType = pa.struct([field.arrow_field for field in self.fields])
        elif self.type in BY_NAME:
            inner = BY_NAME[self.type].arrow
        else:
            raise UnsupportedColumn(f"column {self.name} is {self.type}, which is not read here")
        return pa.list_(inner) if self.repeated else inner

    @property
    def arrow_field(self) -> pa.Field:
        field = keyed_field(self.name, self.arrow, self.key)
        return text_field(field, self.type if is_text(self.type) else None)

    @property
    def json(self) -> dict[str, Any]:
        """Return the column as BigQuery's JSON schema files have it."""
        mode = "REPEATED" if self.repeated else "NULLABLE"
        described: dict[str, Any] = {"name": self.name, "type": self.type, "mode": mode}
        if self.fields:
            described["fields"] = [field.json for field in self.fields]
        return described


Columns = tuple[Column, ...]


def arrow_schema(columns: Columns) -> pa.Schema:
    """Return the Arrow schema, with metadata for what Arrow's types do not express."""
    return pa.schema([column.arrow_field for column in columns])


def with_text_types(rows: pa.Table, types: Mapping[str, str]) -> pa.Table:
    """Return the rows with the types of their text, JSON or GEOGRAPHY by path, as metadata."""
    for path, kind in types.items():
        if not is_text(kind):
            raise UnsupportedColumn(
                f'attrs["types"] declares column {path} as {kind}; only JSON and GEOGRAPHY can be '
                f"declared there; give the column values of that type"
            )
    fields = [_with_text_types(field, types, field.name) for field in rows.schema]
    return pa.Table.from_arrays(rows.columns, schema=pa.schema(fields))


def _with_text_types(field: pa.Field, types: Mapping[str, str], path: str) -> pa.Field:
    inside, lists = field.type, _is_list(field.type)
    if lists:
        inside = inside.value_type
    if pa.types.is_struct(inside):
        inside = pa.struct(
            [_with_text_types(each, types, f"{path}.{each.name}") for each in inside]
        )
        field = field.with_type(pa.list_(inside) if lists else inside)
    kind = types.get(path)
    return text_field(field, kind)


def text_types(columns: Columns) -> dict[str, str]:
    """Return the types of text in these columns, by path."""
    return {path: column.type for path, column in paths(columns) if is_text(column.type)}


def columns_of(schema: pa.Schema) -> Columns:
    """Return the columns for an Arrow schema, without those of type null: they have no value yet.

    Raises UnsupportedColumn for a type that no column holds exactly.
    """
    return _columns(schema, "")


def _columns(fields: Iterable[pa.Field], path: str) -> Columns:
    taken: dict[str, str] = {}
    for field in fields:
        other = taken.get(field.name.casefold())
        if other is not None:
            raise UnsupportedColumn(
                f"columns {path}{other} and {path}{field.name} have one name, as case does not "
                f"distinguish; rename one"
            )
        taken[field.name.casefold()] = field.name
    found = [(field, _column(field, field.type, f"{path}{field.name}")) for field in fields]
    return tuple(replace(column, key=stored_key(field)) for field, column in found if column)


def _column(field: pa.Field, kind: pa.DataType, path: str) -> Column | None:
    if pa.types.is_null(kind):
        return None
    if _is_list(kind):
        element = _column(field, kind.value_type, path)
        if element is not None and element.repeated:
            raise UnsupportedColumn(
                f"column {path} holds lists of lists, which no column type holds"
            )
        return element and replace(element, repeated=True)
    if pa.types.is_struct(kind):
        fields = _columns(kind, f"{path}.")
        return Column(field.name, "RECORD", fields=fields) if fields else None
    scalar = _scalar(path, kind)
    return Column(field.name, (text_type(field) or scalar) if scalar == "STRING" else scalar)


def _scalar(path: str, kind: pa.DataType) -> str:
    found = next((each.name for each in DATATYPES if each.holds(kind)), None)
    if found is None:
        raise UnsupportedColumn(
            f"column {path} has the type {kind}, for which there is no exact column type; "
            f"convert it first (to a string, say)"
        )
    return found


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def paths(columns: Columns, prefix: str = "") -> Iterator[tuple[str, Column]]:
    """Yield every column and field, depth first, with its dotted path."""
    for column in columns:
        path = f"{prefix}{column.name}"
        yield path, column
        yield from paths(column.fields, f"{path}.")


def described(columns: Columns, descriptions: Mapping[str, str]) -> dict[str, str]:
    """Return the descriptions of these columns and fields, by path as stored.

    `descriptions` are by path in the feed, or else as stored.
    """
    return {
        path: text
        for path, source in source_paths(columns)
        if (text := descriptions.get(source) or descriptions.get(path))
    }


def source_paths(columns: Columns, path: str = "", source: str = "") -> Iterator[tuple[str, str]]:
    """Yield the paths of every column and field, depth first: as stored and as in the feed."""
    for column in columns:
        stored, in_feed = f"{path}{column.name}", f"{source}{column.source_key}"
        yield stored, in_feed
        yield from source_paths(column.fields, f"{stored}.", f"{in_feed}.")
