"""Fixtures of all tests: the two warehouses, and Hypothesis without luck or clock.

Imports are late: pytest-xdist's own process loads this file too, and its workers wait for it.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from feed_assets_tests.support.examples import TIMES

if TYPE_CHECKING:
    from feed_assets.warehouse.base import Warehouse
    from feed_assets_tests.support.bigquery.emulator import Emulator
    from feed_assets_tests.support.bigquery.fault_proxy import FaultProxy
    from feed_assets_tests.support.bigquery.real import RealBigQuery
    from feed_assets_tests.support.dagster.project import Project
    from feed_assets_tests.support.dagster.running import RunningDagster
    from feed_assets_tests.support.servers.feed import FeedServer

for name in ("http_proxy", "HTTP_PROXY"):
    os.environ.pop(name, None)  # tests use plain http on this machine only
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # processes would compile Dagster again and again

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in what a shell starts with `&`
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests press Ctrl-C

settings.register_profile(
    "exact", derandomize=True, database=None, deadline=None, max_examples=60 * TIMES
)
settings.load_profile("exact")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Leave thousands of test items and modules, which stay, out of garbage collections."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def bigquery() -> Iterator[Emulator | RealBigQuery]:
    """BigQuery's emulator, started once for the tests of a process that use it.

    Where FEED_ASSETS_TEST_PROJECT names a project, that.
    """
    from feed_assets_tests.support.bigquery.emulator import emulator
    from feed_assets_tests.support.bigquery.real import PROJECT, real_bigquery

    with real_bigquery() if PROJECT else emulator() as running:
        yield running


@pytest.fixture(scope="session")
def one_proxy(bigquery: Emulator) -> Iterator[FaultProxy]:
    """The proxy before that emulator."""
    from feed_assets_tests.support.bigquery.fault_proxy import fault_proxy

    with fault_proxy(bigquery.url) as running:
        yield running


@pytest.fixture
def proxy(one_proxy: FaultProxy) -> FaultProxy:
    """A proxy before BigQuery's emulator, without faults yet and with no call counted."""
    one_proxy.clear()
    return one_proxy


@pytest.fixture
def warehouse(closed_warehouse: Warehouse) -> Iterator[Warehouse]:
    """Each warehouse in turn: what a test says holds for both.

    It is open during the test; DuckDB would take 14 ms of CPU each time a file is opened.
    """
    with closed_warehouse:
        yield closed_warehouse


@pytest.fixture(params=["duckdb", "bigquery"])
def closed_warehouse(request: pytest.FixtureRequest) -> Warehouse:
    """The same for several threads, which take turns with DuckDB's file."""
    if request.param == "duckdb":
        from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse

        return DuckDBWarehouse(request.getfixturevalue("duckdb_file"))
    from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse

    running: Emulator = request.getfixturevalue("bigquery")
    return BigQueryWarehouse(running.client(project="test-project", location="EU"))


@pytest.fixture
def dataset() -> str:
    """A dataset of the test's own."""
    from feed_assets_tests.support.bigquery.real import new_dataset

    return new_dataset()


@pytest.fixture
def server() -> Iterator[FeedServer]:
    """A feed's server with one order."""
    from feed_assets_tests.support.servers.feed import feed_server, lines

    with feed_server() as running:
        running.answer = lambda path: lines({"id": "N1", "total": 1.5})
        yield running


@pytest.fixture(scope="session")
def empty_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DuckDB file without tables: to make one takes as long as an import into it."""
    from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse

    file = tmp_path_factory.mktemp("empty") / "warehouse.duckdb"
    warehouse = DuckDBWarehouse(file)
    warehouse._make()
    with warehouse:
        return file


@pytest.fixture
def duckdb_file(tmp_path: Path, empty_warehouse: Path) -> Iterator[Path]:
    """A DuckDB file without tables, open in this process: to open it again is quick."""
    import duckdb

    file = Path(shutil.copy(empty_warehouse, tmp_path))
    with duckdb.connect(file):
        yield file


@pytest.fixture
def project(
    server: FeedServer, tmp_path: Path, duckdb_file: Path
) -> Iterator[Callable[..., Project]]:
    """Create a Dagster project for the server's feed, with the given attributes."""
    from feed_assets_tests.support.dagster.instances import ephemeral_instance
    from feed_assets_tests.support.dagster.project import Project

    with ephemeral_instance() as instance:
        yield partial(Project, server, tmp_path, instance)


@pytest.fixture
def snapshot(project: Callable[..., Project]) -> Project:
    """The feed as a snapshot."""
    return project()


@pytest.fixture
def by_date(project: Callable[..., Project]) -> Project:
    """The feed by date."""
    return project(partition_by_date={"start_date": "2020-01-01"})


@pytest.fixture(scope="session")
def running_dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDagster]:
    """The one real Dagster of all tests that look at it, which are of one group for xdist."""
    from feed_assets_tests.support.dagster.running import start_dagster

    with start_dagster(tmp_path_factory.mktemp("dagster")) as opened:
        yield opened
