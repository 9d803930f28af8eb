"""The view of the latest state in DuckDB, where no wildcard names all shards.

It is over one view of all rows, `feed_assets."crm.orders"`, which is over one of each year,
`"crm.orders.2020"`, over one of each month, `"crm.orders.202001"`, over that month's shards. A view
over a view follows its columns, so for a new shard only its month's view is made anew.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import duckdb

from feed_assets.errors import NOT_OUR_VIEW, NotOurs
from feed_assets.schema.columns import Columns
from feed_assets.schema.table import Table
from feed_assets.warehouse.duckdb import catalog
from feed_assets.warehouse.duckdb.catalog import named
from feed_assets.warehouse.duckdb.schema import quoted
from feed_assets.warehouse.schema_evolution import Path, key_path, order_path

PLACE = "feed_assets"
"""The schema of the views in between."""
OURS = "Kept by feed_assets "
"""How the comment of a view of ours begins. CREATE OR REPLACE by somebody else takes it away."""
DAY = len("20200131")
SHARD, ROW = "_TABLE_SUFFIX", "_TABLE_ROW"
"""Columns of the views in between. No feed has such names, which BigQuery reserves."""


def define(
    run: duckdb.DuckDBPyConnection,
    table: Table,
    known: Columns,
    key: Sequence[str],
    updated_at: str,
) -> bool:
    """Makes the view, and those under it, where they do not stand as they should.

    False where no shard stands yet. Raises NotOurs and TableError.
    """
    kind, comment = catalog.kind(run, table), catalog.comment(run, table) or ""
    if kind and not comment.startswith(OURS):
        raise NotOurs(NOT_OUR_VIEW.format(table=table, kind=kind.lower()))
    shards = catalog.shards(run, table)
    if not shards:
        return False
    keys = [_field(key_path(table, known, path)) for path in key]
    newest = _field(order_path(table, known, updated_at))
    nulls = " OR ".join(f"{field} IS NULL" for field in keys)
    _make_all(run, table, shards, known)
    query = (
        f"SELECT * EXCLUDE ({SHARD}, {ROW}) FROM {named(_view(table, ''))} "
        f"QUALIFY {nulls} OR row_number() OVER (PARTITION BY {', '.join(keys)} "
        f"ORDER BY {newest} DESC NULLS LAST, {SHARD} DESC, {ROW} DESC) = 1"
    )
    _make(run, table, query, (), comment)
    return True


def follow(run: duckdb.DuckDBPyConnection, shard: Table, known: Columns) -> None:
    """Has the view, if there is one, see a new shard; or one with a column that `hides_rowid`."""
    table, part = Table(shard.dataset, shard.name[:-9]), shard.name[-8:]
    made = _comments(run, table)
    try:
        while part and "" in made:
            above = _above(part)
            comment = made.get(above, "")
            parts = _parts(comment) | {part}
            _make(run, _view(table, above), _union(table, parts, known), parts, comment)
            part = "" if above in made else above  # which is new to the one above it
    except duckdb.CatalogException:  # somebody dropped a shard that is named there
        _make_all(run, table, catalog.shards(run, table), known)


def hides_rowid(columns: Columns) -> bool:
    """Return whether a column is named `rowid`, which hides the place of a row."""
    return any(column.name.casefold() == "rowid" for column in columns)


def _make_all(
    run: duckdb.DuckDBPyConnection, table: Table, shards: Iterable[Table], known: Columns
) -> None:
    """Makes the views in between that do not stand as they should, and drops those of no shard."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for shard in shards:
        part = shard.name[-8:]
        while part:
            wanted[_above(part)].add(part)
            part = _above(part)
    made = _comments(run, table)
    for above in sorted(wanted, key=len, reverse=True):
        parts = wanted[above]
        query = _union(table, parts, known)
        _make(run, _view(table, above), query, parts, made.get(above, ""))
    for above in made.keys() - wanted:
        run.execute(f"DROP VIEW {named(_view(table, above))}")


def _union(table: Table, parts: Iterable[str], known: Columns) -> str:
    """All rows of shards, with the shard's day and the row's place in it; or of views of such."""
    row = "row_number() OVER ()" if hides_rowid(known) else "rowid"
    return " UNION ALL BY NAME ".join(
        f"SELECT *, '{part}' AS {SHARD}, {row} AS {ROW} "
        f"FROM {named(Table(table.dataset, f'{table.name}_{part}'))}"
        if len(part) == DAY
        else f"SELECT * FROM {named(_view(table, part))}"
        for part in sorted(parts)
    )


def _make(
    run: duckdb.DuckDBPyConnection, view: Table, query: str, parts: Iterable[str], comment: str
) -> None:
    """Makes a view unless it is of that query; its comment tells, and what parts are in it."""
    told = " ".join([OURS + hashlib.sha256(query.encode()).hexdigest()[:16], *sorted(parts)])
    if comment != told:
        run.execute(f"CREATE OR REPLACE VIEW {named(view)} AS {query}")
        run.execute(f"COMMENT ON VIEW {named(view)} IS '{told}'")


def _parts(comment: str) -> set[str]:
    return set(comment.removeprefix(OURS).split()[1:])


def _comments(run: duckdb.DuckDBPyConnection, table: Table) -> Mapping[str, str]:
    """The comments of the views in between that stand, by what they are of: `202001`, `2020`."""
    whole = _view(table, "").name
    rows = run.execute(
        "SELECT view_name, coalesce(comment, '') FROM duckdb_views() "
        "WHERE schema_name = ? AND (view_name = ? OR starts_with(view_name, ?))",
        [PLACE, whole, f"{whole}."],
    ).fetchall()
    return {name[len(whole) + 1 :]: comment for name, comment in rows}


def _view(table: Table, part: str) -> Table:
    name = catalog.key(table)
    return Table(PLACE, f"{name}.{part}" if part else name)


def _above(part: str) -> str:
    """The month of a day, the year of a month, and of a year what is above all."""
    return {DAY: part[:6], 6: part[:4]}.get(len(part), "")


def _field(path: Path) -> str:
    column, *fields = map(quoted, path)
    return ".".join([f"({column})", *fields])
