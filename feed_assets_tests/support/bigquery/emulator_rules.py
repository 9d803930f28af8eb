"""BigQuery's documented behaviour, where `bqemulator` differs from it."""

import asyncio
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import duckdb
import duckdb_extensions
import pyarrow as pa
import sqlglot
from bqemulator import server
from bqemulator.api.app import create_app
from bqemulator.api.dependencies import AppContext
from bqemulator.api.routes import jobs as job_routes
from bqemulator.api.routes.tabledata import list_tabledata
from bqemulator.api.routes.tables import _anonymous_result_table_to_rest, _table_to_rest
from bqemulator.catalog.models import Clustering, JobMeta, TableMeta, TableSchema
from bqemulator.config import LogLevel, Settings
from bqemulator.domain.errors import (
    AlreadyExistsError,
    DomainError,
    InvalidQueryError,
    NotFoundError,
    ValidationError,
)
from bqemulator.jobs import executor
from bqemulator.row_access.identity import CallerIdentity
from bqemulator.scripting.exceptions import ScriptRaise
from bqemulator.sql import inner_query
from sqlglot import TokenType, exp
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feed_assets_tests.support.bigquery.analyzer import (
    SqlRefused,
    TableMissing,
    check_sql,
    output_fields,
)
from feed_assets_tests.support.bigquery.discovery import NotInApi, api
from feed_assets_tests.support.bigquery.emulator_boxes import (
    TYPE,
    box_lines,
    box_parquet,
    boxed,
    is_boxed,
    unboxed,
)
from feed_assets_tests.support.bigquery.emulator_speed import (
    reuse_generators,
    reuse_parsed_statements,
    without_metrics,
)
from feed_assets_tests.support.bigquery.emulator_types import (
    JSON,
    Field,
    Fields,
    Key,
    PreconditionFailedError,
    Properties,
    as_schema,
    by_name,
    check_file,
    difference,
    extended,
    field_of_sql,
    fields_of,
    flexible,
    literal,
    overlay,
    projection,
    properties_of,
    quoted,
    read_schema,
    redescribed,
    refusal,
    types_in,
    widened,
    without_flexible,
)
from feed_assets_tests.support.bigquery.zetasql_module import zetasql

ENCRYPTION = "encryptionConfiguration"
EXTRAS = (ENCRYPTION, "resourceTags")
"""Properties of tables that the emulator forgets."""
build_job_response = job_routes._build_job_response
_LISTING = re.compile(r"`(?P<project>[^`.]+)\.(?P<dataset>[^`.]+)\.__TABLES__`")
_TEMPORARY = re.compile(r"\bCREATE TEMP TABLE (\w+)")
_GEOGRAPHY_TEXT = re.compile(r"ST_ASTEXT\((_table_rows\.[`\w.]+)\)")
"""The text of a column that is a geography; here it is boxed, and is text."""
ANYONE = CallerIdentity(principal="user:test@example.com", is_authenticated=True)


async def serve(port: int, buckets: Path) -> None:
    """Start the corrected emulator, print its URL, and serve until standard input ends."""
    duckdb_extensions.import_extension("spatial")
    zetasql()  # compiled now, as a client does not wait for it
    reuse_generators()
    reuse_parsed_statements()
    put(server, "create_app", lambda context: Rules(context).install(create_app(context)))
    running = server.EmulatorServer(
        Settings(
            rest_port=port,
            grpc_port=0,
            gcs_local_root=buckets,
            enable_format_extensions=False,
            log_level=LogLevel.ERROR,
        )
    )
    await running.start()
    print(running.rest_url, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await running.stop()


def put(module: ModuleType | type, name: str, function: Callable[..., object]) -> None:
    """Put a function in the place of one of the emulator's."""
    assert hasattr(module, name)
    setattr(module, name, function)


class Rules:
    """The corrections, over one emulator's data and catalog."""

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

    def install(self, app: Any) -> ASGIApp:
        """Put the corrected routes and functions before the emulator's own."""
        tables = "/bigquery/v2/projects/{project}/datasets/{dataset}/tables"
        jobs = "/bigquery/v2/projects/{project}/jobs"
        app.router.routes[:0] = [
            Route(tables, self.create_table, methods=["POST"]),
            Route(f"{tables}/{{table}}", self.get_table, methods=["GET"]),
            Route(f"{tables}/{{table}}", self.patch_table, methods=["PATCH"]),
            Route(f"{tables}/{{table}}", self.delete_table, methods=["DELETE"]),
            Route(f"{tables}/{{table}}/data", self.list_rows, methods=["GET"]),
            Route(jobs, self.insert_job, methods=["POST"]),
            Route(f"{jobs}/{{job}}", self.get_job, methods=["GET"]),
            Route("/bigquery/v2/projects/{project}/queries", self.query, methods=["POST"]),
            Route(f"/upload{jobs}", self.start_upload, methods=["POST"]),
            Route(f"/upload{jobs}", self.continue_upload, methods=["PUT"]),
        ]
        self.unbox_answers()
        put(inner_query, "expand_wildcard_tables", self.expand_wildcards)
        put(job_routes, "execute_query_job", self.execute_query)
        put(job_routes, "_build_job_response", self.job_resource)
        without_metrics(app)
        return one_at_a_time(app)

    def unbox_answers(self) -> None:
        """Have what is boxed answered in BigQuery's types."""
        fetch, resolve = self.context.engine.fetch_arrow, executor._resolve_bq_type

        def fetched(sql: str, parameters: list[Any] | None = None) -> pa.Table:
            return unboxed(fetch(sql, parameters))

        def resolved(field: pa.Field, inner: pa.DataType) -> str:
            told = (field.metadata or {}).get(TYPE)
            return told.decode() if told else resolve(field, inner)

        self.context.engine.fetch_arrow = fetched  # type: ignore[method-assign]
        put(executor, "_resolve_bq_type", resolved)

    def sql(self, statement: str) -> list[Any]:
        """Run SQL of DuckDB."""
        return self.context.engine.connection.execute(statement).fetchall()

    # --- tables

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
        new = Key(key.project, key.dataset, f"new_{uuid4().hex}")
        self.sql(f"CREATE TABLE {new.sql} AS {query}")
        self.sql(f"BEGIN; DROP TABLE IF EXISTS {key.sql}")
        self.sql(f"ALTER TABLE {new.sql} RENAME TO {quoted(key.table)}; COMMIT")

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

    async def create_table(self, request: Request) -> Response:
        body = await request.json()
        key = Key(**request.path_params, table=body["tableReference"]["tableId"])
        if self.catalog.get_table(*key) is not None:
            raise AlreadyExistsError(f"Already Exists: Table {key}")
        if view := body.get("view"):
            meta = await self.create_view(key, view["query"], body)
        else:
            meta = self.new(key, body)
            columns = meta.schema_.fields or (Field(name="no column yet", type="STRING"),)
            self.fill(key, f"SELECT {projection((), columns)} LIMIT 0")
            meta = self.save(meta)
            self.properties[key] = properties_of(body.get("schema"))
            if "tableConstraints" in body:
                self.constraints[key] = body["tableConstraints"]
        self.extras[key] = {name: body[name] for name in EXTRAS if name in body}
        return JSONResponse(self.resource(meta))

    async def get_table(self, request: Request) -> Response:
        key = Key(**request.path_params)
        if key.dataset == "_bqemu_anonymous":
            return JSONResponse(_anonymous_result_table_to_rest(*key))
        return JSONResponse(self.resource(self.find(key)))

    async def patch_table(self, request: Request) -> Response:
        key = Key(**request.path_params)
        meta = self.find(key)
        body = await request.json()
        # "The changes will only be saved if no modifications to the table occurred":
        # https://cloud.google.com/python/docs/reference/bigquery/latest/google.cloud.bigquery.client.Client#google_cloud_bigquery_client_Client_update_table
        if request.headers.get("if-match", meta.etag) != meta.etag:
            raise PreconditionFailedError(f"Precondition Failed: {key} has another etag")
        handled = {"tableReference", "etag", "schema", "labels", "view", "expirationTime"}
        handled |= {"tableConstraints", *EXTRAS}
        if unknown := body.keys() - handled - {"description", "friendlyName"}:
            raise ValidationError(f"not emulated in an update of a table: {sorted(unknown)}")
        changes: JSON = {}
        self.extras.setdefault(key, {}).update({n: body[n] for n in EXTRAS if n in body})
        if "description" in body:
            changes["description"] = body["description"]
        if "friendlyName" in body:
            changes["friendly_name"] = body["friendlyName"]
        if "expirationTime" in body:
            changes["expiration_time"] = instant(body["expirationTime"])
        if "labels" in body:
            # A label that is null goes away:
            # https://cloud.google.com/bigquery/docs/deleting-labels
            labels = meta.labels | (body["labels"] or {})
            changes["labels"] = {k: v for k, v in labels.items() if v is not None}
        if "tableConstraints" in body:
            self.constraints[key] = body["tableConstraints"]
        if body.get("schema"):
            # What is left out goes. Of policy tags the documents say both, this and that they stay.
            # https://github.com/googleapis/python-bigquery/issues/981
            self.properties[key] = properties_of(body["schema"])
        if view := body.get("view"):
            # "The reported schema will remain inaccurate until the view SQL definition is changed":
            # https://cloud.google.com/bigquery/docs/views#view_limitations
            if view["query"] != meta.view_query:
                meta = await self.create_view(key, view["query"], body, meta)
        elif body.get("schema"):
            fields = extended(meta.schema_.fields, fields_of(body["schema"]), key)
            if meta.view_query is None:
                meta = self.reshape(key, meta, fields)
            else:  # of a view, its columns' descriptions
                changes["schema_"] = TableSchema(fields=fields)
        return JSONResponse(self.resource(self.save(meta, **changes)))

    async def delete_table(self, request: Request) -> Response:
        key = Key(**request.path_params)
        meta = self.find(key)
        if meta.view_query is None:
            self.sql(f"DROP TABLE {key.sql}")
        self.catalog.delete_table(*key)
        self.unprotect(key, {})
        self.extras.pop(key, None)
        self.renamed.discard(key)
        return Response(status_code=204)

    def unprotect(self, key: Key, config: JSON) -> None:
        """Forget what a truncating job removes: the properties of fields, keys, row policies.

        Its own encryption is the table's: without a key, "switch a table to default encryption",
        https://cloud.google.com/bigquery/docs/customer-managed-encryption#change_to_default_encryption

        "Overwrites the data, removes the constraints and uses the schema from the load job",
        https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad
        policy tags: https://cloud.google.com/bigquery/docs/column-level-security-writes
        row access policies, and that the table's description and labels stay, measured on
        BigQuery by others: https://github.com/dlt-hub/dlt/pull/4130
        """
        self.properties.pop(key, None)
        self.constraints.pop(key, None)
        extras = self.extras.setdefault(key, {})
        extras.pop(ENCRYPTION, None)
        if destination := config.get("destinationEncryptionConfiguration"):
            extras[ENCRYPTION] = destination
        for policy in self.context.row_access.list_for_table(*key):
            self.context.row_access.delete(
                project_id=key.project,
                dataset_id=key.dataset,
                table_id=key.table,
                policy_id=policy.policy_id,
            )

    async def list_rows(self, request: Request) -> Response:
        key = Key(**request.path_params)
        # https://cloud.google.com/bigquery/docs/views#view_limitations
        if self.find(key).view_query is not None:
            raise ValidationError("Cannot list a table of type VIEW.")
        asked = request.query_params
        return JSONResponse(
            list_tabledata(
                *key,
                self.context,
                maxResults=int(asked.get("maxResults", 10_000)),
                startIndex=int(asked.get("startIndex", 0)),
                pageToken=asked.get("pageToken"),
                selectedFields=asked.get("selectedFields"),
            )
        )

    async def create_view(
        self, key: Key, query: str, body: JSON, known: TableMeta | None = None
    ) -> TableMeta:
        """Make a view; the columns it shows are those its query has now.

        https://cloud.google.com/bigquery/docs/views#view_limitations
        """
        self.check_sql(key.project, query)
        rows = await executor._run_single_sql(
            key.project, f"SELECT * FROM (\n{query}\n) LIMIT 0", None, self.context, caller=ANYONE
        )
        schema = {"fields": executor.build_response_schema(rows.schema)}
        return self.save(
            known or self.new(key, body),
            table_type="VIEW",
            view_query=query,
            schema_=TableSchema(fields=fields_of(schema)),
        )

    # --- jobs

    def claim(self, project: str, body: JSON) -> str:
        """The id of a new job; an id names one job, once.

        https://cloud.google.com/bigquery/docs/running-jobs#generate-jobid
        """
        job_id: str = body.setdefault("jobReference", {}).get("jobId") or f"job_{uuid4().hex}"
        if self.catalog.get_job(project, job_id) is not None:
            raise AlreadyExistsError(f"Already Exists: Job {project}:{job_id}")
        self.locations[job_id] = self.location_of(project, body)
        return job_id

    def location_of(self, project: str, body: JSON) -> str:
        """Return the location of a job: its request's, else its dataset's, else US.

        https://cloud.google.com/bigquery/docs/locations#specify_locations
        """
        load = body.get("configuration", {}).get("load", {})
        target = load.get("destinationTable", {})
        dataset = self.catalog.get_dataset(
            target.get("projectId", project), target.get("datasetId", "")
        )
        default = dataset.location if dataset else "US"
        return str(body.get("jobReference", {}).get("location") or default)

    def job_resource(self, project: str, job_id: str, job: JobMeta, config: JSON) -> JSON:
        """A job as the API shows it."""
        body: JSON = build_job_response(project, job_id, job, config)
        body["jobReference"]["location"] = self.locations.get(job_id, "US")
        if self.reads_protected_rows(project, config):
            # https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#RowLevelSecurityStatistics
            applied = {"rowLevelSecurityApplied": True}
            body.setdefault("statistics", {})["rowLevelSecurityStatistics"] = applied
        return body

    def reads_protected_rows(self, project: str, config: JSON) -> bool:
        """Return whether a query reads a table with row access policies."""
        sql = (config.get("query") or {}).get("query", "")
        names = {
            f"{p.dataset_id}.{p.table_id}" for p in self.catalog.list_all_row_access_policies()
        }
        return any(re.search(rf"\b{re.escape(name)}\b", sql) for name in names)

    async def get_job(self, request: Request) -> Response:
        project, job_id = request.path_params["project"], request.path_params["job"]
        job = self.catalog.get_job(project, job_id)
        # A job outside of US and EU is found in its location only:
        # https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/get
        wanted = request.query_params.get("location")
        location = self.locations.get(job_id, "US")
        if job is None or location.upper() not in ([wanted.upper()] if wanted else ["US", "EU"]):
            raise NotFoundError(f"Not found: Job {project}:{job_id}")
        return JSONResponse(self.job_resource(project, job_id, job, job.configuration))

    async def insert_job(self, request: Request) -> Response:
        body = await request.json()
        project = request.path_params["project"]
        job_id = self.claim(project, body)
        body["jobReference"]["jobId"] = job_id
        load = body["configuration"].get("load")
        if load is not None:
            paths = [executor._resolve_uri(uri, self.context) for uri in load["sourceUris"]]
            return self.run_load(project, job_id, body, [Path(path) for path in paths])
        # Popped from the parsed body that the emulator reads as well: it would ignore it.
        target = body["configuration"].get("query", {}).pop("destinationTable", None)
        key = Key(project, target["datasetId"], target["tableId"]) if target else None
        if key and self.catalog.get_table(*key):
            disposition = body["configuration"]["query"].get("writeDisposition", "WRITE_EMPTY")
            if disposition != "WRITE_TRUNCATE":
                raise InvalidQueryError(f"not emulated: {disposition} of a query into {key}")
        answer: JSON = await job_routes.insert_job(project, request, self.context, caller=ANYONE)
        if key and "errorResult" not in answer["status"]:
            self.store(job_id, key, body["configuration"]["query"])
        return JSONResponse(answer)

    async def query(self, request: Request) -> Response:
        """Run a query at once; one that fails is an error of HTTP, and not of a job.

        https://cloud.google.com/bigquery/docs/error-messages
        """
        project = request.path_params["project"]
        answer: JSON = await job_routes.query(project, request, self.context, caller=ANYONE)
        errors = answer.get("errors", [])
        if not errors:
            return JSONResponse(answer)
        code = {"notFound": 404, "duplicate": 409, "accessDenied": 403}.get(
            errors[0]["reason"], 400
        )
        error = {"code": code, "message": errors[0]["message"], "errors": errors}
        return JSONResponse({"error": error}, status_code=code)

    def store(self, job_id: str, key: Key, config: JSON) -> None:
        """Put a query's result into its destination, with its schema.

        https://cloud.google.com/bigquery/docs/writing-results#permanent-table
        """
        fields = fields_of({"fields": executor.JOB_SCHEMAS[job_id]})
        meta = self.catalog.get_table(*key) or self.new(key, {})
        connection = self.context.engine.connection
        connection.register("query_result", boxed(executor.JOB_RESULTS[job_id], fields))
        self.fill(key, f"SELECT {projection(fields, fields)} FROM query_result")
        self.unprotect(key, config)
        connection.unregister("query_result")
        self.save(meta, schema_=TableSchema(fields=fields))

    async def start_upload(self, request: Request) -> Response:
        project = request.path_params["project"]
        upload = uuid4().hex
        path = Path(self.folder.name, upload)
        if request.query_params["uploadType"] == "multipart":
            body, content = split(request.headers["content-type"], await request.body())
            path.write_bytes(content)
            return self.run_load(project, self.claim(project, body), body, [path])
        body = await request.json()
        self.claim(project, body)
        self.uploads[upload] = body, path
        path.touch()
        return Response(headers={"location": f"{request.url}&upload_id={upload}"})

    async def continue_upload(self, request: Request) -> Response:
        project, upload = request.path_params["project"], request.query_params["upload_id"]
        if upload not in self.uploads:
            # What has been sent whole is not to be sent again; what then happens is not documented.
            # https://cloud.google.com/bigquery/docs/reference/api-uploads#resumable
            raise NotFoundError(f"Not found: Upload {upload}")
        body, path = self.uploads[upload]
        with path.open("ab") as file:
            file.write(await request.body())
        size = path.stat().st_size
        if request.headers["content-range"].rpartition("/")[2] != str(size):
            received = {"range": f"bytes=0-{size - 1}"} if size else {}
            return Response(status_code=308, headers=received)
        del self.uploads[upload]
        return self.run_load(project, self.claim(project, body), body, [path])

    def run_load(self, project: str, job_id: str, body: JSON, files: list[Path]) -> Response:
        """Run a load job: one that fails has changed nothing, and is a job all the same."""
        started = datetime.now(UTC)
        rows, error = 0, None
        try:
            rows = self.load(project, body, files)
        except DomainError as problem:
            error = {"reason": problem.bq_reason, "message": problem.message}
        except (duckdb.Error, pa.ArrowException, OSError) as problem:
            message = f"Error while reading data, error message: {problem}"
            error = {"reason": "invalid", "message": message}
        job = JobMeta(
            project_id=project,
            job_id=job_id,
            job_type="LOAD",
            state="DONE",
            configuration=body["configuration"] | {"jobType": "LOAD"},
            statistics={"load": {"outputRows": str(rows), "inputFiles": str(len(files))}},
            error_result=error,
            creation_time=started,
            start_time=started,
            end_time=datetime.now(UTC),
            etag=uuid4().hex,
        )
        self.catalog.upsert_job(job)
        return JSONResponse(self.job_resource(project, job_id, job, job.configuration))

    def load(self, project: str, body: JSON, files: list[Path]) -> int:
        """Load Parquet files, atomically: https://cloud.google.com/bigquery/docs/loading-data."""
        config = body["configuration"]["load"]
        target = config["destinationTable"]
        key = Key(target.get("projectId", project), target["datasetId"], target["tableId"])
        meta = self.catalog.get_table(*key)
        dataset = self.catalog.get_dataset(key.project, key.dataset)
        location = self.location_of(project, body)
        if dataset is None or location.upper() != dataset.location.upper():
            raise NotFoundError(
                f"Not found: Dataset {key.project}:{key.dataset} was not found in location "
                f"{location}"
            )
        if meta is None and config.get("createDisposition") == "CREATE_NEVER":
            raise NotFoundError(f"Not found: Table {key}")
        if meta is not None and meta.view_query is not None:
            raise ValidationError(f"{key} is not allowed for this operation because it is a VIEW")
        read = {"PARQUET": self.parquet, "NEWLINE_DELIMITED_JSON": self.json_lines}.get(
            config.get("sourceFormat")
        )
        if read is None:
            raise ValidationError(f"not emulated: loads of {config.get('sourceFormat')}")
        fields, found = read(config, files, meta.schema_.fields if meta else ())
        sources = [
            f"SELECT {projection(have, fields)} FROM read_parquet({literal(str(path))})"
            for path, have in found
        ]
        properties = config.get("destinationTableProperties") or {}
        new = meta or self.new(key, properties)
        for name, value in properties.items():
            # https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#DestinationTableProperties
            if meta is not None and _table_to_rest(meta).get(name) != value:
                raise ValidationError(f"{key} exists, and its {name} is not {value!r}")
        [(rows,)] = self.sql(" UNION ALL ".join(sources).join(("SELECT count(*) FROM (", ")")))
        fields = self.disposed(config, key, meta, fields, sources)
        self.fill(key, " UNION ALL ".join(sources))
        self.save(new, schema_=TableSchema(fields=fields))
        given = properties_of(config.get("schema"))
        if meta is None or config.get("writeDisposition") == "WRITE_TRUNCATE":
            self.unprotect(key, config)
            self.properties[key] = given
        else:
            self.properties[key] = given | self.properties.get(key, {})
        return int(rows)

    def parquet(
        self, config: JSON, files: list[Path], _have: Fields
    ) -> tuple[Fields, list[tuple[Path, Fields]]]:
        """The columns to load, and each file that has them with its own."""
        lists = (config.get("parquetOptions") or {}).get("enableListInference", False)
        found = [read_schema(path, lists=lists) for path in files]
        fields = fields_of(config.get("schema")) or fields_of(as_schema(found[0]))
        # https://cloud.google.com/bigquery/docs/json-data#limitations
        if any("JSON" in types_in(field) for field in fields):
            raise ValidationError("Unsupported field type: JSON")
        # https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad.FIELDS.decimal_target_types
        targets = config.get("decimalTargetTypes") or ["NUMERIC"]
        if any("BIGNUMERIC" in types_in(field) for field in fields) and "BIGNUMERIC" not in targets:
            raise ValidationError(f"BIGNUMERIC is none of the decimal target types {targets}")
        # Under V1, names are normalized, so that a flexible one is no column of the table's. It is
        # the default here, as the default is the project's: "Defaults to STRICT and can be
        # overridden by Project Config Service".
        # https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#columnnamecharactermap
        # That its values are NULL without an error is reported as
        # https://github.com/googleapis/python-bigquery/issues/1566
        if config.get("columnNameCharacterMap") not in {"STRICT", "V2"}:
            found = [without_flexible(have) for have in found]
        found = [check_file(have, fields) for have in found]
        boxed = is_boxed(fields)
        return fields, [
            (box_parquet(path, have) if boxed else path, have)
            for path, have in zip(files, found, strict=True)
        ]

    def json_lines(
        self, config: JSON, files: list[Path], have: Fields
    ) -> tuple[Fields, list[tuple[Path, Fields]]]:
        """The same for NDJSON, which is loaded under the schema that the job gives, or the table.

        Detected, it is what DuckDB takes the first 500 lines for: as fast, and not the same types.
        https://cloud.google.com/bigquery/docs/schema-detect
        """
        if config.get("autodetect") and not config.get("schema"):
            lists = {"parquetOptions": {"enableListInference": True}}
            return self.parquet(lists, [detected(path) for path in files], have)
        fields = fields_of(config.get("schema")) or have
        try:
            return fields, [(box_lines(path, fields), fields) for path in files]
        except (ValueError, TypeError, KeyError) as problem:
            raise ValidationError(f"Error while reading data, error message: {problem}") from None

    def disposed(
        self, config: JSON, key: Key, meta: TableMeta | None, fields: Fields, sources: list[str]
    ) -> Fields:
        """Apply the write disposition: the columns to store, the rows to keep put first.

        https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad
        """
        disposition = config.get("writeDisposition", "WRITE_APPEND")
        if meta is None or disposition == "WRITE_TRUNCATE":
            return fields
        if disposition == "WRITE_EMPTY":
            if self.sql(f"SELECT 1 FROM {key.sql} LIMIT 1"):
                raise AlreadyExistsError(f"Already Exists: Table {key}")
            return fields
        have = meta.schema_.fields
        merged = redescribed(extended(have, fields, key), have)
        addition = "ALLOW_FIELD_ADDITION" in (config.get("schemaUpdateOptions") or [])
        if not addition and any(f.name.lower() not in by_name(have) for f in merged):
            raise ValidationError(f"Provided Schema does not match Table {key}.")
        sources[:] = [f"SELECT {projection(fields, merged)} FROM ({s})" for s in sources]
        if disposition == "WRITE_APPEND":
            sources.insert(0, f"SELECT {projection(have, merged)} FROM {key.sql}")
        elif disposition != "WRITE_TRUNCATE_DATA":
            raise ValidationError(f"Invalid value for: {disposition} is not a valid value")
        return merged

    # --- queries

    def check_sql(self, project: str, sql: str) -> None:
        """Refuse what Google's own analyzer refuses."""

        def columns(name: str) -> list[JSON] | None:
            parts = name.split(".")
            if len(parts) != 3:
                return None
            key = Key(*parts)
            if key.table.endswith("*"):
                shards = self.matching(key)
                meta = max(shards, key=lambda shard: shard.creation_time) if shards else None
            else:
                meta = self.catalog.get_table(*key)
            if meta is None:
                return None
            if meta.view_query is not None:
                return output_fields(meta.view_query, columns, key.project)
            fields: list[JSON] = as_schema(meta.schema_.fields)["fields"]
            return fields

        try:
            check_sql(sql, columns, project)
        except SqlRefused as refused:
            raise InvalidQueryError(str(refused)) from None
        except TableMissing as missing:
            name = str(missing)
            if name.endswith("*"):
                raise InvalidQueryError(f"{name} does not match any table.") from None
            raise NotFoundError(f"Not found: Table {name}") from None

    async def execute_query(
        self, project_id: str, job_id: str, bq_sql: str, *args: Any, **kwargs: Any
    ) -> JobMeta:
        """Run a query job; what changes columns or views is done here."""
        self.check_sql(project_id, bq_sql)
        with self.listings(bq_sql) as sql:
            return await self.execute_checked(project_id, job_id, sql, *args, **kwargs)

    async def execute_checked(
        self, project_id: str, job_id: str, bq_sql: str, *args: Any, **kwargs: Any
    ) -> JobMeta:
        bq_sql = _GEOGRAPHY_TEXT.sub(r"TO_JSON_STRING(\1)", bq_sql)
        try:
            statements = [s for s in sqlglot.parse(bq_sql, read="bigquery") if s is not None]
        except sqlglot.errors.SqlglotError:
            statements = []
        if not any(changes_schema(statement) for statement in statements):
            try:
                job = await executor.execute_query_job(project_id, job_id, bq_sql, *args, **kwargs)
            except ScriptRaise as raised:  # which the emulator would answer as its own failure
                # https://cloud.google.com/bigquery/docs/reference/standard-sql/procedural-language#raise
                raise InvalidQueryError(f"Query error: {raised.message}") from None
            finally:
                # Temporary tables end with their script:
                # https://cloud.google.com/bigquery/docs/multi-statement-queries#temporary_tables
                for name in _TEMPORARY.findall(bq_sql):
                    self.sql(f"DROP TABLE IF EXISTS temp.{quoted(name)}")
            for statement in statements:
                self.touch(project_id, statement)
            return job
        if len(statements) > 1:
            raise InvalidQueryError("not emulated: a script that changes columns or views")
        [statement] = statements
        kind = str(statement.args["kind"]).upper()
        if isinstance(statement, exp.Alter):
            self.alter(project_id, statement)
        elif isinstance(statement, exp.Create):
            await self.create_view_by_sql(project_id, statement, bq_sql)
        else:
            key = key_of(project_id, statement.this)
            if not (statement.args.get("exists") and self.catalog.get_table(*key) is None):
                self.find(key)
                self.catalog.delete_table(*key)
        return executor._build_ddl_job_meta(
            project_id=project_id,
            job_id=job_id,
            bq_sql=bq_sql,
            statement_type=f"{type(statement).__name__.upper()}_{kind}",
            arrow_table=pa.table({}),
            now=datetime.now(UTC),
            ctx=self.context,
        )

    @contextmanager
    def listings(self, sql: str) -> Iterator[str]:
        """Put a table that lists a dataset's tables in the place of each `__TABLES__`.

        Its columns are those that BigQuery's console and client libraries have always shown:
        https://github.com/googleapis/google-cloud-go/issues/1103
        """
        made: list[Key] = []

        def listing(match: re.Match[str]) -> str:
            key = Key(match["project"], match["dataset"], f"listing_{uuid4().hex}")
            tables = self.catalog.list_tables(key.project, key.dataset)
            if not tables:
                raise NotFoundError(f"Not found: Dataset {key.project}:{key.dataset}")
            rows = ", ".join(
                f"({literal(meta.table_id)}, {milliseconds(meta.creation_time)}, "
                f"{milliseconds(meta.last_modified_time)}, {self.count_of(meta)})"
                for meta in tables
            )
            columns = "table_id, creation_time, last_modified_time, row_count"
            self.sql(f"CREATE TABLE {key.sql} AS SELECT * FROM (VALUES {rows}) AS t({columns})")
            made.append(key)
            return f"`{key.project}.{key.dataset}.{key.table}`"

        try:
            yield _LISTING.sub(listing, sql)
        finally:
            for key in made:
                self.sql(f"DROP TABLE {key.sql}")

    def count_of(self, meta: TableMeta) -> str:
        if meta.view_query is not None:
            return "0"
        return f"(SELECT count(*) FROM {Key(meta.project_id, meta.dataset_id, meta.table_id).sql})"

    def touch(self, project: str, statement: exp.Expr) -> None:
        """A table whose rows a statement has changed says so.

        https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#Table.FIELDS.last_modified_time
        """
        if isinstance(statement, exp.Insert | exp.Update | exp.Delete | exp.Merge):
            table = statement.find(exp.Table)
            meta = table and self.catalog.get_table(*key_of(project, table))
            if meta:
                self.save(meta)

    async def create_view_by_sql(self, project: str, statement: exp.Create, sql: str) -> None:
        key = key_of(project, statement.this)
        known = self.catalog.get_table(*key)
        if known and statement.args.get("exists"):
            return
        if known and not statement.args.get("replace"):
            raise AlreadyExistsError(f"Already Exists: Table {key}")
        if known and known.view_query is None:
            raise InvalidQueryError(f"{key} is not a view")
        # CREATE OR REPLACE makes the view anew: without OPTIONS, its description is gone.
        # https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#create_view_statement
        properties = statement.args.get("properties")
        options = options_of(properties.expressions if properties else [])
        query = sql[body_of_view(sql) :].strip().rstrip(";")
        if known:
            options.setdefault("description", None)
        meta = await self.create_view(key, query, options, known)
        self.save(meta, description=options.get("description"))

    def alter(self, project: str, statement: exp.Alter) -> None:
        """Run ALTER TABLE; the catalog knows what it did.

        https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#alter_table_add_column_statement
        """
        key = key_of(project, statement.this)
        meta = self.catalog.get_table(*key)
        if meta is None and statement.args.get("exists"):
            return
        meta = meta or self.find(key)
        fields = list(meta.schema_.fields)
        changes: JSON = {}
        for action in statement.args["actions"]:
            names = {field.name.lower(): at for at, field in enumerate(fields)}
            if isinstance(action, exp.AlterSet):
                changes |= options_of(action.expressions[0].expressions)
                continue
            if isinstance(action, exp.RenameColumn):
                old = names[action.this.name.lower()]
                new_name = action.args["to"].name
                self.sql(
                    f"ALTER TABLE {key.sql} RENAME COLUMN {quoted(fields[old].name)} "
                    f"TO {quoted(new_name)}"
                )
                fields[old] = fields[old].model_copy(update={"name": new_name})
                meta = self.save(meta, schema_=TableSchema(fields=tuple(fields)))
                self.renamed.add(key)
                continue
            at = names.get((action.name or action.this.name).lower())
            if isinstance(action, exp.ColumnDef):
                if at is None:
                    fields.append(field_of_sql(action.name, action.args["kind"]))
                elif not action.args.get("exists"):
                    raise InvalidQueryError(f"Column already exists: {action.name}")
            elif at is None:
                raise InvalidQueryError(f"Column not found: {action.name}")
            elif isinstance(action, exp.AlterColumn) and action.args.get("dtype"):
                new = field_of_sql(fields[at].name, action.args["dtype"])
                fields[at] = widened(fields[at], new)
            elif isinstance(action, exp.Drop):
                del fields[at]
            else:
                raise InvalidQueryError(f"not emulated: {action.sql('bigquery')}")
        self.save(self.reshape(key, meta, tuple(fields)), **changes)

    def expand_wildcards(self, sql: str, project: str, _catalog: object) -> str:
        """Put a view of DuckDB under each wildcard table that a query names.

        https://cloud.google.com/bigquery/docs/querying-wildcard-tables
        """
        if "*`" not in sql:
            return sql
        try:
            tree = sqlglot.parse_one(sql, read="bigquery")
        except sqlglot.errors.SqlglotError as problem:
            raise InvalidQueryError(f"Syntax error: {problem}") from problem
        for table in tree.find_all(exp.Table):
            if not table.name.endswith("*"):
                continue
            self.make_wildcard(key_of(project, table))
            select = table.find_ancestor(exp.Select)
            for star in select.expressions if select else []:
                # A pseudo-column is not a part of `*`.
                if isinstance(star, exp.Column) and isinstance(star.this, exp.Star):
                    if star.table == table.alias_or_name:
                        hide_suffix(star.this)
                elif isinstance(star, exp.Star):
                    hide_suffix(star)
        return tree.sql("bigquery")

    def matching(self, wildcard: Key) -> list[TableMeta]:
        prefix = wildcard.table[:-1]
        return [
            meta
            for meta in self.catalog.list_tables(wildcard.project, wildcard.dataset)
            if meta.table_id.startswith(prefix) and meta.table_id != prefix
        ]

    def tags(self, shard: TableMeta) -> JSON:
        key = Key(shard.project_id, shard.dataset_id, shard.table_id)
        return dict(self.extras.get(key, {}).get("resourceTags") or {})

    def check_limits(self, wildcard: Key, shard: TableMeta) -> None:
        """Refuse tables that a wildcard cannot read; the messages are our own.

        "Wildcard queries are not supported for tables protected by customer-managed encryption
        keys (CMEK)"; "all tables that are referenced in a wildcard query must have exactly the
        same set of tag keys and values",
        https://cloud.google.com/bigquery/docs/querying-wildcard-tables#limitations
        row access policies:
        https://cloud.google.com/bigquery/docs/using-row-level-security-with-features
        renamed columns:
        https://cloud.google.com/bigquery/docs/managing-table-schemas#change_a_columns_name
        """
        key = Key(shard.project_id, shard.dataset_id, shard.table_id)
        reasons = {
            "a customer-managed encryption key": ENCRYPTION in self.extras.get(key, {}),
            "row access policies": bool(self.context.row_access.list_for_table(*key)),
            "a renamed column": key in self.renamed,
        }
        for reason, given in reasons.items():
            if given:
                raise InvalidQueryError(
                    f"{wildcard} cannot be queried by wildcard: {key.table} has {reason}."
                )

    def make_wildcard(self, wildcard: Key) -> None:
        prefix = wildcard.table[:-1]
        shards = self.matching(wildcard)
        if not shards:
            raise InvalidQueryError(f"{wildcard} does not match any table.")
        for shard in shards:
            if shard.view_query is not None:
                raise InvalidQueryError(
                    "Views cannot be queried through prefix. "
                    f"First view {wildcard.project}:{wildcard.dataset}.{shard.table_id}."
                )
            self.check_limits(wildcard, shard)
        tags = [self.tags(shard) for shard in shards]
        if tags.count(tags[0]) != len(tags):
            raise InvalidQueryError(
                f"{wildcard}: all tables must have the same tags, with the same values."
            )
        # The schema of the table created last, not of the last by name:
        # https://cloud.google.com/bigquery/docs/querying-wildcard-tables#schema
        fields = max(shards, key=lambda shard: shard.creation_time).schema_.fields
        parts = []
        for shard in shards:
            key = Key(shard.project_id, shard.dataset_id, shard.table_id)
            if wrong := difference(shard.schema_.fields, fields):
                raise InvalidQueryError(
                    f"Cannot read field of type {wrong[1]} as {wrong[2]} Field: {wrong[0]}"
                )
            suffix = literal(shard.table_id.removeprefix(prefix))
            known = by_name(shard.schema_.fields)
            # "Wildcard tables aren't supported for tables with flexible column names"; such a
            # column, or by _TABLE_SUFFIX such a table, has to be left out of the query:
            # https://cloud.google.com/bigquery/docs/querying-wildcard-tables#limitations
            columns = ", ".join(
                refusal(field, f"{wildcard}: flexible column name {field.name}")
                if flexible(field) and field.name.lower() in known
                else projection(shard.schema_.fields, (field,))
                for field in fields
            )
            parts.append(f"SELECT {columns}, {suffix} AS _TABLE_SUFFIX FROM {key.sql}")
        view = Key(wildcard.project, wildcard.dataset, prefix).sql.removesuffix('"') + '*"'
        self.sql(f"CREATE OR REPLACE VIEW {view} AS {' UNION ALL '.join(parts)}")


def detected(path: Path) -> Path:
    """NDJSON as a Parquet file, its columns as its first lines look."""
    parquet = path.with_suffix(".parquet")
    duckdb.sql(
        f"COPY (FROM read_json({literal(str(path))}, format = 'newline_delimited', "
        f"sample_size = 500)) TO {literal(str(parquet))} (FORMAT parquet)"
    )
    return parquet


def one_at_a_time(app: ASGIApp) -> ASGIApp:
    """Handle one request after the other: the emulator's one connection is not for threads.

    First, each is compared with the API's description: BigQuery refuses unknown fields, too.
    """
    lock = asyncio.Lock()

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "/bigquery/v2/" not in scope["path"]:
            await app(scope, receive, send)
            return
        request = Request(scope, receive)
        body = await request.body()
        try:
            api("bigquery.v2").check(
                request.method,
                str(request.url).removeprefix(str(request.base_url).rstrip("/")),
                body,
                request.headers.get("content-type", ""),
            )
        except NotInApi as problem:
            errors = [{"reason": "invalid", "message": str(problem)}]
            error = {"code": 400, "message": str(problem), "errors": errors}
            await JSONResponse({"error": error}, 400)(scope, receive, send)
            return

        async def again() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async with lock:
            await app(scope, again, send)

    return handle


def milliseconds(moment: datetime) -> int:
    """A time as the API has it, in milliseconds since 1970."""
    return round(moment.timestamp() * 1000)


def instant(milliseconds: str | None) -> datetime | None:
    """A time of the API, in milliseconds since 1970."""
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC) if milliseconds else None


def changes_schema(statement: exp.Expr) -> bool:
    """Return whether a statement changes the columns of a table, or a view."""
    kind = str(statement.args.get("kind")).upper()
    if statement.find(exp.MaterializedProperty):
        return False
    return (isinstance(statement, exp.Alter) and kind == "TABLE") or (
        isinstance(statement, exp.Create | exp.Drop) and kind == "VIEW"
    )


def body_of_view(sql: str) -> int:
    """Find the start of a CREATE VIEW's query: after the AS outside all parentheses."""
    depth = 0
    for token in sqlglot.tokenize(sql, read="bigquery"):
        depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(token.token_type, 0)
        if token.token_type == TokenType.ALIAS and not depth:
            return token.end + 1
    raise InvalidQueryError("a view without a query")


def key_of(project: str, table: exp.Expr) -> Key:
    """The table that a statement names."""
    if not isinstance(table, exp.Table):
        raise InvalidQueryError(f"not emulated: {table.sql('bigquery')}")
    if not table.db:
        raise InvalidQueryError(f'Table "{table.name}" must be qualified with a dataset')
    return Key(table.catalog or project, table.db, table.name)


def options_of(properties: list[exp.Expr]) -> JSON:
    """Parse OPTIONS(...), of which only the description is emulated."""
    options = {p.name.lower(): p.args["value"].name for p in properties}
    if unknown := options.keys() - {"description"}:
        raise InvalidQueryError(f"not emulated: OPTIONS {sorted(unknown)}")
    return options


def hide_suffix(star: exp.Star) -> None:
    """Leave the pseudo-column out of a `*`."""
    column = exp.to_identifier("_TABLE_SUFFIX")
    star.set("except_", [*(star.args.get("except_") or []), column])


def split(content_type: str, body: bytes) -> tuple[JSON, bytes]:
    """The job and the file of a multipart upload; the file's bytes as they are."""
    boundary = content_type.partition("boundary=")[2].strip().strip("\"'").encode()
    _, job, file, _ = body.split(b"--" + boundary, maxsplit=3)
    _, _, head = job.partition(b"\r\n\r\n")
    _, _, content = file.partition(b"\r\n\r\n")
    return json.loads(head), content.removesuffix(b"\r\n")


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
