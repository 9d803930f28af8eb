"""Convert columns to and from DuckDB's, without a connection.

DuckDB has no decimal beyond 38 digits and, without an extension, no geography. Both are VARCHAR:
BIGNUMERIC in plain digits, so that equal numbers are equal texts, GEOGRAPHY as in the feed. The
column's comment has the type of these columns and of JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from feed_assets.schema.columns import NO_DESCRIPTIONS, Column, Columns, paths
from feed_assets.schema.datatypes import BY_NAME, DATATYPES

_AS_TEXT = {each.name for each in DATATYPES if each.is_text_in_duckdb}


def sql_type(column: Column) -> str:
    """Format the column's type for DDL."""
    if column.type == "RECORD":
        fields = ", ".join(f"{quoted(field.name)} {sql_type(field)}" for field in column.fields)
        kind = f"STRUCT({fields})"
    else:
        kind = BY_NAME[column.type].duckdb
    return f"{kind}[]" if column.repeated else kind


def select_sql(column: Column) -> str:
    """Select the column from rows with `storage_columns`, cast to its own type.

    Exact: DuckDB's JSON is the text itself.
    """
    name = quoted(column.name)
    is_json = any(each.type == "JSON" for _, each in paths((column,)))
    return f"CAST({name} AS {sql_type(column)}) AS {name}" if is_json else name


def set_type_sql(before: Column, after: Column) -> str:
    """Format the end of an ALTER that widens a column.

    Exact: INTEGER becomes FLOAT only where none is beyond 2^53; a decimal's text is exact.
    """
    kind = f"SET DATA TYPE {sql_type(after)}"
    if (before.type, after.type, before.repeated) != ("NUMERIC", "BIGNUMERIC", False):
        return kind
    digits = f"CAST({quoted(before.name)} AS VARCHAR)"
    return f"{kind} USING rtrim(rtrim({digits}, '0'), '.')"


def storage_columns(columns: Columns) -> Columns:
    """Return the columns with the types that DuckDB exchanges as Arrow."""
    return tuple(
        replace(
            column,
            type="STRING" if column.type in _AS_TEXT else column.type,
            fields=storage_columns(column.fields),
        )
        for column in columns
    )


def comment(column: Column, descriptions: Mapping[str, str] = NO_DESCRIPTIONS) -> str | None:
    """Build the comment: descriptions by path, then the types of text, by path inside the column.

    Fields cannot have comments of their own.
    """
    lines = [
        text if path == column.name else f"{path[len(column.name) + 1 :]}: {text}"
        for path, _ in paths((column,))
        if (text := descriptions.get(path))
    ]
    types = {
        path[len(column.name) + 1 :]: each.type
        for path, each in paths((column,))
        if each.type in _AS_TEXT
    }
    return "\n".join([*lines, json.dumps(types, ensure_ascii=False)] if types else lines) or None


def updated_comment(current: str | None, column: Column) -> str | None:
    """Build the comment of a changed column: its description so far, and its types now."""
    above, _, _ = (current or "").rpartition("\n")
    text = above if _types(current) else current
    return "\n".join(filter(None, [text, comment(column)])) or None


def with_commented_types(current: Columns, comments: Mapping[str, str | None]) -> Columns:
    """Return the current columns, with the types from their comments, by name."""
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
    """Parse the types in a comment; none in a comment that is not ours."""
    try:
        found = json.loads((text or "").rpartition("\n")[2])
    except ValueError:
        return {}
    ours = isinstance(found, dict) and _AS_TEXT.issuperset(map(str, found.values()))
    return found if ours else {}


def quoted(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str | None) -> str:
    """Quote a text for SQL."""
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"
