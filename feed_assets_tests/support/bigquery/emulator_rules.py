"""BigQuery's documented behaviour, where `bqemulator` differs from it."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb_extensions
import pyarrow as pa
from bqemulator import server
from bqemulator.api.app import create_app
from bqemulator.api.routes import jobs as job_routes
from bqemulator.config import LogLevel, Settings
from bqemulator.jobs import executor
from bqemulator.sql import inner_query
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feed_assets_tests.support.bigquery.discovery import NotInApi, api
from feed_assets_tests.support.bigquery.emulator_boxes import (
    TYPE,
    unboxed,
)
from feed_assets_tests.support.bigquery.emulator_jobs import Jobs
from feed_assets_tests.support.bigquery.emulator_speed import (
    reuse_generators,
    reuse_parsed_statements,
    without_metrics,
)
from feed_assets_tests.support.bigquery.zetasql_module import zetasql


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


class Rules(Jobs):
    """The corrections, over one emulator's data and catalog."""

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
            kind = (field.metadata or {}).get(TYPE)
            return kind.decode() if kind else resolve(field, inner)

        self.context.engine.fetch_arrow = fetched  # type: ignore[method-assign]
        put(executor, "_resolve_bq_type", resolved)


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


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
