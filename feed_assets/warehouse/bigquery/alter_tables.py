"""Add columns, wider types and descriptions to BigQuery tables in place."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from typing import Any

from google.api_core.exceptions import PreconditionFailed
from google.cloud import bigquery

from feed_assets.errors import WarehouseFailed
from feed_assets.schema.columns import NO_DESCRIPTIONS, Column, Columns
from feed_assets.schema.datatypes import DATATYPES
from feed_assets.schema.table import Table
from feed_assets.warehouse import schema_evolution
from feed_assets.warehouse.bigquery.client import (
    BigQueryClient,
    Schema,
    constraints_of,
    fields_of,
    schema_of,
)
from feed_assets.warehouse.bigquery.load_job import TRIES
from feed_assets.warehouse.bigquery.schema import (
    columns_from,
    fields_for,
    in_place,
    protected_path,
    quoted,
    sql_cast,
    sql_type,
)

ALTERED_AT_ONCE = 8
UPDATES = 4
"""Columns of a table that are widened in `UPDATE_SECONDS`, each by a statement: a table takes five
updates of its metadata in ten seconds, and adding columns, or a load, is one before.

https://cloud.google.com/bigquery/quotas#standard_tables
"""
UPDATE_SECONDS = 10.0
_NARROW = "|".join(each.sql for each in DATATYPES if each.widens_to)
_MAY_WIDEN = f"REGEXP_CONTAINS(data_type, '{_NARROW}')"


def alter(client: BigQueryClient, table: Table, columns: Columns) -> None:
    """Add the columns that the table lacks, and widen its types to those of `columns`."""
    with client.translated(f"altering {table}"):
        for _ in range(TRIES):
            current = client.get(table)
            before = columns_from(schema_of(current))
            wanted = schema_evolution.migrated(before, columns)
            if not schema_evolution.added(before, wanted):
                break
            narrow = schema_evolution.with_new_columns(before, wanted)
            current.schema = fields_of(fields_for(narrow, schema_of(current)))
            with suppress(PreconditionFailed):  # another import altered it: look again
                client.update(current, ["schema"], etag=current.etag)
                before = narrow
                break
        else:
            raise WarehouseFailed(
                f"{table} was altered by others {TRIES} times in a row; import again when fewer "
                f"run at once",
                transient=True,
            )
        _widen(client, table, before, wanted)


def widen_shards(client: BigQueryClient, table: Table, columns: Columns) -> None:
    """Widen the types of all shards that are narrower than `columns`."""

    def follow(shard: Table) -> None:
        current = client.find(shard)
        if current is not None:  # else deleted meanwhile
            before = columns_from(schema_of(current))
            with client.translated(f"altering {shard}"):
                _widen(client, shard, before, schema_evolution.with_wider_types(before, columns))

    narrow = _narrow(client, table, columns)
    with ThreadPoolExecutor(ALTERED_AT_ONCE, "widen") as pool:
        for done in [pool.submit(follow, shard) for shard in narrow]:
            done.result()


def describe(
    client: BigQueryClient,
    table: Table,
    before: Sequence[dict[str, Any]],
    descriptions: Mapping[str, str] = NO_DESCRIPTIONS,
) -> None:
    """Set the columns' descriptions, and restore the other properties they had `before`."""
    for _ in range(TRIES):
        now = client.get(table)
        wanted = fields_for(columns_from(schema_of(now)), before or schema_of(now), descriptions)
        if fields_of(wanted) == fields_of(schema_of(now)):
            return
        now.schema = fields_of(wanted)
        with suppress(PreconditionFailed):  # another import altered it: look again
            client.update(now, ["schema"], etag=now.etag)
            return


def _narrow(client: BigQueryClient, table: Table, columns: Columns) -> list[Table]:
    """Return the shards to widen, by one query and one look at each distinct schema.

    https://cloud.google.com/bigquery/docs/information-schema-columns
    """
    query = (
        f"SELECT table_name, column_name, data_type FROM "
        f"`{client.project}.{table.dataset}.INFORMATION_SCHEMA.COLUMNS` "
        f"WHERE STARTS_WITH(table_name, '{table.name}_') AND {_MAY_WIDEN} "
        f"ORDER BY table_name, column_name"
    )
    with client.translated(f"listing the columns of the shards of {table}"):
        found = [tuple(row.values()) for row in client.query(query)]
    kinds: dict[tuple[tuple[str, str], ...], list[Table]] = {}
    for name, rows in groupby(found, key=itemgetter(0)):
        shard = Table(table.dataset, name)
        if shard.is_shard_of(table):
            kinds.setdefault(tuple(row[1:] for row in rows), []).append(shard)
    return [
        shard
        for shards in kinds.values()
        if (current := client.columns(shards[0]))
        and schema_evolution.with_wider_types(current, columns) != current
        for shard in shards
    ]


def _widen(client: BigQueryClient, table: Table, before: Columns, after: Columns) -> None:
    """Turn INTEGER into FLOAT: in place, or by rewriting the table for fields inside arrays.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#alter_column_set_data_type_statement
    """
    to = {column.name: column for column in after}
    changed = [column for column in before if to[column.name] != column]
    if all(in_place(column, to[column.name]) for column in changed):
        for number, column in enumerate(changed):
            if number and number % UPDATES == 0:
                time.sleep(UPDATE_SECONDS)
            client.query(
                f"ALTER TABLE `{client.id(table)}` ALTER COLUMN {quoted(column.name)} "
                f"SET DATA TYPE {sql_type(to[column.name])}"
            )
        return
    current = client.get(table)
    _check_rewritable(client, table, schema_of(current), changed)
    casts = ", ".join(
        f"{sql_cast(f'old.{quoted(c.name)}', c, to[c.name])} AS {quoted(c.name)}" for c in changed
    )
    config = bigquery.QueryJobConfig(
        destination=current.reference, write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE
    )
    if current.encryption_configuration:  # else the table loses its key
        config.destination_encryption_configuration = current.encryption_configuration
    client.query(f"SELECT * REPLACE ({casts}) FROM `{client.id(table)}` AS old", config)
    describe(client, table, schema_of(current))
    if constraints := constraints_of(current):
        client.restore_constraints(table, constraints)


def _check_rewritable(
    client: BigQueryClient, table: Table, before: Schema, changed: Sequence[Column]
) -> None:
    """Raise WarehouseFailed if a rewrite by a query would make protected values readable.

    Writing a query's result removes policy tags and row access policies. A load of the day does
    not, as it can name the tags in its schema.
    https://cloud.google.com/bigquery/docs/column-level-security-writes
    """
    if path := protected_path(before):
        protection = f"the policy tag of {path}"
    elif client.has_row_policies(table):
        protection = "its row access policies"
    else:
        return
    names = ", ".join(column.name for column in changed)
    raise WarehouseFailed(
        f"{table} was not rewritten for the wider type of {names}, which would remove "
        f"{protection}; import its day again"
    )
