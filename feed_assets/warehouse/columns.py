"""Columns as BigQuery describes them, and what they are in Arrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from feed_assets.errors import UnsupportedColumn
from feed_assets.keys import key_of, keyed_field

ARROW: dict[str, pa.DataType] = {
    "BOOLEAN": pa.bool_(),
    "INTEGER": pa.int64(),
    "FLOAT": pa.float64(),
    "NUMERIC": pa.decimal128(38, 9),
    "STRING": pa.string(),
    "DATE": pa.date32(),
    "DATETIME": pa.timestamp("us"),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
}
"""BigQuery's legacy type names, as its API and its JSON schemas use them."""


@dataclass(frozen=True)
class Column:
    """A column: `type` is one of ARROW's keys, or RECORD with `fields`.

    `long` tells of an INTEGER that it holds, or held, a value beyond 2^53, which no FLOAT holds.
    `key` is what is kept of the key that a feed sends it as, where that is not its name.
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
    def sent(self) -> str:
        """The key it is sent as."""
        return self.name if self.key is None else self.key

    @property
    def arrow(self) -> pa.DataType:
        if self.type == "RECORD":
            inner: pa.DataType = pa.struct(arrow_schema(self.fields))
        elif self.type in ARROW:
            inner = ARROW[self.type]
        else:
            raise UnsupportedColumn(f"column {self.name} is {self.type}, which is not read here")
        return pa.list_(inner) if self.repeated else inner

    @property
    def json(self) -> dict[str, Any]:
        """As in BigQuery's JSON schema files."""
        mode = "REPEATED" if self.repeated else "NULLABLE"
        described: dict[str, Any] = {"name": self.name, "type": self.type, "mode": mode}
        if self.fields:
            described["fields"] = [field.json for field in self.fields]
        return described


Columns = tuple[Column, ...]


def arrow_schema(columns: Columns) -> pa.Schema:
    """The Arrow schema of rows under these columns, with the keys that they are sent as."""
    return pa.schema([keyed_field(column.name, column.arrow, column.key) for column in columns])


def columns_of(schema: pa.Schema) -> Columns:
    """The columns that hold an Arrow schema; one of type null, never seen with a value, is none.

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
    found = [(field, _column(field.name, field.type, f"{path}{field.name}")) for field in fields]
    return tuple(replace(column, key=key_of(field)) for field, column in found if column)


def _column(name: str, kind: pa.DataType, path: str) -> Column | None:
    if pa.types.is_null(kind):
        return None
    if _is_list(kind):
        element = _column(name, kind.value_type, path)
        if element is not None and element.repeated:
            raise UnsupportedColumn(
                f"column {path} holds lists of lists, which no column type holds"
            )
        return element and replace(element, repeated=True)
    if pa.types.is_struct(kind):
        fields = _columns(kind, f"{path}.")
        return Column(name, "RECORD", fields=fields) if fields else None
    return Column(name, _scalar(path, kind))


def _scalar(path: str, kind: pa.DataType) -> str:
    is_ = pa.types
    if is_.is_boolean(kind):
        return "BOOLEAN"
    if is_.is_integer(kind) and kind != pa.uint64():
        return "INTEGER"
    if is_.is_floating(kind):
        return "FLOAT"
    if is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind):
        return "STRING"
    if is_.is_date(kind):
        return "DATE"
    if is_.is_timestamp(kind):
        return "TIMESTAMP" if kind.tz else "DATETIME"
    if is_.is_decimal128(kind) and kind.scale <= 9 and kind.precision - kind.scale <= 29:
        return "NUMERIC"
    raise UnsupportedColumn(
        f"column {path} has the type {kind}, for which there is no exact column type; "
        f"convert it first (to a string, say)"
    )


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def paths(columns: Columns, prefix: str = "") -> Iterator[tuple[str, Column]]:
    """Every column and field, depth first, with its path in dots."""
    for column in columns:
        path = f"{prefix}{column.name}"
        yield path, column
        yield from paths(column.fields, f"{path}.")
