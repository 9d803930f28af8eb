"""The production warehouse: Google BigQuery, one atomic load job per table."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import SEEK_END
from typing import IO, TYPE_CHECKING, Any, Self, cast

import pyarrow as pa
from google.api_core.exceptions import Conflict, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError as GoogleAuthError  # for who makes the client
from google.cloud import bigquery

from feed_assets.errors import IN_THE_WAY, NotOurs
from feed_assets.schema.columns import Columns, arrow_schema, described
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import NO_ORIGIN, KnownColumns, Load, Origin, PendingMigration
from feed_assets.warehouse.bigquery import alter_tables, erasure
from feed_assets.warehouse.bigquery.client import (
    OURS,
    BigQueryClient,
    fields_of,
    kind_of,
    schema_of,
)
from feed_assets.warehouse.bigquery.latest import LatestTable
from feed_assets.warehouse.bigquery.load_config import load_config, write
from feed_assets.warehouse.bigquery.load_job import CALL_SECONDS, FINDING, run
from feed_assets.warehouse.bigquery.overwrite import plan_overwrite
from feed_assets.warehouse.bigquery.schema import (
    fields_for,
    known_fields,
    known_from,
    quoted,
    sql_text,
)
from feed_assets.warehouse.bigquery.wildcard import wildcard_problem
from feed_assets.warehouse.conform import conform
from feed_assets.warehouse.erasure import Condition
from feed_assets.warehouse.latest_state import Deleted, LatestUpdate, Rule, visible

if TYPE_CHECKING:
    from feed_assets.warehouse.bigquery.staging_bucket import StagingBucket

STAGED_BYTES = 100 << 20
"""Size from which a file is staged, as an upload would take several requests."""
COLUMNS_TABLE = "The columns that the shards {table}_* have had so far. Kept by feed_assets."


def emulator_client(project: str, location: str | None) -> bigquery.Client:
    """Create a client without credentials and proxy, which reads BIGQUERY_EMULATOR_HOST."""
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]  # Google's has no types
    client = bigquery.Client(project, nobody, location=location)
    client._http.trust_env = False  # Google's clients have no setting for it
    return client


class BigQueryWarehouse:
    """Tables in the client's project, created in the client's location."""

    wildcards = True
    parallel_loads = 8

    def __init__(self, client: bigquery.Client, staging: StagingBucket | None = None) -> None:
        """Stage files of STAGED_BYTES and more in `staging`."""
        self._client, self._staging = client, staging
        self._api = BigQueryClient(client)
        self._closed = threading.Event()

    def __repr__(self) -> str:
        return repr(self._api)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        pass

    def close(self) -> None:
        """Let no thread wait for a load job any longer. BigQuery finishes the jobs that run."""
        self._closed.set()

    def columns(self, table: Table) -> Columns | None:
        return self._api.columns(table)

    def replace(
        self,
        table: Table,
        rows: pa.RecordBatchReader,
        columns: Columns,
        *,
        attempt: str,
        origin: Origin = NO_ORIGIN,
    ) -> Load:
        before = self._api.find(table)
        if before is not None and before.table_type != "TABLE":
            raise NotOurs(IN_THE_WAY.format(table=table, kind=kind_of(before)))
        if before is None:
            self._api.make_dataset(table.dataset)
        with tempfile.TemporaryFile(prefix="feed_assets-") as file:
            form = write(rows, columns, file, of=table)
            descriptions = described(columns, origin.columns)
            overwrite = plan_overwrite(self._api, table, before, columns, descriptions)
            config = load_config(form, overwrite, origin, new=not before)
            if before is not None and before.encryption_configuration:  # else it loses its key
                config.destination_encryption_configuration = before.encryption_configuration
            job = self._load(table, file, config, attempt)
        if overwrite.constraints:
            with self._api.translated(f"declaring the keys of {table}"):
                self._api.restore_constraints(table, overwrite.constraints)
        figures = {
            "bytes loaded": job.output_bytes or 0,
            "slot ms": int(job._properties["statistics"].get("totalSlotMs", 0)),
            "job": job.job_id,
        }
        return Load(job.output_rows, before is None, figures)

    def read(self, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
        current = self.columns(table) or ()
        wanted = tuple(c for c in current if columns is None or c.name in columns)
        listed = ", ".join(f"`{column.name}`" for column in wanted)
        with self._api.translated(f"reading {table}"):
            found = self._api.get(table)
            if found.table_type == "TABLE":
                selected = fields_of(fields_for(wanted))
                rows = self._client.list_rows(found, selected_fields=selected, timeout=CALL_SECONDS)
            else:
                rows = self._api.query(f"SELECT {listed} FROM `{self._api.id(table)}`")
            read = rows.to_arrow(create_bqstorage_client=False)
        return pa.Table.from_batches(conform(read, wanted), arrow_schema(wanted))

    def count(self, table: Table) -> int | None:
        found = self._api.find(table)
        return found.num_rows if found is not None and found.table_type == "TABLE" else None

    def content_token(self, table: Table) -> str | None:
        found = self._api.find(table)
        if found is None or found.table_type != "TABLE":
            return None
        return f"{found.created} {found.modified} {found.num_rows}"

    def known(self, table: Table) -> KnownColumns:
        found = self._api.find(table.columns)
        if found is None:
            return KnownColumns()
        return _known(found)

    def record_columns(
        self, table: Table, columns: Columns, pending: PendingMigration, *, expected: KnownColumns
    ) -> KnownColumns | None:
        before: bigquery.Table | None = expected.etag
        place = bigquery.Table(
            self._api.id(table.columns),
            known_fields(columns, schema_of(before) if before else ()),
        )
        place.description = COLUMNS_TABLE.format(table=table)
        place.labels = {**OURS, "pending": pending.name.lower()}
        with self._api.translated(f"recording the columns of {table}"):
            try:
                if before is None:
                    self._api.make_dataset(table.dataset)
                    return _known(self._api.create(place))
                return _known(self._api.update(place, ["schema", "labels"], etag=before.etag))
            except (Conflict, PreconditionFailed):
                return None

    def shards(self, table: Table) -> list[Table]:
        return self._api.shards(table)

    def wildcard_problem(self, table: Table, columns: Columns) -> str | None:
        return wildcard_problem(self._api, table, columns)

    def alter(self, table: Table, columns: Columns) -> None:
        alter_tables.alter(self._api, table, columns)

    def widen(self, table: Table, columns: Columns) -> None:
        alter_tables.widen_shards(self._api, table, columns)

    def update_latest(
        self,
        table: Table,
        key: Sequence[str],
        updated_at: str,
        *,
        deleted: Deleted | None = None,
        full_refresh: bool = False,
        origin: Origin = NO_ORIGIN,
    ) -> LatestUpdate | None:
        known = self.known(table)
        if known.etag is None and not self.shards(table):
            return None
        rule = Rule.of(table, known.columns, key, updated_at, quoted)
        condition = visible(table, known.columns, deleted, rule, sql_text)
        latest = LatestTable(self._api, table, known.columns, rule)
        updated = latest.update(origin, full_refresh=full_refresh)
        if updated is not None:
            latest.define_view(condition, origin)
        return updated

    def count_matching(self, tables: Sequence[Table], condition: Condition) -> dict[Table, int]:
        return erasure.count_matching(self._api, tables, condition)

    def keys_matching(
        self, table: Table, condition: Condition, paths: Sequence[str]
    ) -> set[tuple[str, ...]]:
        return erasure.keys_matching(self._api, table, condition, paths)

    def delete_matching(self, table: Table, condition: Condition) -> None:
        erasure.delete_matching(self._api, table, condition)

    def _load(
        self, table: Table, file: IO[bytes], config: bigquery.LoadJobConfig, attempt: str
    ) -> bigquery.LoadJob:
        """Run one load job. Called again with the same `attempt`, adopt the job it submitted."""
        named = hashlib.sha256(f"{self._api.id(table)} {attempt}".encode()).hexdigest()[:32]
        size = file.seek(0, SEEK_END)  # with it, the client uploads less than 5 MB in one request
        options: Any = {"job_config": config, "timeout": CALL_SECONDS}

        def make(job_id: str) -> bigquery.LoadJob:
            if uri is not None:
                return self._client.load_table_from_uri(
                    uri, self._api.id(table), job_id=job_id, **options
                )
            file.seek(0)
            return self._client.load_table_from_file(
                file, self._api.id(table), size=size, job_id=job_id, **options
            )

        def find(job_id: str) -> bigquery.LoadJob:
            location = self._api.location(table.dataset)
            retry = FINDING.with_timeout(CALL_SECONDS)
            job: Any = self._client.get_job(
                job_id, location=location, retry=retry, timeout=CALL_SECONDS
            )
            return cast("bigquery.LoadJob", job)

        with self._api.translated(f"loading {table}"), self._staged(table, file, named) as uri:
            return run(
                f"feed_assets-{named}", make, find, of=str(table), stopped=self._closed.is_set
            )

    @contextmanager
    def _staged(self, table: Table, file: IO[bytes], attempt: str) -> Iterator[str | None]:
        """Stage a large file and yield its URI. None without a bucket or for a small file."""
        if self._staging is None or file.seek(0, SEEK_END) < STAGED_BYTES:
            yield None
            return
        with self._staging.holding(file, self._api.id(table), attempt) as uri:
            yield uri


def _known(found: bigquery.Table) -> KnownColumns:
    pending = found.labels.get("pending", PendingMigration.NOTHING.name.lower())
    return KnownColumns(known_from(schema_of(found)), PendingMigration[pending.upper()], found)
