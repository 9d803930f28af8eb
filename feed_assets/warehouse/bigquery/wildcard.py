"""Ask BigQuery whether `table_*` answers with the known columns."""

from __future__ import annotations

from google.api_core.exceptions import BadRequest

from feed_assets.schema.columns import Columns
from feed_assets.schema.table import Table
from feed_assets.warehouse import schema_evolution
from feed_assets.warehouse.bigquery.client import BigQueryClient
from feed_assets.warehouse.bigquery.errors import message_of, passes

TOO_MANY = "Too many tables"
"""Message for more than 1,000 shards, which a query reads by year.

https://cloud.google.com/bigquery/quotas#query_jobs
"""


def wildcard_problem(client: BigQueryClient, table: Table, known: Columns) -> str | None:
    """Return why users cannot query `table_*` with these columns; None if they can.

    https://cloud.google.com/bigquery/docs/querying-wildcard-tables#limitations
    """
    with client.translated(f"looking at {table}_*"):
        try:
            answered = client.query_columns(f"SELECT * FROM `{client.id(table)}_*`")
        except BadRequest as refused:
            if passes(refused):
                raise
            if TOO_MANY in str(refused):
                return None
            return f"{table}_* cannot be queried: {message_of(refused)}"
    wrong = [f"lacks {path}" for path in schema_evolution.added(answered, known)]
    wrong += [
        f"has {path} as {now} instead of {wanted}"
        for path, (now, wanted) in schema_evolution.changed(answered, known).items()
    ]
    return f"{table}_* {' and '.join(wrong)}" if wrong else None
