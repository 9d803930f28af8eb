"""The ways to import a feed that are compared: ours, and those that people use today.

Each is made for a target, a DuckDB file or the URL of a BigQuery emulator, and then imports feeds
into tables of its dataset `crm`. What it needs is imported while it is made, as only its own
environment has it.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

PROJECT, DATASET = "test-project", "crm"
DAYS_OF_URL, FIRST_DAY = "days", date(2020, 1, 1)
_ROWS_AT_ONCE = 100_000
_TIMEOUT = 60

Importer = Callable[[str, str], object]
"""Imports the feed at a URL into a table, and replaces its rows."""


@dataclass(frozen=True)
class Way:
    """One way to import a feed: into which warehouses, and whose Python has what it needs."""

    name: str
    make: Callable[[str], Importer]
    warehouses: tuple[str, ...] = ("DuckDB", "BigQuery")
    ours: bool = False


def _ours(target: str) -> Importer:
    feed = importlib.import_module("feed_assets.config.feed")
    delivery = importlib.import_module("feed_assets.download.prefetch")
    importing = importlib.import_module("feed_assets.importing.import_feed")
    opened = _our_warehouse(target)

    def run(url: str, table: str) -> None:
        orders = feed.Feed(name=table, url=url, dataset=DATASET)
        with opened.open() as warehouse:
            for _, delivered in delivery.prefetch_days(orders, [None]):
                importing.store(delivered, warehouse, attempt="1")

    return run


def _ours_in_dagster(target: str) -> Importer:
    dagster = importlib.import_module("dagster")
    feed = importlib.import_module("feed_assets.config.feed")
    assets = importlib.import_module("feed_assets.orchestration.assets")
    io_manager = importlib.import_module("feed_assets.orchestration.io_manager")
    importlib.import_module("feed_assets.importing.import_feed")
    warehouse = _our_warehouse(target)
    materialize = _in_dagster(dagster)
    resources = {
        assets.WAREHOUSE: warehouse,
        assets.IO_MANAGER: io_manager.WarehouseIOManager(warehouse=warehouse),
    }

    def run(url: str, table: str) -> None:
        asset = assets.feed_asset(feed.Feed(name=table, url=url, dataset=DATASET))
        materialize(asset, resources)

    return run


def _our_days(target: str) -> Importer:
    """A backfill as one Dagster run."""
    dagster = importlib.import_module("dagster")
    config = importlib.import_module("feed_assets.config.feed")
    assets = importlib.import_module("feed_assets.orchestration.assets")
    io_manager = importlib.import_module("feed_assets.orchestration.io_manager")
    schedules = importlib.import_module("feed_assets.orchestration.schedules")
    importlib.import_module("feed_assets.importing.import_feed")
    warehouse = _our_warehouse(target)
    manager = io_manager.WarehouseIOManager(warehouse=warehouse)
    folder = _instance_folder()
    instance = dagster.DagsterInstance.from_config(folder.name)

    def run(url: str, table: str) -> None:
        assert folder, "it is there as long as this is"
        days = _days(url)
        feed = config.Feed(
            name=table,
            url=url.partition("?")[0],
            dataset=DATASET,
            partition_by_date={"start_date": FIRST_DAY.isoformat()},
        )
        assets_and_resources = dagster.Definitions(
            [assets.feed_asset(feed)], resources={assets.IO_MANAGER: manager}
        )
        assets_and_resources.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            tags={schedules.RANGE_START: days[0], schedules.RANGE_END: days[-1]},
        )

    return run


def _days(url: str) -> list[str]:
    """Return the days that the URL's parameter names by their numbers, as in `days=0-364`."""
    first, last = parse_qs(urlsplit(url).query)[DAYS_OF_URL][0].split("-")
    return [(FIRST_DAY + timedelta(day)).isoformat() for day in range(int(first), int(last) + 1)]


def _our_warehouse(target: str) -> Any:
    warehouse = importlib.import_module("feed_assets.orchestration.resources")
    if not target.startswith("http"):
        importlib.import_module("feed_assets.warehouse.duckdb.warehouse")
        return warehouse.WarehouseResource(url=f"duckdb://{target}")
    importlib.import_module("feed_assets.warehouse.bigquery.warehouse")
    os.environ["BIGQUERY_EMULATOR_HOST"] = target
    return warehouse.WarehouseResource(url=f"bigquery://{PROJECT}?location=EU")


def _pandas(target: str) -> Importer:
    """`read_json`, and the warehouse's own way to load a DataFrame, which `to_gbq` is around."""
    pandas, requests = importlib.import_module("pandas"), importlib.import_module("requests")
    load: Callable[[Any, str], object]
    if target.startswith("http"):
        client = _client(target)

        def load(frame: Any, table: str) -> None:
            client.load_table_from_dataframe(frame, f"{DATASET}.{table}").result()
    else:
        duckdb = importlib.import_module("duckdb")

        def load(frame: Any, table: str) -> None:
            with duckdb.connect(target) as connection:
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {DATASET}")
                connection.register("frame", frame)
                connection.execute(f'CREATE TABLE {DATASET}."{table}" AS FROM frame')

    def run(url: str, table: str) -> None:
        body = requests.get(url, timeout=_TIMEOUT).content
        load(pandas.read_json(io.BytesIO(body), lines=True), table)

    return run


def _io_manager(target: str) -> Importer:
    """An asset that returns `read_json`'s frame, stored by dagster-gcp-pandas."""
    dagster, requests = importlib.import_module("dagster"), importlib.import_module("requests")
    pandas = importlib.import_module("pandas")
    theirs = importlib.import_module("dagster_gcp_pandas")
    materialize = _in_dagster(dagster)
    _client(target)

    def run(url: str, table: str) -> None:
        def orders():  # type: ignore[no-untyped-def]  # Dagster would look for what is named here
            body = requests.get(url, timeout=_TIMEOUT).content
            return pandas.read_json(io.BytesIO(body), lines=True)

        asset = dagster.asset(name=table, key_prefix=DATASET)(orders)
        manager = theirs.BigQueryPandasIOManager(project=PROJECT, location="EU")
        materialize(asset, {"io_manager": manager})

    return run


def _autodetect(target: str) -> Importer:
    """The feed's body as it is, its schema left to BigQuery."""
    requests, bigquery = importlib.import_module("requests"), _bigquery(target)
    client = _client(target)
    config = bigquery.LoadJobConfig(
        autodetect=True, source_format="NEWLINE_DELIMITED_JSON", write_disposition="WRITE_TRUNCATE"
    )

    def run(url: str, table: str) -> None:
        body = io.BytesIO(requests.get(url, timeout=_TIMEOUT).content)
        client.load_table_from_file(body, f"{DATASET}.{table}", job_config=config).result()

    return run


def _dlt(target: str) -> Importer:
    requests = importlib.import_module("requests")

    def objects(url: str) -> Iterator[Any]:
        rows = []
        with requests.get(url, timeout=_TIMEOUT, stream=True) as response:
            for line in response.iter_lines(chunk_size=1 << 20):
                rows.append(json.loads(line))
                if len(rows) == _ROWS_AT_ONCE:
                    yield rows
                    rows = []
        yield rows

    return _pipeline(target, objects)


def _dlt_given_arrow(target: str) -> Importer:
    requests = importlib.import_module("requests")
    arrow_json = importlib.import_module("pyarrow.json")

    def tables(url: str) -> Iterator[Any]:
        yield arrow_json.read_json(io.BytesIO(requests.get(url, timeout=_TIMEOUT).content))

    return _pipeline(target, tables)


def _dlt_days(target: str) -> Importer:
    """A table for each day, all in one run of a pipeline."""
    requests = importlib.import_module("requests")
    dlt, new_pipeline = _dlt_pipelines(target)

    def rows(url: str) -> Iterator[Any]:
        body = requests.get(url, timeout=_TIMEOUT).content
        yield [json.loads(line) for line in body.splitlines()]

    def run(url: str, table: str) -> None:
        tables = [
            dlt.resource(
                rows,
                name=f"{table}_{day.replace('-', '')}",
                write_disposition="replace",
                parallelized=True,
            )(url)
            for day in _days(url)
        ]
        new_pipeline(table).run(tables, loader_file_format="parquet")

    return run


def _pipeline(target: str, source: Callable[[str], Iterator[Any]]) -> Importer:
    dlt, new_pipeline = _dlt_pipelines(target)

    def run(url: str, table: str) -> None:
        rows = dlt.resource(source, name=table, write_disposition="replace")(url)
        new_pipeline(table).run(rows, loader_file_format="parquet")

    return run


def _dlt_pipelines(target: str) -> tuple[Any, Callable[[str], Any]]:
    """Import dlt; return it, and a function that makes a pipeline into the target."""
    os.environ["DATA_WRITER__BUFFER_MAX_ITEMS"] = str(
        _ROWS_AT_ONCE
    )  # the default, 5,000, is slower
    os.environ["DATA_WRITER__DISABLE_COMPRESSION"] = "true"  # the emulator reads no gzip
    dlt = importlib.import_module("dlt")
    if target.startswith("http"):
        _bigquery(target)
        specs = importlib.import_module("dlt.common.configuration.specs.gcp_credentials")
        anonymous = importlib.import_module("google.auth.credentials").AnonymousCredentials
        credentials = specs.GcpServiceAccountCredentialsWithoutDefaults
        credentials.to_native_credentials = lambda _: anonymous()
        nobody = {"project_id": PROJECT, "private_key": "none", "client_email": "nobody@local"}
        destination = dlt.destinations.bigquery(credentials=nobody, location="EU")
    else:
        importlib.import_module("duckdb")
        destination = dlt.destinations.duckdb(target)
    folder = tempfile.mkdtemp()

    def new_pipeline(table: str) -> Any:
        return dlt.pipeline(
            f"of_{table}", pipelines_dir=folder, destination=destination, dataset_name=DATASET
        )

    return dlt, new_pipeline


def _in_dagster(dagster: Any) -> Callable[[Any, dict[str, Any]], None]:
    """Materialize an asset with resources, in an instance on disk as in production."""
    folder = _instance_folder()
    instance = dagster.DagsterInstance.from_config(folder.name)

    def run(asset: Any, resources: dict[str, Any]) -> None:
        assert folder, "it is there as long as this is"
        dagster.materialize([asset], instance=instance, resources=resources)

    return run


def _instance_folder() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    Path(folder.name, "dagster.yaml").write_text("telemetry: {enabled: false}", encoding="utf-8")
    return folder


def _bigquery(target: str) -> Any:
    """Return Google's package with clients of the emulator; no tool has a setting for that."""
    os.environ["BIGQUERY_EMULATOR_HOST"] = target
    bigquery = importlib.import_module("google.cloud.bigquery")
    anonymous = importlib.import_module("google.auth.credentials").AnonymousCredentials

    class Client(bigquery.Client):  # type: ignore[misc,name-defined]
        def __init__(self, *_args: Any, location: str | None = None, **_options: Any) -> None:
            super().__init__(PROJECT, anonymous(), location=location)

    bigquery.Client = Client
    return bigquery


def _client(target: str) -> Any:
    client = _bigquery(target).Client(location="EU")
    client.create_dataset(DATASET, exists_ok=True)
    return client


WAYS = (
    Way("feed_assets", _ours, ours=True),
    Way("feed_assets, a Dagster run", _ours_in_dagster, ours=True),
    Way("dlt, Parquet files", _dlt),
    Way("dlt, given Arrow tables", _dlt_given_arrow),
    Way("pandas.read_json", _pandas),
    Way("BigQueryPandasIOManager", _io_manager, ("BigQuery",)),
    Way("autodetect", _autodetect, ("BigQuery",)),
)
BACKFILLS = (
    Way("feed_assets, days in one Dagster run", _our_days, ("BigQuery",), ours=True),
    Way("dlt, days in one run", _dlt_days, ("BigQuery",)),
)
"""Ways to import days into a table each; the URL's parameter `DAYS_OF_URL` names them."""
BY_NAME = {way.name: way for way in WAYS + BACKFILLS}
