"""A Dagster project with one feed, run as Dagster runs it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from feed_assets.config.feed import Feed
from feed_assets.orchestration.assets import IO_MANAGER, WAREHOUSE, feed_asset
from feed_assets.orchestration.io_manager import WarehouseIOManager
from feed_assets.orchestration.latest_asset import latest_asset
from feed_assets.orchestration.resources import WarehouseResource
from feed_assets.orchestration.schedules import RANGE_END, RANGE_START
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Warehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.dagster.instances import instance_of
from feed_assets_tests.support.servers.feed import FeedServer

SNAPSHOT = Table("crm", "orders")


class Project:
    """A Dagster project with one feed, its server and its warehouse, run as Dagster runs it."""

    def __init__(
        self,
        server: FeedServer,
        path: Path,
        instance: dg.DagsterInstance,
        bigquery: Emulator | None = None,
        **attributes: Any,
    ) -> None:
        """The warehouse is a DuckDB file in the folder `path`, or `bigquery`."""
        self.server = server
        self.instance = instance
        url = server.url + attributes.pop("query", "")
        named = {"name": "orders", "url": url, "dataset": "crm", "retry_wait": 0, "run_retries": 0}
        self.feed = Feed(**{**named, **attributes})
        self.url = f"duckdb://{path / 'warehouse.duckdb'}"
        self.tables: Warehouse = DuckDBWarehouse(path / "warehouse.duckdb")
        if bigquery is not None:
            from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse

            self.url = "bigquery://test-project?location=EU"
            self.tables = BigQueryWarehouse(bigquery.client())

    def run(
        self,
        *days: str,
        asset: str = "orders",
        tags: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> dg.ExecuteInProcessResult:
        range_of_days = {RANGE_START: days[0], RANGE_END: days[-1]} if days else {}
        warehouse = WarehouseResource(url=self.url)
        assets = [feed_asset(self.feed)]
        if self.feed.has_latest:
            assets.append(latest_asset(self.feed))
        resources = {WAREHOUSE: warehouse, IO_MANAGER: WarehouseIOManager(warehouse=warehouse)}
        job = dg.Definitions(assets, resources=resources).resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(asset)],
            tags={**(tags or {}), **range_of_days},
            raise_on_error=False,
            run_config={
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                **(config or {}),
            },
        )

    def rows(self, table: Table = SNAPSHOT) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.tables.read(table).to_pylist()
        return rows

    def reason(self, run: dg.ExecuteInProcessResult) -> str:
        """Return the message of the run's failure."""
        (failure,) = [event for event in run.all_events if event.is_step_failure]
        return str(failure.step_failure_data.user_failure_data.description)  # type: ignore[union-attr]

    def materialized(self) -> set[str]:
        return self.instance.get_materialized_partitions(dg.AssetKey("orders"))


def metadata_of(run: dg.ExecuteInProcessResult, asset: str = "orders") -> dict[str, dict[str, Any]]:
    return {
        event.partition or "": {
            name: value.value for name, value in event.materialization.metadata.items()
        }
        for event in run.all_events
        if event.is_step_materialization
    }


def import_in_process(home: Path, url: str, first: str, last: str) -> None:
    """Import days into the instance and the warehouse of a folder; the target of a process."""
    with instance_of(home) as instance:
        project = Project(
            FeedServer(url), home, instance, partition_by_date={"start_date": "2020-01-01"}
        )
        project.run(first, last)


def import_into_bigquery() -> None:
    """Import days into the instance of a folder and an emulator; a program for support/warm.py."""
    home, url, emulator, dataset, first, last = sys.argv[1:]
    with instance_of(Path(home)) as instance:
        project = Project(
            FeedServer(url),
            Path(home),
            instance,
            Emulator(emulator),
            dataset=dataset,
            partition_by_date={"start_date": first},
        )
        assert project.run(first, last).success
