"""The production warehouse: Google BigQuery, one atomic load job per table."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from os import SEEK_END
from typing import IO, TYPE_CHECKING, Any, Self, cast

import pyarrow as pa
from google.api_core.exceptions import BadRequest, Conflict, Forbidden, NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError as GoogleAuthError  # for who makes the client
from google.cloud import bigquery

from feed_assets.errors import IN_THE_WAY, NOT_OUR_VIEW, NotOurs, WarehouseFailed
from feed_assets.tables import Table
from feed_assets.warehouse import shards as rules
from feed_assets.warehouse.bigquery_errors import FAILURES, given_up, passes, translated
from feed_assets.warehouse.bigquery_jobs import (
    CALL_SECONDS,
    FINDING,
    JOB_SECONDS,
    PATIENT,
    TRIES,
    run,
)
from feed_assets.warehouse.bigquery_load import OURS, load_config, write
from feed_assets.warehouse.bigquery_schema import (
    NOTHING,
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
from feed_assets.warehouse.columns import Columns, arrow_schema, described
from feed_assets.warehouse.interface import NOWHERE, Known, Load, Origin, Pending
from feed_assets.warehouse.rows import conform

if TYPE_CHECKING:
    from feed_assets.warehouse.bigquery_staging import StagingBucket

ALTERED_AT_ONCE = 8
STAGED_BYTES = 100 << 20
"""From what size on a file goes through the staging bucket: it would take several requests."""
_MAY_WIDEN = "REGEXP_CONTAINS(data_type, 'INT64|NUMERIC')"  # see shards.widened
COLUMNS_TABLE = "The columns that the shards {table}_* have had so far. Kept by feed_assets."


def emulator_client(project: str, location: str | None) -> bigquery.Client:
    """A client without credentials; it reads BIGQUERY_EMULATOR_HOST itself."""
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]  # Google's has no types
    return bigquery.Client(project, nobody, location=location)


class BigQueryWarehouse:
    """Tables in the client's project, made in the client's location."""

    wildcards = True

    def __init__(self, client: bigquery.Client, staging: StagingBucket | None = None) -> None:
        """Loads of STAGED_BYTES and more go by way of `staging`."""
        self._client, self._staging = client, staging
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
            query = self._client.query(
                f"SELECT * FROM `{self._id(table)}`", job_config=dry, timeout=CALL_SECONDS
            )
            return columns_from([field.to_api_repr() for field in query.schema or ()])

    def replace(
        self,
        table: Table,
        rows: pa.RecordBatchReader,
        columns: Columns,
        *,
        attempt: str,
        origin: Origin = NOWHERE,
    ) -> Load:
        before = self._get(table)
        if before is not None and before.table_type != "TABLE":
            raise NotOurs(IN_THE_WAY.format(table=table, kind=_kind(before)))
        if before is None:
            self._make_dataset(table.dataset)
        with tempfile.TemporaryFile(prefix="feed_assets-") as file:
            form = write(rows, columns, file, of=table)
            said = described(columns, origin.columns)
            schema = _fields(fields_for(columns, _schema(before) if before else (), said))
            job = self._load(
                table, file, load_config(form, schema, origin, new=not before), attempt
            )
        figures = {
            "bytes loaded": job.output_bytes or 0,
            "slot ms": int(job._properties["statistics"].get("totalSlotMs", 0)),
            "job": job.job_id,
        }
        return Load(job.output_rows, before is None, figures)

    def read(self, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
        held = self.columns(table) or ()
        wanted = tuple(c for c in held if columns is None or c.name in columns)
        listed = ", ".join(f"`{column.name}`" for column in wanted)
        with self._translated(f"reading {table}"):
            found = self._client.get_table(self._id(table), timeout=CALL_SECONDS)
            if found.table_type == "TABLE":
                selected = _fields(fields_for(wanted))
                rows = self._client.list_rows(found, selected_fields=selected, timeout=CALL_SECONDS)
            else:
                rows = self._query(f"SELECT {listed} FROM `{self._id(table)}`")
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
                    self._create(place)
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
                names = [row["table_name"] for row in self._query(query)]
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

    def widen(self, table: Table, columns: Columns) -> None:
        narrow = self._narrow(table, columns)

        def follow(shard: Table) -> None:
            held = self._get(shard)
            if held is not None:  # else deleted meanwhile
                before = columns_from(_schema(held))
                with self._translated(f"altering {shard}"):
                    self._widen(shard, before, rules.widened(before, columns))

        with ThreadPoolExecutor(ALTERED_AT_ONCE, "widen") as pool:
            for done in [pool.submit(follow, shard) for shard in narrow]:
                done.result()

    def _narrow(self, table: Table, columns: Columns) -> list[Table]:
        """The shards that are to be widened: one query, and one look at each kind of shard.

        https://cloud.google.com/bigquery/docs/information-schema-columns
        """
        query = (
            f"SELECT table_name, column_name, data_type FROM "
            f"`{self._client.project}.{table.dataset}.INFORMATION_SCHEMA.COLUMNS` "
            f"WHERE STARTS_WITH(table_name, '{table.name}_') AND {_MAY_WIDEN} "
            f"ORDER BY table_name, column_name"
        )
        with self._translated(f"listing the columns of the shards of {table}"):
            found = [tuple(row.values()) for row in self._query(query)]
        kinds: dict[tuple[tuple[str, str], ...], list[Table]] = {}
        for name, rows in groupby(found, key=itemgetter(0)):
            shard = Table(table.dataset, name)
            if shard.is_shard_of(table):
                kinds.setdefault(tuple(row[1:] for row in rows), []).append(shard)
        return [
            shard
            for shards in kinds.values()
            if (held := self.columns(shards[0])) and rules.widened(held, columns) != held
            for shard in shards
        ]

    def define_latest(
        self, table: Table, key: Sequence[str], updated_at: str, *, origin: Origin = NOWHERE
    ) -> bool:
        known = self.known(table)
        if known.version is None and not self.shards(table):
            return False
        query = self._latest(table, known.columns, key, updated_at)
        found = self._get(table)
        if found is not None and not (
            found.table_type == "VIEW" and OURS.items() <= found.labels.items()
        ):
            raise NotOurs(NOT_OUR_VIEW.format(table=table, kind=_kind(found)))
        view = bigquery.Table(self._id(table))
        view.view_query = query
        view.labels = OURS
        with self._translated(f"making the view {table}"):
            try:
                if found is None:
                    view.description = origin.description or None
                    self._create(view)
                elif found.view_query != query:
                    self._update(view, ["view_query", "labels"], etag=found.etag)
                if said := described(known.columns, origin.columns):
                    self._describe(table, (), said)
            except (BadRequest, NotFound):
                if self.shards(table):
                    raise
                return False  # an import was killed before it made the first
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
        self, table: Table, file: IO[bytes], config: bigquery.LoadJobConfig, attempt: str
    ) -> bigquery.LoadJob:
        """Runs one load job; asked again under the same `attempt`, finds the job it made."""
        named = hashlib.sha256(f"{self._id(table)} {attempt}".encode()).hexdigest()[:32]
        options: Any = {"job_config": config, "timeout": CALL_SECONDS}

        def make(job_id: str) -> bigquery.LoadJob:
            if uri is not None:
                return self._client.load_table_from_uri(
                    uri, self._id(table), job_id=job_id, **options
                )
            file.seek(0)
            return self._client.load_table_from_file(
                file, self._id(table), job_id=job_id, **options
            )

        def find(job_id: str) -> bigquery.LoadJob:
            location = self._location(table.dataset)
            retry = FINDING.with_timeout(CALL_SECONDS)
            job: Any = self._client.get_job(
                job_id, location=location, retry=retry, timeout=CALL_SECONDS
            )
            return cast("bigquery.LoadJob", job)

        with self._translated(f"loading {table}"), self._staged(table, file, named) as uri:
            return run(f"feed_assets-{named}", make, find, of=str(table))

    @contextmanager
    def _staged(self, table: Table, file: IO[bytes], attempt: str) -> Iterator[str | None]:
        """Where a large file is in the staging bucket, if there is one."""
        if self._staging is None or file.seek(0, SEEK_END) < STAGED_BYTES:
            yield None
            return
        with self._staging.holding(file, self._id(table), attempt) as uri:
            yield uri

    def _widen(self, table: Table, before: Columns, after: Columns) -> None:
        """Turns INTEGER into FLOAT, in place where BigQuery can: not inside arrays.

        https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#alter_column_set_data_type_statement
        """
        to = {column.name: column for column in after}
        changed = [column for column in before if to[column.name] != column]
        if all(in_place(column, to[column.name]) for column in changed):
            for column in changed:
                self._query(
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
        self._query(query, config)
        self._describe(table, _schema(held))

    def _describe(
        self, table: Table, before: Sequence[dict[str, Any]], said: Mapping[str, str] = NOTHING
    ) -> None:
        """Gives columns the descriptions they had before; there may be more columns by now."""
        for _ in range(TRIES):
            now = self._client.get_table(self._id(table), timeout=CALL_SECONDS)
            wanted = fields_for(columns_from(_schema(now)), before or _schema(now), said)
            if _fields(wanted) == list(now.schema):
                return
            now.schema = _fields(wanted)
            with suppress(PreconditionFailed):  # another import altered it: look again
                self._update(now, ["schema"], etag=now.etag)
                return

    def _query(self, sql: str, config: bigquery.QueryJobConfig | None = None) -> Any:
        """The rows of a query. One that takes too long is cancelled."""
        return self._client.query_and_wait(
            sql,
            job_config=config,
            api_timeout=CALL_SECONDS,
            wait_timeout=JOB_SECONDS,
            retry=PATIENT,
            job_retry=PATIENT.with_predicate(lambda why: not given_up(why) and passes(why)),
        )

    def _update(self, table: bigquery.Table, fields: list[str], *, etag: str | None) -> None:
        """Updates the table; given an etag, only if it still has it, else PreconditionFailed."""
        table._properties["etag"] = etag
        self._client.update_table(table, fields, timeout=CALL_SECONDS)

    def _create(self, table: bigquery.Table) -> None:
        """Makes a table or view that stays, whatever the dataset's default expiration."""
        made = self._client.create_table(table, timeout=CALL_SECONDS)
        if made.expires is not None:
            made.expires = None
            with suppress(BadRequest, Forbidden):  # in the sandbox, nothing stays
                self._update(made, ["expires"], etag=None)

    def _get(self, table: Table) -> bigquery.Table | None:
        with self._translated(f"looking at {table}"):
            try:
                found = self._client.get_table(self._id(table), timeout=CALL_SECONDS)
            except NotFound:
                return None
        self._require_here(table, found.location)
        return found

    def _make_dataset(self, name: str) -> None:
        """Makes the dataset if it is missing; looks first, as few may make one."""
        if name in self._datasets:
            return
        reference = f"{self._client.project}.{name}"
        with self._translated(f"looking at dataset {name}"):
            try:
                found = self._client.get_dataset(reference, timeout=CALL_SECONDS)
            except NotFound:
                with suppress(Conflict):  # somebody was faster; `exists_ok` would wait for ever
                    self._client.create_dataset(reference, timeout=CALL_SECONDS)
                found = self._client.get_dataset(reference, timeout=CALL_SECONDS)
        self._require_here(f"dataset {name}", found.location)
        self._datasets.add(name)

    def _require_here(self, what: object, location: str | None) -> None:
        """Raises WarehouseFailed where the client's jobs, which run in its location, find nothing.

        https://cloud.google.com/bigquery/docs/locations#specify_locations
        """
        wanted: str | None = self._client.location
        if wanted and location and location.upper() != wanted.upper():
            raise WarehouseFailed(
                f"{what} is in {location}, and FEED_ASSETS_WAREHOUSE has location={wanted}; write "
                f"location={location} there, or name another dataset"
            )

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
        except FAILURES as failure:
            raise translated(self, doing, self._client.project, failure) from failure


def _kind(table: bigquery.Table) -> str:
    """What it is, for a person: view, materialized view, external, snapshot, ... ."""
    return str(table.table_type).lower().replace("_", " ")


def _schema(table: bigquery.Table) -> list[dict[str, Any]]:
    return [field.to_api_repr() for field in table.schema]


def _fields(schema: Sequence[dict[str, Any]]) -> list[bigquery.SchemaField]:
    return [bigquery.SchemaField.from_api_repr(field) for field in schema]
