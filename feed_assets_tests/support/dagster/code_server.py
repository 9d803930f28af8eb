"""`dagster` whose code server forks runs from a process that has imported what they need.

Dagster starts each run in a new interpreter, as in test_production.py; that takes three seconds of
CPU, most of them for imports. Sensors are due every five seconds instead of thirty.
"""

from __future__ import annotations

import multiprocessing
from typing import Any

import apprise
import dagster._cli
import dagster._core.storage.event_log
import dagster._core.storage.local_compute_log_manager
import dagster._core.storage.sqlite_storage
from dagster._core.definitions import sensor_definition
from dagster._grpc import server

import feed_assets.definitions
import feed_assets.download.prefetch
import feed_assets.importing.import_feed
import feed_assets.importing.table_writer
import feed_assets.warehouse.duckdb.warehouse  # noqa: F401
from feed_assets.orchestration import alert_sensor

THIS = "feed_assets_tests.support.dagster.code_server"
apprise.Apprise.instantiate("json://localhost")  # imports its services


class ForkingServer(server.DagsterApiServer):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        assert self._mp_ctx.get_start_method() == "spawn", "how does Dagster start runs now?"
        forking = multiprocessing.get_context("forkserver")
        forking.set_forkserver_preload([THIS])
        self._mp_ctx = forking  # type: ignore[assignment]


def main() -> None:
    assert alert_sensor.TICK_SECONDS == 30
    assert sensor_definition.DEFAULT_SENSOR_DAEMON_INTERVAL == 30, "where does Dagster keep it now?"
    alert_sensor.TICK_SECONDS = sensor_definition.DEFAULT_SENSOR_DAEMON_INTERVAL = 5
    server.DagsterApiServer = ForkingServer  # type: ignore[misc]
    dagster._cli.main()  # type: ignore[no-untyped-call]
