"""The code location: what it loads, what it refuses to load, what it leaves to a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from feed_assets.definitions import defs
from feed_assets.errors import SettingError
from feed_assets.orchestration.warehouse import WarehouseResource
from feed_assets.warehouse.duckdb import DuckDBWarehouse

VARIABLE = "FEED_ASSETS_WAREHOUSE"


def test_the_examples_feeds_become_assets_and_schedules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv("CRM_FEED_PASSWORD", raising=False)  # is a run's affair

    loaded = defs()

    keys = {spec.key.to_user_string() for spec in loaded.resolve_all_asset_specs()}
    assert keys == {"crm_orders", "crm_orders_latest", "crm_orders_snapshot"}
    assert {schedule.name for schedule in loaded.schedules or ()} == {
        "crm_orders_schedule",
        "crm_orders_snapshot_schedule",
    }
    daily = loaded.resolve_assets_def("crm_orders")
    assert isinstance(daily.partitions_def, dg.DailyPartitionsDefinition)
    days = daily.partitions_def.get_partition_keys()
    assert (days[0], days[-1], len(days)) == ("2020-01-10", "2020-01-20", 11)
    assert loaded.resolve_assets_def("crm_orders_snapshot").partitions_def is None


def test_a_warehouse_that_is_none_is_left_to_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "postgres://localhost")
    defs()


def test_on_bigquery_a_table_among_the_shards_is_refused_with_both_feeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "bigquery://my-project")
    with pytest.raises(SettingError, match="crm_orders and crm_orders_snapshot would collide"):
        defs()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgres://localhost/crm", "names no warehouse; write duckdb:///path"),
        ("duckdb://", "names no warehouse"),
        ("duckdb://relative.duckdb", "names no warehouse"),
        ("bigquery://", "names no warehouse"),
        ("bigquery://p?region=EU", "region is no option"),
        ("nonsense", "names no warehouse"),
        ("duckdb:///:memory:", "names no warehouse"),
        ("postgres://me:hunter2@host/db", r"'postgres://\*\*\*@host/db', which names no warehouse"),
    ],
)
def test_a_warehouse_that_is_none_is_named_with_what_to_write(url: str, says: str) -> None:
    with pytest.raises(SettingError, match=says), WarehouseResource(url=url).open():
        pass


def test_a_duckdb_file_is_named_by_its_path(tmp_path: Path) -> None:
    with WarehouseResource(url=f"duckdb://{tmp_path}/a%20file.duckdb").open() as warehouse:
        assert repr(warehouse) == f"DuckDB file {tmp_path}/a file.duckdb"
        assert isinstance(warehouse, DuckDBWarehouse)


def test_bigquery_without_credentials_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BIGQUERY_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with (
        pytest.raises(SettingError, match="cannot be used without Google's credentials"),
        WarehouseResource(url="bigquery://my-project").open(),
    ):
        pass


def test_an_emulator_wants_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    with WarehouseResource(url="bigquery://my-project?location=EU").open() as warehouse:
        assert repr(warehouse) == "BigQuery project my-project"
        assert warehouse.wildcards


def test_a_feed_in_yaml_brings_nothing_heavy_into_the_process() -> None:
    """Dagster itself loads dagster_gcp, for its documentation; our own modules must not."""
    code = (
        "import sys; import feed_assets.orchestration.component; "
        "import feed_assets.orchestration.io_manager; "
        "print([m for m in ('pandas', 'pyarrow', 'duckdb', 'google.cloud.bigquery', 'requests') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
