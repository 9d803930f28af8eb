"""Plan a load that replaces a table's rows and keeps what others set on the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.cloud import bigquery

from feed_assets.errors import WarehouseFailed
from feed_assets.schema.columns import Columns
from feed_assets.schema.table import Table
from feed_assets.warehouse import schema_evolution
from feed_assets.warehouse.bigquery import alter_tables
from feed_assets.warehouse.bigquery.client import (
    BigQueryClient,
    Constraints,
    Schema,
    constraints_of,
    schema_of,
)
from feed_assets.warehouse.bigquery.schema import (
    columns_from,
    fields_for,
    fitted,
    unprotected_path,
)


@dataclass(frozen=True)
class Overwrite:
    """Schema and write disposition of a load, and the constraints to declare again after it.

    WRITE_TRUNCATE_DATA keeps the table's schema, constraints and row access policies, but cannot
    remove or change a column. WRITE_TRUNCATE removes what the load's schema does not name.
    https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad
    """

    schema: Schema
    disposition: str = bigquery.WriteDisposition.WRITE_TRUNCATE
    constraints: Constraints = field(default_factory=dict)


def plan_overwrite(
    client: BigQueryClient,
    table: Table,
    before: bigquery.Table | None,
    columns: Columns,
    descriptions: Mapping[str, str],
) -> Overwrite:
    """Choose how to replace the rows of the table that was found as `before`.

    Raises WarehouseFailed if policy tags or row access policies would be lost.
    """
    if before is None:
        return Overwrite(fields_for(columns, (), descriptions))
    current = schema_of(before)
    wanted = fields_for(columns, current, descriptions)
    if (schema := fitted(current, wanted)) is not None:
        return _keeping_schema(client, table, current, schema, descriptions)
    if client.has_row_policies(table):
        return _keeping_row_policies(client, table, columns, descriptions)
    if path := unprotected_path(current, wanted):
        raise WarehouseFailed(
            f"{table} was not replaced, as the new type of {path} cannot have its policy tag; "
            f"remove the tag, or declare the type that {path} has had"
        )
    return Overwrite(wanted, constraints=constraints_of(before))


def _keeping_row_policies(
    client: BigQueryClient, table: Table, columns: Columns, descriptions: Mapping[str, str]
) -> Overwrite:
    """Widen types in place, and keep columns that the rows no longer have: they read NULL."""
    alter_tables.alter(client, table, columns)
    with client.translated(f"looking at {table}"):
        current = schema_of(client.get(table))
    merged = schema_evolution.with_new_columns(columns, columns_from(current))
    schema = fitted(current, fields_for(merged, current, descriptions))
    if schema is None:
        changed = ", ".join(schema_evolution.changed(columns_from(current), columns))
        raise WarehouseFailed(
            f"{table} was not replaced, as the new type of {changed} would remove its row access "
            f"policies; declare the type that it has had, or drop the table and create its row "
            f"access policies again"
        )
    return _keeping_schema(client, table, current, schema, descriptions)


def _keeping_schema(
    client: BigQueryClient,
    table: Table,
    current: Schema,
    schema: Schema,
    descriptions: Mapping[str, str],
) -> Overwrite:
    """A load that keeps the schema keeps its descriptions, so new ones are set before."""
    if _descriptions(current) != _descriptions(schema[: len(current)]):
        with client.translated(f"describing the columns of {table}"):
            alter_tables.describe(client, table, (), descriptions)
    return Overwrite(schema, bigquery.WriteDisposition.WRITE_TRUNCATE_DATA)


def _descriptions(fields: Schema) -> list[tuple[str, object]]:
    return [
        (each.get("description") or "", _descriptions(each.get("fields", []))) for each in fields
    ]
