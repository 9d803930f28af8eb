"""Convert columns to and from BigQuery's API and SQL, without a client.

A schema here is a list of `TableFieldSchema` objects as JSON:
https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from feed_assets.schema.columns import NO_DESCRIPTIONS, Column, Columns
from feed_assets.schema.datatypes import BY_NAME, DATATYPES
from feed_assets.warehouse.schema_evolution import WIDER

Fields = Sequence[Mapping[str, Any]]
PROTECTIONS = ("policyTags", "dataPolicies", "dataPolicyList", "dataGovernanceTagsInfo")
"""Properties of a field that decide who may read it.

https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema
"""

LEGACY_TYPES = {each.sql: each.name for each in DATATYPES} | {"STRUCT": "RECORD"}
_SENT = re.compile(r'Sent as (?P<key>"(?:[^"\\]|\\.)*")\.')
_NOW = re.compile(r"Now (?P<repeated>REPEATED )?(?P<type>\w+)\.")
_LONG = "Has held integers beyond 2^53, which no FLOAT holds."


def columns_from(fields: Fields) -> Columns:
    """Convert a table's schema to columns."""
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
    columns: Columns,
    before: Fields = (),
    descriptions: Mapping[str, str] = NO_DESCRIPTIONS,
    path: str = "",
) -> list[dict[str, Any]]:
    """Build the schema of these columns, with every property that the same field of `before` has.

    `descriptions`, by path, replace those of `before`. A field of `before` that is
    protected stays in the schema if no column has its name: its protection could not be restored
    when the column comes back.
    """
    rest = {field["name"].casefold(): field for field in before}
    fields = []
    for column in columns:
        old = rest.pop(column.name.casefold(), {})
        field = {**_carried(old, column), **column.json}
        here = f"{path}{column.name}"
        if column.fields:
            inside = old.get("fields", ())
            field["fields"] = fields_for(column.fields, inside, descriptions, f"{here}.")
        if text := descriptions.get(here) or old.get("description"):
            field["description"] = text
        fields.append(field)
    return fields + [_nullable(old) for old in rest.values() if protected_path([old])]


def _carried(old: Mapping[str, Any], column: Column) -> dict[str, Any]:
    """Select the properties of a field to keep; all if the type stays, else its protections."""
    if not old:
        return {}
    (was,) = columns_from([old])
    if (was.type, was.repeated) == (column.type, column.repeated):
        carried = set(old) - {"fields"}
    elif was.repeated == column.repeated and WIDER.get(was.type) == column.type:
        carried = {*PROTECTIONS, "defaultValueExpression"}
    else:
        carried = set(PROTECTIONS)
    return {name: old[name] for name in old if name in carried}


def _nullable(field: Mapping[str, Any]) -> dict[str, Any]:
    relaxed = dict(field)
    if relaxed.get("mode") == "REQUIRED":
        relaxed["mode"] = "NULLABLE"
    return relaxed


def protected_path(fields: Fields, path: str = "") -> str | None:
    """Find the first field with a policy tag or data policy, by path. None without one."""
    for field in fields:
        here = f"{path}{field['name']}"
        if _protections(field):
            return here
        if inside := protected_path(field.get("fields", ()), f"{here}."):
            return inside
    return None


def unprotected_path(before: Fields, after: Fields, path: str = "") -> str | None:
    """Find the first field of `before` that `after` does not protect in the same way, by path.

    A field that becomes a RECORD is one: a RECORD cannot have policy tags.
    https://cloud.google.com/bigquery/docs/column-level-security-intro#limitations
    """
    new = {field["name"].casefold(): field for field in after}
    for old in before:
        now = new.get(old["name"].casefold(), {})
        here = f"{path}{old['name']}"
        same = bool(old.get("fields")) == bool(now.get("fields"))
        if _protections(old) and not (same and _protections(old) == _protections(now)):
            return here
        if lost := unprotected_path(old.get("fields", ()), now.get("fields", ()), f"{here}."):
            return lost
    return None


def _protections(field: Mapping[str, Any]) -> dict[str, Any]:
    """Return policy tags and data policies. Once removed, BigQuery answers with empty ones."""
    found = {name: field[name] for name in PROTECTIONS if field.get(name)}
    if not found.get("policyTags", {}).get("names"):
        found.pop("policyTags", None)
    return found


def fitted(before: Fields, wanted: Fields) -> list[dict[str, Any]] | None:
    """Build the schema for a load that keeps the table's own. None if a field goes or changes.

    In the table's order, new fields last. Without the protections of the table's fields, which
    it keeps: an account may load without the permission to set them.
    https://github.com/googleapis/python-bigquery/issues/981
    """
    new = {field["name"].casefold(): dict(field) for field in wanted}
    fields = []
    for old in before:
        field = new.pop(old["name"].casefold(), None)
        if field is None or _shape(field) != _shape(old):
            return None
        field = {name: field[name] for name in field if name not in PROTECTIONS}
        field["name"] = old["name"]
        if old.get("fields"):
            inside = fitted(old["fields"], field["fields"])
            if inside is None:
                return None
            field["fields"] = inside
        fields.append(field)
    return [*fields, *new.values()]


def _shape(field: Mapping[str, Any]) -> tuple[str, bool]:
    (column,) = columns_from([field])
    return column.type, column.repeated


def known_from(fields: Fields) -> Columns:
    """Read the columns recorded in a table of known columns; see `known_fields`."""
    return tuple(map(_known, fields))


def _known(field: Mapping[str, Any]) -> Column:
    description = field.get("description", "")
    key = _SENT.search(description)
    if key:
        description = description[: key.start()]  # a key may read like a note
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
        json.loads(key["key"]) if key else None,
    )


def known_fields(columns: Columns, before: Fields) -> list[dict[str, Any]]:
    """Build the schema of a table of known columns from its current one.

    A column of this table never changes its type. The description has the current type if it
    differs, and the feed's key if it is not the column's name. So recording columns is always one
    update of one schema, which BigQuery does atomically and only if the etag is unchanged.
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
    """Format the column's type for DDL."""
    if column.type == "RECORD":
        inner = ", ".join(f"{quoted(field.name)} {sql_type(field)}" for field in column.fields)
        kind = f"STRUCT<{inner}>"
    else:
        kind = BY_NAME[column.type].sql
    return f"ARRAY<{kind}>" if column.repeated else kind


def sql_cast(value: str, before: Column, after: Column) -> str:
    """Build the SQL that converts `value` to a wider type, with the fields of `after` in its order.

    Exact: INTEGER widens to FLOAT only without integers beyond 2^53, NUMERIC to BIGNUMERIC always.
    Fields that `before` lacks are NULL.
    """
    if sql_type(before) == sql_type(after):
        return value
    if before.repeated:
        one, other = (Column("", c.type, fields=c.fields) for c in (before, after))
        element = sql_cast("element", one, other)
        return (
            f"ARRAY(SELECT {element} FROM UNNEST({value}) AS element "
            f"WITH OFFSET AS place ORDER BY place)"
        )
    if before.type == "RECORD":
        had = {field.name.casefold(): field for field in before.fields}
        inner = ", ".join(
            f"{_cast_field(value, had.get(field.name.casefold()), field)} AS {quoted(field.name)}"
            for field in after.fields
        )
        return f"IF({value} IS NULL, NULL, STRUCT({inner}))"
    return f"CAST({value} AS {sql_type(after)})"


def _cast_field(value: str, before: Column | None, after: Column) -> str:
    if before is None:
        return sql_null(after)
    return sql_cast(f"{value}.{quoted(before.name)}", before, after)


def sql_null(column: Column) -> str:
    """Build the SQL of a column without values."""
    return f"CAST(NULL AS {sql_type(column)})"


def in_place(before: Column, after: Column) -> bool:
    """Return whether ALTER can widen the column: it cannot inside arrays."""
    if before.repeated:
        return before == after
    to = {field.name: field for field in after.fields}
    return all(in_place(field, to[field.name]) for field in before.fields)


def quoted(name: str) -> str:
    """Quote a name for SQL. Column names cannot have a backtick."""
    return f"`{name}`"


def sql_text(text: str) -> str:
    """Quote a text for SQL."""
    return json.dumps(text, ensure_ascii=False)


def sql_path(names: Sequence[str]) -> str:
    """Quote the path of a field for SQL."""
    return ".".join(map(quoted, names))
