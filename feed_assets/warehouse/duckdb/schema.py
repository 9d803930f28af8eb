"""Columns as DuckDB holds them; knows no connection.

DuckDB has no decimal beyond 38 digits and, without an extension, no geography. Both are VARCHAR:
BIGNUMERIC in plain digits, so that equal numbers are equal texts, GEOGRAPHY as it was sent. What
such a column is, and JSON's, is in its comment, which comes and goes with the column.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from feed_assets.schema.columns import NO_DESCRIPTIONS, Column, Columns, paths
from feed_assets.schema.datatypes import BY_NAME, DATATYPES

_AS_TEXT = {each.name for each in DATATYPES if each.is_text_in_duckdb}


def sql_type(column: Column) -> str:
    """The column's type in DDL."""
    if column.type == "RECORD":
        fields = ", ".join(f"{quoted(field.name)} {sql_type(field)}" for field in column.fields)
        kind = f"STRUCT({fields})"
    else:
        kind = BY_NAME[column.type].duckdb
    return f"{kind}[]" if column.repeated else kind


def select_sql(column: Column) -> str:
    """The column of rows that are under `storage_columns`, in its own type.

    Exact: DuckDB's JSON is the text itself.
    """
    name = quoted(column.name)
    is_json = any(each.type == "JSON" for _, each in paths((column,)))
    return f"CAST({name} AS {sql_type(column)}) AS {name}" if is_json else name


def set_type_sql(before: Column, after: Column) -> str:
    """The end of an ALTER that widens a column.

    Exact: INTEGER becomes FLOAT only where none is beyond 2^53; a decimal's text is exact.
    """
    kind = f"SET DATA TYPE {sql_type(after)}"
    if (before.type, after.type, before.repeated) != ("NUMERIC", "BIGNUMERIC", False):
        return kind
    digits = f"CAST({quoted(before.name)} AS VARCHAR)"
    return f"{kind} USING rtrim(rtrim({digits}, '0'), '.')"


def storage_columns(columns: Columns) -> Columns:
    """The columns as DuckDB gives and takes them in Arrow."""
    return tuple(
        replace(
            column,
            type="STRING" if column.type in _AS_TEXT else column.type,
            fields=storage_columns(column.fields),
        )
        for column in columns
    )


def comment(column: Column, said: Mapping[str, str] = NO_DESCRIPTIONS) -> str | None:
    """Build the comment: descriptions by path, then what the type does not show.

    That is what is text, by path from the column on. Fields cannot have comments of their own.
    """
    lines = [
        text if path == column.name else f"{path[len(column.name) + 1 :]}: {text}"
        for path, _ in paths((column,))
        if (text := said.get(path))
    ]
    types = {
        path[len(column.name) + 1 :]: each.type
        for path, each in paths((column,))
        if each.type in _AS_TEXT
    }
    return "\n".join([*lines, json.dumps(types, ensure_ascii=False)] if types else lines) or None


def updated_comment(standing: str | None, column: Column) -> str | None:
    """The comment of a column that was changed: what it said, and what is so of its type now."""
    said, _, _ = (standing or "").rpartition("\n")
    kept = said if _types(standing) else standing
    return "\n".join(filter(None, [kept, comment(column)])) or None


def with_commented_types(current: Columns, comments: Mapping[str, str | None]) -> Columns:
    """The columns that are held, with what their comments tell, by name."""
    return tuple(
        _with_commented_types(column, _types(comments.get(column.name)), "") for column in current
    )


def _with_commented_types(column: Column, types: Mapping[str, str], path: str) -> Column:
    inside = f"{path}." if path else ""
    fields = tuple(
        _with_commented_types(each, types, f"{inside}{each.name}") for each in column.fields
    )
    kind = types.get(path, column.type) if column.type == "STRING" else column.type
    return replace(column, type=kind, fields=fields)


def _types(text: str | None) -> Mapping[str, str]:
    """A comment may also be somebody else's."""
    try:
        found = json.loads((text or "").rpartition("\n")[2])
    except ValueError:
        return {}
    ours = isinstance(found, dict) and _AS_TEXT.issuperset(map(str, found.values()))
    return found if ours else {}


def quoted(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str | None) -> str:
    """A text in SQL."""
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"
