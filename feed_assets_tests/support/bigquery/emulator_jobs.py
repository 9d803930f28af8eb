"""The API's methods of jobs: queries, loads and uploads."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa
from bqemulator.api.routes import jobs as job_routes
from bqemulator.api.routes.tables import _table_to_rest
from bqemulator.catalog.models import JobMeta, TableMeta, TableSchema
from bqemulator.domain.errors import (
    AlreadyExistsError,
    DomainError,
    InvalidQueryError,
    NotFoundError,
    ValidationError,
)
from bqemulator.jobs import executor
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from feed_assets_tests.support.bigquery.emulator_boxes import (
    box_lines,
    box_parquet,
    boxed,
    is_boxed,
)
from feed_assets_tests.support.bigquery.emulator_queries import ANYONE
from feed_assets_tests.support.bigquery.emulator_tables import Tables
from feed_assets_tests.support.bigquery.emulator_types import (
    JSON,
    Fields,
    Key,
    as_schema,
    by_name,
    check_file,
    extended,
    fields_of,
    literal,
    projection,
    properties_of,
    read_schema,
    redescribed,
    types_in,
    without_flexible,
)

build_job_response = job_routes._build_job_response


class Jobs(Tables):
    """Job ids, locations, load jobs with their dispositions."""

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
            # A complete upload must not be repeated; the effect of a repetition is not documented.
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
        # Under V1, names are normalized, so that a flexible one is not in the table. It is
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


def detected(path: Path) -> Path:
    """NDJSON as a Parquet file, its columns as its first lines look."""
    parquet = path.with_suffix(".parquet")
    duckdb.sql(
        f"COPY (FROM read_json({literal(str(path))}, format = 'newline_delimited', "
        f"sample_size = 500)) TO {literal(str(parquet))} (FORMAT parquet)"
    )
    return parquet


def split(content_type: str, body: bytes) -> tuple[JSON, bytes]:
    """The job and the file of a multipart upload; the file's bytes as they are."""
    boundary = content_type.partition("boundary=")[2].strip().strip("\"'").encode()
    _, job, file, _ = body.split(b"--" + boundary, maxsplit=3)
    _, _, head = job.partition(b"\r\n\r\n")
    _, _, content = file.partition(b"\r\n\r\n")
    return json.loads(head), content.removesuffix(b"\r\n")
