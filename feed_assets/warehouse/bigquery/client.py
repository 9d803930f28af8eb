"""Calls of BigQuery's API, each with a timeout, in one project and location.

Errors of Google's client are translated here into WarehouseFailed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from google.api_core.exceptions import BadRequest, Conflict, Forbidden, NotFound
from google.cloud import bigquery

from feed_assets.errors import WarehouseFailed
from feed_assets.schema.columns import Columns
from feed_assets.schema.table import Table
from feed_assets.warehouse.bigquery.errors import FAILURES, given_up, passes, translated
from feed_assets.warehouse.bigquery.load_job import CALL_SECONDS, JOB_SECONDS, PATIENT
from feed_assets.warehouse.bigquery.schema import columns_from

Schema = list[dict[str, Any]]
"""Fields as BigQuery writes them."""
Constraints = Mapping[str, Any]
"""`TableConstraints` as BigQuery writes them."""


OURS = {"managed_by": "feed_assets"}
"""Label of every table, view and job that feed_assets creates."""


class BigQueryClient:
    """Google's client with timeouts, translated errors and a check of the location."""

    def __init__(self, client: bigquery.Client) -> None:
        self.client = client
        self._datasets: set[str] = set()

    def __repr__(self) -> str:
        return f"BigQuery project {self.project}"

    @property
    def project(self) -> str:
        return str(self.client.project)

    def id(self, table: Table) -> str:
        return f"{self.project}.{table}"

    @contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except FAILURES as failure:
            raise translated(self, doing, self.project, failure) from failure

    def get(self, table: Table) -> bigquery.Table:
        return self.client.get_table(self.id(table), timeout=CALL_SECONDS)

    def find(self, table: Table) -> bigquery.Table | None:
        """Return the table or view; None if there is none of that name."""
        with self.translated(f"looking at {table}"):
            try:
                found = self.get(table)
            except NotFound:
                return None
        self._require_here(table, found.location)
        self._datasets.add(table.dataset)
        return found

    def columns(self, table: Table) -> Columns | None:
        found = self.find(table)
        if found is None:
            return None
        if found.table_type == "TABLE":
            return columns_from(schema_of(found))
        with self.translated(f"looking at {table}"):  # a view reports what it had when it was made
            return self.query_columns(f"SELECT * FROM `{self.id(table)}`")

    def query_columns(self, sql: str) -> Columns:
        """Return the columns of a query's result, by a dry run, which is free."""
        dry = bigquery.QueryJobConfig(dry_run=True)
        query = self.client.query(sql, job_config=dry, timeout=CALL_SECONDS)
        return columns_from([field.to_api_repr() for field in query.schema or ()])

    def shards(self, table: Table) -> list[Table]:
        """List the shards of a table, in the order of their creation."""
        query = (
            f"SELECT table_name FROM `{self.project}.{table.dataset}.INFORMATION_SCHEMA."
            f"TABLES` WHERE STARTS_WITH(table_name, '{table.name}_') ORDER BY creation_time"
        )
        with self.translated(f"listing the shards of {table}"):
            try:
                names = [row["table_name"] for row in self.query(query)]
            except NotFound:
                return []
        found = [Table(table.dataset, name) for name in names]
        return [shard for shard in found if shard.is_shard_of(table)]

    def query(self, sql: str, config: bigquery.QueryJobConfig | None = None) -> Any:
        """Run a query and return its rows. Cancel it after JOB_SECONDS."""
        return self.client.query_and_wait(
            sql,
            job_config=config,
            api_timeout=CALL_SECONDS,
            wait_timeout=JOB_SECONDS,
            retry=PATIENT,
            job_retry=PATIENT.with_predicate(lambda why: not given_up(why) and passes(why)),
        )

    def script(self, sql: str) -> tuple[bigquery.QueryJob, Any]:
        """Run a script to its end. Return its job and the rows of its last statement."""
        config = bigquery.QueryJobConfig(labels=OURS)
        config.job_timeout_ms = round(JOB_SECONDS * 1000)
        job = self.client.query(sql, job_config=config, timeout=CALL_SECONDS)
        return job, job.result(timeout=JOB_SECONDS + CALL_SECONDS, retry=PATIENT)

    def has_row_policies(self, table: Table) -> bool:
        """Return whether row access policies protect the table.

        Asked by a query, as listing them needs a permission that BigQuery Data Editor may lack.
        https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#RowLevelSecurityStatistics
        """
        with self.translated(f"looking for row access policies of {table}"):
            job = self.client.query(
                f"SELECT 1 FROM `{self.id(table)}` LIMIT 1",
                job_config=bigquery.QueryJobConfig(use_query_cache=False),
                timeout=CALL_SECONDS,
            )
            job.result(timeout=JOB_SECONDS, retry=PATIENT)
        statistics = job._properties.get("statistics", {})
        applied = statistics.get("rowLevelSecurityStatistics", {}).get("rowLevelSecurityApplied")
        return bool(applied)

    def restore_constraints(self, table: Table, constraints: Constraints) -> None:
        """Declare the keys of a table again, except those with a column that it no longer has.

        https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableConstraints
        """
        names = {field["name"].casefold() for field in schema_of(self.get(table))}
        found: dict[str, Any] = {}
        primary = constraints.get("primaryKey")
        if primary and all(name.casefold() in names for name in primary["columns"]):
            found["primaryKey"] = primary
        foreign = [
            key
            for key in constraints.get("foreignKeys", ())
            if all(c["referencingColumn"].casefold() in names for c in key["columnReferences"])
        ]
        if foreign:
            found["foreignKeys"] = foreign
        if found:
            restored = bigquery.Table(self.id(table))
            restored._properties["tableConstraints"] = found
            self.update(restored, ["table_constraints"], etag=None)

    def create(self, table: bigquery.Table) -> bigquery.Table:
        """Create a table or view that does not expire, whatever the dataset's default."""
        made = self.client.create_table(table, timeout=CALL_SECONDS)
        if made.expires is not None:
            made.expires = None
            with suppress(BadRequest, Forbidden):  # in the sandbox, nothing stays
                return self.update(made, ["expires"], etag=None)
        return made

    def update(
        self, table: bigquery.Table, fields: list[str], *, etag: str | None
    ) -> bigquery.Table:
        """Update the table. Raises PreconditionFailed if it no longer has the given etag."""
        table._properties["etag"] = etag
        return self.client.update_table(table, fields, timeout=CALL_SECONDS)

    def make_dataset(self, name: str) -> None:
        """Create the dataset if it is missing. Look first, as few accounts may create one."""
        if name in self._datasets:
            return
        reference = f"{self.project}.{name}"
        with self.translated(f"looking at dataset {name}"):
            try:
                found = self.client.get_dataset(reference, timeout=CALL_SECONDS)
            except NotFound:
                with suppress(Conflict):  # created meanwhile; `exists_ok` would wait for ever
                    self.client.create_dataset(reference, timeout=CALL_SECONDS)
                found = self.client.get_dataset(reference, timeout=CALL_SECONDS)
        self._require_here(f"dataset {name}", found.location)
        self._datasets.add(name)

    def location(self, dataset: str) -> str:
        """Return the location of the dataset. Its jobs are found only there."""
        reference = f"{self.project}.{dataset}"
        return str(self.client.get_dataset(reference, timeout=CALL_SECONDS).location)

    def _require_here(self, what: object, location: str | None) -> None:
        """Raise WarehouseFailed unless the location is the client's, in which its jobs run.

        https://cloud.google.com/bigquery/docs/locations#specify_locations
        """
        wanted: str | None = self.client.location
        if wanted and location and location.upper() != wanted.upper():
            raise WarehouseFailed(
                f"{what} is in {location}, and FEED_ASSETS_WAREHOUSE has location={wanted}; write "
                f"location={location} there, or name another dataset"
            )


def schema_of(table: bigquery.Table) -> Schema:
    """The fields, with every property that BigQuery answered."""
    return [field.to_api_repr() for field in table.schema]


def constraints_of(table: bigquery.Table) -> Constraints:
    """The primary and foreign keys of the table; empty without any."""
    return table._properties.get("tableConstraints") or {}


def fields_of(schema: Sequence[dict[str, Any]]) -> list[bigquery.SchemaField]:
    """Convert a schema to the objects of Google's client."""
    return [bigquery.SchemaField.from_api_repr(field) for field in schema]


def kind_of(table: bigquery.Table) -> str:
    """Name the kind of a table for a person: view, materialized view, external, ..."""
    return str(table.table_type).lower().replace("_", " ")
