"""What all tests share: the two warehouses, and Hypothesis without luck or clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings

from feed_assets.warehouse.duckdb import DuckDBWarehouse
from feed_assets.warehouse.interface import Warehouse
from feed_assets_tests.emulator import Emulator, emulator

settings.register_profile("exact", derandomize=True, database=None, deadline=None)
settings.load_profile("exact")


@pytest.fixture(scope="session")
def bigquery() -> Iterator[Emulator]:
    """BigQuery's emulator, started once for the tests of a process that use it."""
    with emulator() as running:
        yield running


@pytest.fixture(params=["duckdb", "bigquery"])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Warehouse:
    """Each warehouse in turn: what a test says holds for both."""
    if request.param == "duckdb":
        return DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    from feed_assets.warehouse.bigquery import BigQueryWarehouse

    running: Emulator = request.getfixturevalue("bigquery")
    return BigQueryWarehouse(running.client(project="test-project", location="EU"))


@pytest.fixture
def dataset() -> str:
    """A dataset of the test's own."""
    return f"crm_{uuid4().hex[:12]}"
