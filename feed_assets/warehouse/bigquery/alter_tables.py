"""Tables of BigQuery that get columns, wider types and descriptions where they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from typing import Any

from google.api_core.exceptions import PreconditionFailed
from google.cloud import bigquery

from feed_assets.errors import WarehouseFailed
from feed_assets.schema.columns import UNSAID, Columns
from feed_assets.schema.table import Table
from feed_assets.warehouse import schema_evolution
from feed_assets.warehouse.bigquery.client import Calls, fields_of, schema_of
from feed_assets.warehouse.bigquery.load_job import TRIES
from feed_assets.warehouse.bigquery.schema import (
    columns_from,
    fields_for,
    in_place,
    quoted,
    sql_cast,
    sql_type,
)

ALTERED_AT_ONCE = 8
_MAY_WIDEN = "REGEXP_CONTAINS(data_type, 'INT64|NUMERIC')"  # see shards.widened


def alter(calls: Calls, table: Table, columns: Columns) -> None:
    """Has a table follow what is known: its types widened, columns that it lacks added."""
    with calls.translated(f"altering {table}"):
        for _ in range(TRIES):
            held = calls.get(table)
            before = columns_from(schema_of(held))
            wanted = schema_evolution.following(before, columns)
            if not schema_evolution.added(before, wanted):
                break
            narrow = schema_evolution.extended(before, wanted)
            held.schema = fields_of(fields_for(narrow, schema_of(held)))
            with suppress(PreconditionFailed):  # another import altered it: look again
                calls.update(held, ["schema"], etag=held.etag)
                before = narrow
                break
        else:
            raise WarehouseFailed(
                f"{table} was altered by others {TRIES} times in a row; import again when fewer "
                f"run at once",
                transient=True,
            )
        _widen(calls, table, before, wanted)


def widen_shards(calls: Calls, table: Table, columns: Columns) -> None:
    """Widens the types of all shards that are narrower than what is known."""

    def follow(shard: Table) -> None:
        held = calls.find(shard)
        if held is not None:  # else deleted meanwhile
            before = columns_from(schema_of(held))
            with calls.translated(f"altering {shard}"):
                _widen(calls, shard, before, schema_evolution.widened(before, columns))

    narrow = _narrow(calls, table, columns)
    with ThreadPoolExecutor(ALTERED_AT_ONCE, "widen") as pool:
        for done in [pool.submit(follow, shard) for shard in narrow]:
            done.result()


def describe(
    calls: Calls, table: Table, before: Sequence[dict[str, Any]], said: Mapping[str, str] = UNSAID
) -> None:
    """Gives columns the descriptions they had before; there may be more columns by now."""
    for _ in range(TRIES):
        now = calls.get(table)
        wanted = fields_for(columns_from(schema_of(now)), before or schema_of(now), said)
        if fields_of(wanted) == list(now.schema):
            return
        now.schema = fields_of(wanted)
        with suppress(PreconditionFailed):  # another import altered it: look again
            calls.update(now, ["schema"], etag=now.etag)
            return


def _narrow(calls: Calls, table: Table, columns: Columns) -> list[Table]:
    """The shards that are to be widened: one query, and one look at each kind of shard.

    https://cloud.google.com/bigquery/docs/information-schema-columns
    """
    query = (
        f"SELECT table_name, column_name, data_type FROM "
        f"`{calls.client.project}.{table.dataset}.INFORMATION_SCHEMA.COLUMNS` "
        f"WHERE STARTS_WITH(table_name, '{table.name}_') AND {_MAY_WIDEN} "
        f"ORDER BY table_name, column_name"
    )
    with calls.translated(f"listing the columns of the shards of {table}"):
        found = [tuple(row.values()) for row in calls.query(query)]
    kinds: dict[tuple[tuple[str, str], ...], list[Table]] = {}
    for name, rows in groupby(found, key=itemgetter(0)):
        shard = Table(table.dataset, name)
        if shard.is_shard_of(table):
            kinds.setdefault(tuple(row[1:] for row in rows), []).append(shard)
    return [
        shard
        for shards in kinds.values()
        if (held := calls.columns(shards[0])) and schema_evolution.widened(held, columns) != held
        for shard in shards
    ]


def _widen(calls: Calls, table: Table, before: Columns, after: Columns) -> None:
    """Turns INTEGER into FLOAT, in place where BigQuery can: not inside arrays.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#alter_column_set_data_type_statement
    """
    to = {column.name: column for column in after}
    changed = [column for column in before if to[column.name] != column]
    if all(in_place(column, to[column.name]) for column in changed):
        for column in changed:
            calls.query(
                f"ALTER TABLE `{calls.id(table)}` ALTER COLUMN {quoted(column.name)} "
                f"SET DATA TYPE {sql_type(to[column.name])}"
            )
        return
    held = calls.get(table)
    casts = ", ".join(
        f"{sql_cast(f'held.{quoted(c.name)}', c, to[c.name])} AS {quoted(c.name)}" for c in changed
    )
    config = bigquery.QueryJobConfig(
        destination=held.reference, write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE
    )
    calls.query(f"SELECT * REPLACE ({casts}) FROM `{calls.id(table)}` AS held", config)
    describe(calls, table, schema_of(held))
