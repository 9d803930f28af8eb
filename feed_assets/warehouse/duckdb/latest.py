"""The latest state in DuckDB: brought up to date in one transaction, and the view over it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from uuid import uuid4

import duckdb

from feed_assets.errors import NOT_OUR_LATEST, NOT_OUR_VIEW, NotOurs
from feed_assets.schema.columns import Columns
from feed_assets.schema.table import Table
from feed_assets.warehouse.duckdb import catalog
from feed_assets.warehouse.duckdb.catalog import named
from feed_assets.warehouse.duckdb.schema import quoted, sql_type
from feed_assets.warehouse.latest_state import (
    DAY,
    OLD,
    ROWS,
    LatestUpdate,
    Ledger,
    Rule,
    day_column,
    day_sql,
    type_conflict,
)

LEDGER = """
CREATE TABLE IF NOT EXISTS feed_assets.applied_loads (
    table_name VARCHAR, day DATE, load VARCHAR
);
"""
OURS = "Kept by feed_assets "
"""Beginning of the comment of our tables and views. CREATE OR REPLACE by others removes it."""
ROW = "_TABLE_ROW"
"""Position of a row in its shard. No feed has this name, which BigQuery reserves."""
SHARDS_AT_ONCE = 200
INCOMING, LOST = "temp.incoming_rows", "temp.lost_keys"


def check_ours(run: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Raise NotOurs if somebody else's table or view has a name of the latest state."""
    kind, comment = catalog.kind(run, table), catalog.comment(run, table) or ""
    if kind and not comment.startswith(OURS):
        raise NotOurs(NOT_OUR_VIEW.format(table=table, kind=kind.lower()))
    kind = catalog.kind(run, table.latest)
    if kind and not identity(run, table):
        raise NotOurs(NOT_OUR_LATEST.format(table=table.latest, kind=kind.lower()))


def identity(run: duckdb.DuckDBPyConnection, table: Table) -> str:
    """Return what identifies our table of the latest state; "" for no table or another's."""
    comment = catalog.table_comment(run, table.latest)
    return comment.removeprefix(OURS) if comment.startswith(OURS) else ""


def create(run: duckdb.DuckDBPyConnection, table: Table, columns: Columns) -> None:
    """Create the table of the latest state, without rows."""
    listed = ", ".join(f"{quoted(c.name)} {sql_type(c)}" for c in (*columns, day_column()))
    run.execute(f"CREATE OR REPLACE TABLE {named(table.latest)} ({listed})")
    run.execute(f"COMMENT ON TABLE {named(table.latest)} IS '{OURS}{uuid4().hex}'")


def apply(
    run: duckdb.DuckDBPyConnection, table: Table, rule: Rule, *, full_refresh: bool
) -> LatestUpdate:
    """Apply the shards that have changed. Rebuild if asked to, or if the ledger does not match."""
    run.execute(LEDGER)
    name, shards = catalog.key(table), catalog.loads(run, table)
    ledger = Ledger.read(
        run.execute(
            "SELECT day, load FROM feed_assets.applied_loads WHERE table_name = ?", [name]
        ).fetchall()
    )
    basis = f"{rule.basis}-{identity(run, table)}"
    rebuild = full_refresh or ledger.basis != basis
    changes = shards if rebuild else ledger.changes(shards)
    if rebuild:
        run.execute(f"DELETE FROM {named(table.latest)}")
        run.execute("DELETE FROM feed_assets.applied_loads WHERE table_name = ?", [name])
    changed = recomputed = 0
    for days in _slices(changes):
        run.execute(
            f"CREATE OR REPLACE TEMP TABLE incoming_rows AS FROM {named(table.latest)} LIMIT 0"
        )
        _read(run, table, rule, days)
        if not rebuild:
            lost = rule.lost(named(table.latest), INCOMING, days)
            run.execute(f"CREATE OR REPLACE TEMP TABLE lost_keys AS {lost}")
            if count := _count(run, LOST):
                recomputed += count
                for others in _slices(shards.keys() - set(days)):
                    _read(run, table, rule, others, rule.is_lost(ROWS, LOST))
        merge = rule.merge(named(table.latest), INCOMING, () if rebuild else days)
        row = run.execute(merge).fetchone()
        changed += int(row[0]) if row else 0
    for temporary in (INCOMING, LOST):
        run.execute(f"DROP TABLE IF EXISTS {temporary}")
    if changes or rebuild:
        _record(run, name, basis, changes)
    return LatestUpdate(
        rows=_count(run, named(table.latest)),
        keys_changed=changed,
        days_applied=len(changes),
        keys_recomputed=recomputed,
        rebuilt=rebuild,
    )


def define_view(
    run: duckdb.DuckDBPyConnection, table: Table, columns: Columns, condition: str
) -> None:
    """Create the view `table`, or replace an old one of ours."""
    query = f"SELECT * EXCLUDE ({DAY}) FROM {named(table.latest)} AS {OLD} WHERE {condition}"
    mark = hashlib.sha256(f"{query} {columns}".encode()).hexdigest()[:16]
    if catalog.comment(run, table) != OURS + mark:
        _drop_old_views(run, table)
        run.execute(f"CREATE OR REPLACE VIEW {named(table)} AS {query}")
        run.execute(f"COMMENT ON VIEW {named(table)} IS '{OURS}{mark}'")


def _drop_old_views(run: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Drop the views of all rows, of years and of months, which version 0.1 had."""
    name = catalog.key(table)
    rows = run.execute(
        "SELECT view_name FROM duckdb_views() WHERE schema_name = 'feed_assets' "
        "AND (view_name = ? OR regexp_full_match(view_name, regexp_escape(?) || '\\.[0-9]{4,6}'))",
        [name, name],
    ).fetchall()
    for (view,) in rows:
        run.execute(f"DROP VIEW {named(Table('feed_assets', view))}")


def _read(
    run: duckdb.DuckDBPyConnection, table: Table, rule: Rule, days: Iterable[date], join: str = ""
) -> None:
    """Insert the newest row of each key over these days' shards into the incoming rows."""
    hidden = any(column.name.casefold() == "rowid" for column in rule.columns)
    row = "row_number() OVER ()" if hidden else "rowid"
    parts = [f"SELECT *, 0 AS {ROW} FROM {INCOMING} WHERE FALSE"]  # has every column
    for day in days:
        shard = named(table.shard(day))
        parts.append(f"SELECT *, {day_sql(day)} AS {DAY}, {row} AS {ROW} FROM {shard}")
    rows = f"({' UNION ALL BY NAME '.join(parts)})"
    _check_types(run, table, rows)
    newest = rule.newest(ROWS, f"{ROWS}.{DAY} DESC", f"{ROWS}.{ROW} DESC")
    run.execute(
        f"INSERT INTO {INCOMING} BY NAME SELECT {ROWS}.* EXCLUDE ({ROW}) "
        f"FROM {rows} AS {ROWS} {join} WHERE TRUE QUALIFY {newest}"
    )


def _check_types(run: duckdb.DuckDBPyConnection, table: Table, rows: str) -> None:
    """Raise TableError if shards have a column in a type that its latest state cannot have."""
    wanted = {name: kind for name, kind, *_ in run.execute(f"DESCRIBE {INCOMING}").fetchall()}
    for name, kind, *_ in run.execute(f"DESCRIBE SELECT * EXCLUDE ({ROW}) FROM {rows}").fetchall():
        if name in wanted and kind != wanted[name]:
            raise type_conflict(table, name, kind, wanted[name])


def _record(
    run: duckdb.DuckDBPyConnection, name: str, basis: str, changes: Mapping[date, str]
) -> None:
    run.execute(
        "DELETE FROM feed_assets.applied_loads WHERE table_name = ? "
        "AND (day IS NULL OR day IN (SELECT unnest(?::DATE[])))",
        [name, list(changes)],
    )
    days: list[date | None] = [None, *changes]
    loads = [f"{basis} {uuid4().hex}", *changes.values()]
    run.execute(
        "INSERT INTO feed_assets.applied_loads SELECT ?, unnest(?::DATE[]), unnest(?::VARCHAR[])",
        [name, days, loads],
    )


def _slices(days: Iterable[date]) -> Iterator[list[date]]:
    ordered = sorted(days)
    for start in range(0, len(ordered), SHARDS_AT_ONCE):
        yield ordered[start : start + SHARDS_AT_ONCE]


def _count(run: duckdb.DuckDBPyConnection, table: str) -> int:
    row = run.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])
