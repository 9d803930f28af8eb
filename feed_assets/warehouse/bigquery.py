"""The production warehouse: Google BigQuery, one atomic Parquet load job per table."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any, Self, cast

import pyarrow as pa
from google.api_core.exceptions import (
    Conflict,
    GoogleAPICallError,
    NotFound,
    PreconditionFailed,
    RetryError,
)
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError as GoogleAuthError  # for who makes the client
from google.cloud import bigquery

from feed_assets.errors import IS_A_VIEW, NOT_OUR_VIEW, NotOurs, WarehouseFailed
from feed_assets.tables import Table
from feed_assets.warehouse import parquet
from feed_assets.warehouse import shards as rules
from feed_assets.warehouse.bigquery_schema import (
    columns_from,
    fields_for,
    in_place,
    known_fields,
    known_from,
    quoted,
    sql_cast,
    sql_path,
    sql_type,
)
from feed_assets.warehouse.columns import Columns, arrow_schema
from feed_assets.warehouse.interface import Known, Load, Pending
from feed_assets.warehouse.rows import conform

TRANSIENT = {429, 500, 502, 503, 504}
TRIES = 3  # of a load job that BigQuery itself could not finish
CALL_SECONDS = 60.0
OURS = {"managed_by": "feed_assets"}
COLUMNS_TABLE = "The columns that the shards {table}_* have had so far. Kept by feed_assets."


def emulator_client(project: str, location: str | None) -> bigquery.Client:
    """A client without credentials; it reads BIGQUERY_EMULATOR_HOST itself."""
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]  # Google's has no types
    return bigquery.Client(project, nobody, location=location)


class BigQueryWarehouse:
    """Tables in the client's project, made in the client's location."""

    wildcards = True

    def __init__(self, client: bigquery.Client) -> None:
        self._client = client
        self._datasets: set[str] = set()

    def __repr__(self) -> str:
        return f"BigQuery project {self._client.project}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        pass

    def columns(self, table: Table) -> Columns | None:
        found = self._get(table)
        if found is None:
            return None
        if found.table_type == "TABLE":
            return columns_from(_schema(found))
        with self._translated(f"looking at {table}"):  # a view reports what it had when it was made
            dry = bigquery.QueryJobConfig(dry_run=True)
            query = self._client.query(f"SELECT * FROM `{self._id(table)}`", job_config=dry)
            return columns_from([field.to_api_repr() for field in query.schema or ()])

    def replace(
        self, table: Table, rows: pa.RecordBatchReader, columns: Columns, *, attempt: str
    ) -> Load:
        before = self._get(table)
        if before is not None and before.table_type != "TABLE":
            raise NotOurs(IS_A_VIEW.format(table=table))
        if before is None:
            self._make_dataset(table.dataset)
        with tempfile.TemporaryFile(prefix="feed_assets-", suffix=".parquet") as file:
            parquet.write(rows, file)
            schema = fields_for(columns, _schema(before) if before else ())
            job = self._load(table, file, _fields(schema), attempt)
        return Load(job.output_rows, {"bytes loaded": job.output_bytes or 0, "job": job.job_id})

    def read(self, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
        held = self.columns(table) or ()
        wanted = tuple(c for c in held if columns is None or c.name in columns)
        listed = ", ".join(f"`{column.name}`" for column in wanted)
        with self._translated(f"reading {table}"):
            found = self._client.get_table(self._id(table), timeout=CALL_SECONDS)
            if found.table_type == "TABLE":
                rows = self._client.list_rows(found, selected_fields=_fields(fields_for(wanted)))
            else:
                rows = self._client.query_and_wait(f"SELECT {listed} FROM `{self._id(table)}`")
            read = rows.to_arrow(create_bqstorage_client=False)
        return pa.Table.from_batches(conform(read, wanted), arrow_schema(wanted))

    def count(self, table: Table) -> int | None:
        found = self._get(table)
        return found.num_rows if found is not None and found.table_type == "TABLE" else None

    def state(self, table: Table) -> str | None:
        found = self._get(table)
        if found is None or found.table_type != "TABLE":
            return None
        return f"{found.created} {found.modified} {found.num_rows}"

    def known(self, table: Table) -> Known:
        found = self._get(table.columns)
        if found is None:
            return Known()
        pending = found.labels.get("pending", Pending.NOTHING.name.lower())
        return Known(known_from(_schema(found)), Pending[pending.upper()], found)

    def learn(self, table: Table, columns: Columns, pending: Pending, *, then: Known) -> bool:
        before: bigquery.Table | None = then.version
        place = bigquery.Table(
            self._id(table.columns), known_fields(columns, _schema(before) if before else ())
        )
        place.description = COLUMNS_TABLE.format(table=table)
        place.labels = {**OURS, "pending": pending.name.lower()}
        with self._translated(f"recording the columns of {table}"):
            try:
                if before is None:
                    self._make_dataset(table.dataset)
                    self._client.create_table(place, timeout=CALL_SECONDS)
                else:
                    self._update(place, ["schema", "labels"], etag=before.etag)
            except (Conflict, PreconditionFailed):
                return False
        return True

    def shards(self, table: Table) -> list[Table]:
        query = (
            f"SELECT table_name FROM `{self._client.project}.{table.dataset}.INFORMATION_SCHEMA."
            f"TABLES` WHERE STARTS_WITH(table_name, '{table.name}_') ORDER BY creation_time"
        )
        with self._translated(f"listing the shards of {table}"):
            try:
                names = [row["table_name"] for row in self._client.query_and_wait(query)]
            except NotFound:
                return []
        standing = [Table(table.dataset, name) for name in names]
        return [shard for shard in standing if shard.is_shard_of(table)]

    def alter(self, table: Table, columns: Columns) -> None:
        with self._translated(f"altering {table}"):
            for _ in range(TRIES):
                held = self._client.get_table(self._id(table), timeout=CALL_SECONDS)
                before = columns_from(_schema(held))
                wanted = rules.following(before, columns)
                if not rules.added(before, wanted):
                    break
                narrow = rules.extended(before, wanted)
                held.schema = _fields(fields_for(narrow, _schema(held)))
                with suppress(PreconditionFailed):  # another import altered it: look again
                    self._update(held, ["schema"], etag=held.etag)
                    before = narrow
                    break
            self._widen(table, before, wanted)

    def define_latest(self, table: Table, key: Sequence[str], updated_at: str) -> bool:
        standing, known = self.shards(table), self.known(table).columns
        if not standing:
            return False
        query = self._latest(table, known, key, updated_at)
        found = self._get(table)
        if found is not None and not (
            found.table_type == "VIEW" and OURS.items() <= found.labels.items()
        ):
            kind = found.table_type.lower().replace("_", " ")
            raise NotOurs(NOT_OUR_VIEW.format(table=table, kind=kind))
        view = bigquery.Table(self._id(table))
        view.view_query = query
        view.labels = OURS
        with self._translated(f"making the view {table}"):
            if found is None:
                self._client.create_table(view, timeout=CALL_SECONDS)
            elif found.view_query != query:
                self._update(view, ["view_query", "labels"], etag=found.etag)
        return True

    def _latest(self, table: Table, known: Columns, key: Sequence[str], updated_at: str) -> str:
        """Its `*` sees later columns, and the mark of those known has BigQuery show them, too.

        A view answers with the columns its tables have, but what it is said to have is as old as
        its query: https://cloud.google.com/bigquery/docs/views#view_limitations
        """
        keys = [sql_path(rules.key_path(table, known, path)) for path in key]
        newest = sql_path(rules.order_path(table, known, updated_at))
        nulls = " OR ".join(f"{field} IS NULL" for field in keys)
        mark = hashlib.sha256(repr(fields_for(known)).encode()).hexdigest()[:16]
        return (
            f"SELECT * FROM `{self._id(table)}_*` WHERE TRUE "
            f"QUALIFY {nulls} OR ROW_NUMBER() OVER (PARTITION BY {', '.join(keys)} "
            f"ORDER BY {newest} DESC NULLS LAST, _TABLE_SUFFIX DESC) = 1 -- of columns {mark}"
        )

    def _load(
        self, table: Table, file: IO[bytes], schema: list[bigquery.SchemaField], attempt: str
    ) -> bigquery.LoadJob:
        """Runs one load job; asked again under the same `attempt`, finds the job it made."""
        options = bigquery.ParquetOptions()  # type: ignore[no-untyped-call]  # nor has this
        options.enable_list_inference = True
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            schema=schema,
            labels=OURS,
        )
        config.parquet_options = options
        named = hashlib.sha256(f"{self._id(table)} {attempt}".encode()).hexdigest()[:32]
        with self._translated(f"loading {table}"):
            for number in range(TRIES):
                job_id = f"feed_assets-{named}-{number}"
                job: Any
                try:
                    file.seek(0)
                    job = self._client.load_table_from_file(
                        file, self._id(table), job_id=job_id, job_config=config
                    )
                except Conflict:
                    job = self._client.get_job(
                        job_id, location=self._location(table.dataset), timeout=CALL_SECONDS
                    )
                try:
                    job.result()
                    return cast("bigquery.LoadJob", job)
                except GoogleAPICallError as failure:
                    if failure.code not in TRANSIENT or number == TRIES - 1:
                        raise
            raise AssertionError("the last try returns or raises")

    def _widen(self, table: Table, before: Columns, after: Columns) -> None:
        """Turns INTEGER into FLOAT, in place where BigQuery can: not inside arrays.

        https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#alter_column_set_data_type_statement
        """
        to = {column.name: column for column in after}
        changed = [column for column in before if to[column.name] != column]
        if all(in_place(column, to[column.name]) for column in changed):
            for column in changed:
                self._client.query_and_wait(
                    f"ALTER TABLE `{self._id(table)}` ALTER COLUMN {quoted(column.name)} "
                    f"SET DATA TYPE {sql_type(to[column.name])}"
                )
            return
        held = self._client.get_table(self._id(table), timeout=CALL_SECONDS)
        casts = ", ".join(
            f"{sql_cast(f'held.{quoted(c.name)}', c, to[c.name])} AS {quoted(c.name)}"
            for c in changed
        )
        config = bigquery.QueryJobConfig(
            destination=held.reference, write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE
        )
        query = f"SELECT * REPLACE ({casts}) FROM `{self._id(table)}` AS held"
        self._client.query_and_wait(query, job_config=config)
        held.schema = _fields(fields_for(after, _schema(held)))  # its descriptions, once more
        self._update(held, ["schema"], etag=None)

    def _update(self, table: bigquery.Table, fields: list[str], *, etag: str | None) -> None:
        """Updates the table; given an etag, only if it still has it, else PreconditionFailed."""
        table._properties["etag"] = etag
        self._client.update_table(table, fields, timeout=CALL_SECONDS)

    def _get(self, table: Table) -> bigquery.Table | None:
        with self._translated(f"looking at {table}"):
            try:
                return self._client.get_table(self._id(table), timeout=CALL_SECONDS)
            except NotFound:
                return None

    def _make_dataset(self, name: str) -> None:
        """Makes the dataset if it is missing; looks first, as few may make one."""
        if name in self._datasets:
            return
        reference = f"{self._client.project}.{name}"
        with self._translated(f"looking at dataset {name}"):
            try:
                self._client.get_dataset(reference, timeout=CALL_SECONDS)
            except NotFound:
                self._client.create_dataset(reference, exists_ok=True, timeout=CALL_SECONDS)
        self._datasets.add(name)

    def _location(self, dataset: str) -> str:
        """Where the dataset is, and so its jobs, which are found only there."""
        reference = f"{self._client.project}.{dataset}"
        return str(self._client.get_dataset(reference, timeout=CALL_SECONDS).location)

    def _id(self, table: Table) -> str:
        return f"{self._client.project}.{table}"

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except GoogleAPICallError as failure:
            raise WarehouseFailed(
                f"{self} refused {doing}: {failure.message}", transient=failure.code in TRANSIENT
            ) from failure
        except (RetryError, GoogleAuthError, OSError) as failure:
            raise WarehouseFailed(
                f"{self} did not answer when {doing}: {failure}",
                transient=not isinstance(failure, GoogleAuthError),
            ) from failure


def _schema(table: bigquery.Table) -> list[dict[str, Any]]:
    return [field.to_api_repr() for field in table.schema]


def _fields(schema: Sequence[dict[str, Any]]) -> list[bigquery.SchemaField]:
    return [bigquery.SchemaField.from_api_repr(field) for field in schema]
