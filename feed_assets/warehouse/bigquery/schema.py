"""Columns as BigQuery's API and SQL write them; knows no client.

A schema here is a list of `TableFieldSchema` objects as JSON:
https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from feed_assets.schema.columns import UNSAID, Column, Columns

Fields = Sequence[Mapping[str, Any]]

SQL_TYPES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
LEGACY_TYPES = {sql: legacy for legacy, sql in SQL_TYPES.items()} | {"STRUCT": "RECORD"}

_SENT = re.compile(r'Sent as (?P<key>"(?:[^"\\]|\\.)*")\.')
_NOW = re.compile(r"Now (?P<repeated>REPEATED )?(?P<type>\w+)\.")
_LONG = "Has held integers beyond 2^53, which no FLOAT holds."


def columns_from(fields: Fields) -> Columns:
    """The columns of a table."""
    return tuple(
        Column(
            field["name"],
            str(LEGACY_TYPES.get(field["type"], field["type"])),
            field.get("mode") == "REPEATED",
            columns_from(field.get("fields", ())),
        )
        for field in fields
    )


def fields_for(
    columns: Columns, before: Fields = (), said: Mapping[str, str] = UNSAID, path: str = ""
) -> list[dict[str, Any]]:
    """The schema of these columns, with their descriptions.

    Those are what is `said` of a path, or else what the field of the same name had before.
    """
    had = {field["name"].casefold(): field for field in before}
    fields = []
    for column in columns:
        old = had.get(column.name.casefold(), {})
        field = column.json
        here = f"{path}{column.name}"
        if column.fields:
            inside = old.get("fields", ())
            field["fields"] = fields_for(column.fields, inside, said, f"{here}.")
        if text := said.get(here) or old.get("description"):
            field["description"] = text
        fields.append(field)
    return fields


def known_from(fields: Fields) -> Columns:
    """The columns that a table of known columns tells of; see `known_fields`."""
    return tuple(map(_known, fields))


def _known(field: Mapping[str, Any]) -> Column:
    description = field.get("description", "")
    sent = _SENT.search(description)
    if sent:
        description = description[: sent.start()]  # a key may read like a note
    (column,) = columns_from([field])
    kind, repeated, fields = column.type, column.repeated, known_from(field.get("fields", ()))
    if now := _NOW.search(description):
        kind, repeated = str(now["type"]), bool(now["repeated"])
    return Column(
        column.name,
        kind,
        repeated,
        fields if kind == "RECORD" else (),
        _LONG in description,
        json.loads(sent["key"]) if sent else None,
    )


def known_fields(columns: Columns, before: Fields) -> list[dict[str, Any]]:
    """The schema of a table of known columns, made from the one it has.

    A schema's columns keep their type for good, so where one has changed since, its description
    says so; it also has the key that is not the column's name. Then learning is always one update
    of one schema, which BigQuery does atomically, and only if nobody else was faster.
    """
    had = {field["name"].casefold(): field for field in before}
    return [_known_field(column, had.get(column.name.casefold())) for column in columns]


def _known_field(column: Column, before: Mapping[str, Any] | None) -> dict[str, Any]:
    field = dict(column.json) if before is None else dict(before)
    (shape,) = columns_from([field])
    notes = []
    if (shape.type, shape.repeated) != (column.type, column.repeated):
        notes.append(f"Now {'REPEATED ' * column.repeated}{column.type}.")
    if column.type == "RECORD":
        field["fields"] = known_fields(column.fields, (before or {}).get("fields", ()))
    if column.long:
        notes.append(_LONG)
    if column.key is not None:
        notes.append(f"Sent as {json.dumps(column.key)}.")
    return {**field, "description": " ".join(notes)}


def sql_type(column: Column) -> str:
    """The column's type in DDL."""
    if column.type == "RECORD":
        inner = ", ".join(f"{quoted(field.name)} {sql_type(field)}" for field in column.fields)
        kind = f"STRUCT<{inner}>"
    else:
        kind = SQL_TYPES.get(column.type, column.type)
    return f"ARRAY<{kind}>" if column.repeated else kind


def sql_cast(value: str, before: Column, after: Column) -> str:
    """The expression that brings `value` from one type to another of the same shape."""
    if before.repeated:
        one, other = (Column("", c.type, fields=c.fields) for c in (before, after))
        element = sql_cast("element", one, other)
        return (
            f"ARRAY(SELECT {element} FROM UNNEST({value}) AS element "
            f"WITH OFFSET AS place ORDER BY place)"
        )
    if before.type == "RECORD":
        to = {field.name: field for field in after.fields}
        inner = ", ".join(
            f"{sql_cast(f'{value}.{quoted(f.name)}', f, to[f.name])} AS {quoted(f.name)}"
            for f in before.fields
        )
        return f"IF({value} IS NULL, NULL, STRUCT({inner}))"
    return value if before.type == after.type else f"CAST({value} AS {sql_type(after)})"


def in_place(before: Column, after: Column) -> bool:
    """Whether ALTER can widen the column: it cannot inside arrays."""
    if before.repeated:
        return before == after
    to = {field.name: field for field in after.fields}
    return all(in_place(field, to[field.name]) for field in before.fields)


def quoted(name: str) -> str:
    """A name in SQL. Column names cannot have a backtick."""
    return f"`{name}`"


def sql_path(names: Sequence[str]) -> str:
    """A field of a column, by the names on the way to it."""
    return ".".join(map(quoted, names))
