"""Catalog of the corrected emulator: tables, their properties, and their rows in DuckDB."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from bqemulator.api.dependencies import AppContext
from bqemulator.api.routes.tables import _table_to_rest
from bqemulator.catalog.models import Clustering, TableMeta, TableSchema
from bqemulator.domain.errors import (
    NotFoundError,
)

from feed_assets_tests.support.bigquery.emulator_types import (
    JSON,
    Fields,
    Key,
    Properties,
    fields_of,
    overlay,
    projection,
)

ENCRYPTION = "encryptionConfiguration"
EXTRAS = (ENCRYPTION, "resourceTags")
"""Properties of tables that the emulator forgets."""


class Catalog:
    """Tables by their full names: descriptions as in the API, rows in DuckDB."""

    def __init__(self, context: AppContext) -> None:
        self.context = context
        self.catalog = context.catalog
        self.uploads: dict[str, tuple[JSON, Path]] = {}
        self.locations: dict[str, str] = {}
        self.properties: dict[Key, Properties] = {}
        self.constraints: dict[Key, JSON] = {}
        self.extras: dict[Key, JSON] = {}
        self.renamed: set[Key] = set()
        self.folder = tempfile.TemporaryDirectory(prefix="emulator-")

    def sql(self, statement: str) -> list[Any]:
        """Run SQL of DuckDB."""
        return self.context.engine.connection.execute(statement).fetchall()

    def find(self, key: Key) -> TableMeta:
        meta = self.catalog.get_table(*key)
        if meta is None:
            raise NotFoundError(f"Not found: Table {key}")
        return meta

    def save(self, meta: TableMeta, **changes: Any) -> TableMeta:
        """Store a table's description; every change gives a new etag."""
        changes |= {"etag": uuid4().hex, "last_modified_time": datetime.now(UTC)}
        meta = meta.model_copy(update=changes)
        known = self.catalog.get_table(meta.project_id, meta.dataset_id, meta.table_id)
        return (self.catalog.update_table if known else self.catalog.create_table)(meta)

    def new(self, key: Key, body: JSON) -> TableMeta:
        """A new table's description, from a table resource."""
        dataset = self.catalog.get_dataset(key.project, key.dataset)
        if dataset is None:
            raise NotFoundError(f"Not found: Dataset {key.project}:{key.dataset}")
        now = datetime.now(UTC)
        # https://cloud.google.com/bigquery/docs/updating-datasets#table-expiration
        milliseconds = dataset.default_table_expiration_ms
        default = now + timedelta(milliseconds=milliseconds) if milliseconds else None
        clustering = body.get("clustering")
        return TableMeta(
            project_id=key.project,
            dataset_id=key.dataset,
            table_id=key.table,
            schema=TableSchema(fields=fields_of(body.get("schema"))),
            friendly_name=body.get("friendlyName"),
            description=body.get("description"),
            labels=body.get("labels") or {},
            clustering=clustering and Clustering(fields=tuple(clustering["fields"])),
            expiration_time=instant(body.get("expirationTime")) or default,
            creation_time=now,
            last_modified_time=now,
            etag="",
        )

    def fill(self, key: Key, query: str) -> None:
        """Replace a table's rows and columns by a query's, or fail and change nothing."""
        self.sql(f"CREATE OR REPLACE TABLE {key.sql} AS {query}")

    def reshape(self, key: Key, meta: TableMeta, fields: Fields) -> TableMeta:
        """Give a table other columns, and keep its rows."""
        if fields != meta.schema_.fields:
            self.fill(key, f"SELECT {projection(meta.schema_.fields, fields)} FROM {key.sql}")
        return self.save(meta, schema_=TableSchema(fields=fields))

    def resource(self, meta: TableMeta) -> JSON:
        """A table as the API shows it.

        https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#Table
        """
        key = Key(meta.project_id, meta.dataset_id, meta.table_id)
        dataset = self.catalog.get_dataset(key.project, key.dataset)
        body = _table_to_rest(meta) | {"location": dataset.location if dataset else "US"}
        if meta.expiration_time:
            body["expirationTime"] = str(round(meta.expiration_time.timestamp() * 1000))
        if meta.schema_ is not None and "schema" in body:
            overlay(body["schema"]["fields"], self.properties.get(key, {}))
        if key in self.constraints:
            body["tableConstraints"] = self.constraints[key]
        body |= self.extras.get(key, {})
        if meta.view_query is not None:
            body["view"] = {"query": meta.view_query, "useLegacySql": False}
        else:
            [(rows,)] = self.sql(f"SELECT count(*) FROM {key.sql}")
            body["numRows"] = str(rows)
        return body


def instant(milliseconds: str | None) -> datetime | None:
    """A time of the API, in milliseconds since 1970."""
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC) if milliseconds else None
