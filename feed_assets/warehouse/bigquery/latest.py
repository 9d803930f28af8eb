"""The view of the latest state in BigQuery, over all shards by their wildcard."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from google.api_core.exceptions import BadRequest, NotFound
from google.cloud import bigquery

from feed_assets.errors import NOT_OUR_VIEW, NotOurs
from feed_assets.schema.columns import Columns, described
from feed_assets.schema.table import Table
from feed_assets.warehouse import schema_evolution
from feed_assets.warehouse.base import Origin
from feed_assets.warehouse.bigquery.alter_tables import describe
from feed_assets.warehouse.bigquery.client import BigQueryClient, kind_of
from feed_assets.warehouse.bigquery.load_config import OURS
from feed_assets.warehouse.bigquery.schema import fields_for, sql_path


def define(
    client: BigQueryClient,
    table: Table,
    known: Columns,
    key: Sequence[str],
    updated_at: str,
    origin: Origin,
) -> bool:
    """Create the view, or update one that differs.

    False where no shard stands yet. Raises NotOurs and TableError.
    """
    query = _query(client.id(table), table, known, key, updated_at)
    found = client.find(table)
    if found is not None and not (
        found.table_type == "VIEW" and OURS.items() <= found.labels.items()
    ):
        raise NotOurs(NOT_OUR_VIEW.format(table=table, kind=kind_of(found)))
    view = bigquery.Table(client.id(table))
    view.view_query = query
    view.labels = OURS
    with client.translated(f"making the view {table}"):
        try:
            if found is None:
                view.description = origin.description or None
                client.create(view)
            elif found.view_query != query:
                client.update(view, ["view_query", "labels"], etag=found.etag)
            if said := described(known, origin.columns):
                describe(client, table, (), said)
        except (BadRequest, NotFound):
            if client.shards(table):
                raise
            return False  # an import was killed before it made the first
    return True


def _query(place: str, table: Table, known: Columns, key: Sequence[str], updated_at: str) -> str:
    """Select `*`, which includes later columns. The comment changes with the known columns.

    A view answers with the columns its tables have, but what it is said to have is as old as
    its query: https://cloud.google.com/bigquery/docs/views#view_limitations
    """
    keys = [sql_path(schema_evolution.key_path(table, known, path)) for path in key]
    newest = sql_path(schema_evolution.order_path(table, known, updated_at))
    nulls = " OR ".join(f"{field} IS NULL" for field in keys)
    mark = hashlib.sha256(repr(fields_for(known)).encode()).hexdigest()[:16]
    return (
        f"SELECT * FROM `{place}_*` WHERE TRUE "
        f"QUALIFY {nulls} OR ROW_NUMBER() OVER (PARTITION BY {', '.join(keys)} "
        f"ORDER BY {newest} DESC NULLS LAST, _TABLE_SUFFIX DESC) = 1 -- of columns {mark}"
    )
