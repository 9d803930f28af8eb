"""Count and delete single rows in BigQuery: one query per year of shards, one DELETE per shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os.path import commonprefix  # of any strings

from feed_assets.schema.table import Table
from feed_assets.warehouse.bigquery.client import BigQueryClient
from feed_assets.warehouse.bigquery.schema import quoted, sql_text, sql_type
from feed_assets.warehouse.erasure import Condition, Dialect, key_names
from feed_assets.warehouse.latest_state import by_year

DIALECT = Dialect(quoted, sql_text, sql_type, "STRPOS({}, {}) > 0", "STRING")


def count_matching(
    client: BigQueryClient, tables: Sequence[Table], condition: Condition
) -> dict[Table, int]:
    """Count the rows that match, of the tables that have any."""
    found: dict[Table, int] = {}
    for some in _batches(tables):
        found |= _count(client, some, condition)
    return {table: rows for table, rows in found.items() if rows}


def keys_matching(
    client: BigQueryClient, table: Table, condition: Condition, paths: Sequence[str]
) -> set[tuple[str, ...]]:
    """Return the keys of the matching rows, each value as text."""
    columns = client.columns(table) or ()
    where, names = condition.sql(columns, DIALECT), key_names(columns, paths)
    if not where or names is None:
        return set()
    listed = ", ".join(f"{DIALECT.as_text(path)} AS key_{at}" for at, path in enumerate(names))
    query = f"SELECT DISTINCT {listed} FROM {quoted(client.id(table))} WHERE {where}"
    with client.translated(f"looking for rows of {table}"):
        keys = {tuple(row.values()) for row in client.query(query)}
    return {key for key in keys if None not in key}


def delete_matching(client: BigQueryClient, table: Table, condition: Condition) -> None:
    """Delete the rows that match; BigQuery then has another time of the table's last change."""
    if where := condition.sql(client.columns(table) or (), DIALECT):
        with client.translated(f"deleting rows of {table}"):
            client.query(f"DELETE FROM {quoted(client.id(table))} WHERE {where}")


def _batches(tables: Sequence[Table]) -> Iterator[list[Table]]:
    """Split shards by year, in the order of their creation; a query reads fewer than 1,000."""
    years = by_year({table.day for table in tables if table.day})
    for year in years:
        yield [table for table in tables if table.day in year]
    yield from ([table] for table in tables if not table.day)


def _count(
    client: BigQueryClient, tables: Sequence[Table], condition: Condition
) -> dict[Table, int]:
    """Count by one query, or by table if a query of them all might not see a column.

    A query by prefix has the columns of the table created last.
    https://cloud.google.com/bigquery/docs/querying-wildcard-tables#schema_used_for_query_evaluation
    """
    where = condition.sql(client.columns(tables[-1]) or (), DIALECT)
    if len(tables) == 1:
        if not where:
            return {}
        query = f"SELECT COUNT(*) AS n FROM {quoted(client.id(tables[0]))} WHERE {where}"
        with client.translated(f"counting rows of {tables[0]}"):
            ((count,),) = client.query(query)
        return {tables[0]: count}
    if not where:
        return {t: n for each in tables for t, n in _count(client, [each], condition).items()}
    prefix = commonprefix([table.name for table in tables])  # noqa: RUF071  (of texts)
    dataset = tables[0].dataset
    suffixes = ", ".join(sql_text(table.name[len(prefix) :]) for table in tables)
    source = quoted(f"{client.id(Table(dataset, prefix))}*")
    query = (
        f"SELECT _TABLE_SUFFIX AS suffix, COUNT(*) AS n FROM {source} "
        f"WHERE _TABLE_SUFFIX IN ({suffixes}) AND {where} GROUP BY suffix"
    )
    with client.translated(f"counting rows of {prefix}*"):
        rows = client.query(query)
        return {Table(dataset, f"{prefix}{row['suffix']}"): row["n"] for row in rows}
