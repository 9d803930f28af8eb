"""Tables of a DuckDB file, looked up by name: a list of its tables grows with each day."""

from __future__ import annotations

from datetime import date

import duckdb

from feed_assets.errors import NotOurs
from feed_assets.schema.table import Table
from feed_assets.warehouse.duckdb.schema import quoted

RESERVED = frozenset({"temp", "system", "information_schema", "pg_catalog"})
"""Names of DuckDB's own catalogs and schemas."""


def kind(run: duckdb.DuckDBPyConnection, table: Table) -> str | None:
    """Return TABLE or VIEW; None if neither has that name.

    Views are few, so they are listed. With 3,000 tables a list takes 20 ms, a look 0.3 ms.
    """
    if comment(run, table) is not None:
        return "VIEW"
    try:
        run.execute(f"SELECT 1 FROM {named(table)} LIMIT 0")
    except duckdb.CatalogException:
        return None
    return "TABLE"


def comment(run: duckdb.DuckDBPyConnection, view: Table) -> str | None:
    """Return the comment of a view: "" if it has none, None if there is no such view."""
    row = run.execute(
        "SELECT coalesce(comment, '') FROM duckdb_views() "
        "WHERE lower(schema_name) = lower(?) AND lower(view_name) = lower(?)",
        [view.dataset, view.name],
    ).fetchone()
    return None if row is None else str(row[0])


def table_comment(run: duckdb.DuckDBPyConnection, table: Table) -> str:
    """Return the comment of a table: "" if it has none or does not exist."""
    row = run.execute(
        "SELECT comment FROM duckdb_tables() "
        "WHERE lower(schema_name) = lower(?) AND lower(table_name) = lower(?)",
        [table.dataset, table.name],
    ).fetchone()
    return str(row[0]) if row and row[0] else ""


def loads(run: duckdb.DuckDBPyConnection, table: Table) -> dict[date, str]:
    """Return what identifies the last load of each shard: the comment that it gave the shard."""
    rows = run.execute(
        "SELECT table_name, coalesce(comment, 'unknown') FROM duckdb_tables() "
        "WHERE lower(schema_name) = lower(?) AND starts_with(lower(table_name), lower(?))",
        [table.dataset, f"{table.name}_"],
    ).fetchall()
    found = {Table(table.dataset, name): str(load) for name, load in rows}
    return {
        day: load
        for shard, load in found.items()
        if shard.is_shard_of(table) and (day := shard.day)
    }


def shards(run: duckdb.DuckDBPyConnection, table: Table) -> list[Table]:
    """List the shards by name: `table_oid` is renumbered when the file is opened."""
    names = run.execute(
        "SELECT table_name FROM duckdb_tables() WHERE lower(schema_name) = lower(?) "
        "AND starts_with(lower(table_name), lower(?)) ORDER BY lower(table_name)",
        [table.dataset, f"{table.name}_"],
    ).fetchall()
    found = [Table(table.dataset, name) for (name,) in names]
    return [shard for shard in found if shard.is_shard_of(table)]


def column_comments(run: duckdb.DuckDBPyConnection, table: Table) -> dict[str, str | None]:
    """Return the comments of a table's columns, if they have any."""
    return dict(
        run.execute(
            "SELECT column_name, comment FROM duckdb_columns() WHERE comment IS NOT NULL "
            "AND lower(schema_name) = lower(?) AND lower(table_name) = lower(?)",
            [table.dataset, table.name],
        ).fetchall()
    )


def key(table: Table) -> str:
    """Return the name of a table in the bookkeeping: DuckDB ignores case."""
    if table.dataset.casefold() in RESERVED:
        raise NotOurs(
            f"{table} cannot be stored, as DuckDB reserves the name {table.dataset}; "
            f"set dataset to another name"
        )
    return str(table).casefold()


def named(table: Table) -> str:
    """Format a table's name for SQL."""
    key(table)  # which refuses a reserved name
    return f"{quoted(table.dataset)}.{quoted(table.name)}"
