"""Large loads go by way of a bucket, in which nothing stays."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator

import pyarrow as pa
import pytest

from feed_assets.errors import WarehouseFailed
from feed_assets.schema.table import Table
from feed_assets.warehouse.bigquery.staging_bucket import FORGOTTEN, StagingBucket, emulator_storage
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.store import store_snapshot
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.bigquery.fault_proxy import FaultProxy, fault_proxy, refused
from feed_assets_tests.support.bigquery.storage import CloudStorage, cloud_storage

ROWS = pa.table({"id": [hashlib.sha256(b"%d" % n).hexdigest() for n in range(1000)]})
BUCKET = "stage"


@pytest.fixture
def before(bigquery: Emulator) -> Iterator[FaultProxy]:
    with fault_proxy(bigquery.url) as proxy:
        yield proxy


@pytest.fixture
def storage(bigquery: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudStorage]:
    (bigquery.buckets / BUCKET).mkdir(exist_ok=True)
    with cloud_storage(bigquery.buckets) as running:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", running.url)
        monkeypatch.setattr("feed_assets.warehouse.bigquery.warehouse.STAGED_BYTES", 1000)
        yield running


def warehouse(before: FaultProxy, bucket: str = BUCKET) -> BigQueryWarehouse:
    return BigQueryWarehouse(before.client(), StagingBucket(emulator_storage(), bucket))


def test_a_large_load_is_staged_and_the_staged_file_is_deleted(
    before: FaultProxy, storage: CloudStorage, orders: Table
) -> None:
    tables = warehouse(before)

    store_snapshot(tables, orders, ROWS, attempt="1")

    assert tables.read(orders).to_pylist() == ROWS.to_pylist()
    assert "upload to stage" in storage.calls
    assert not {"start upload", "upload"} & before.counted().keys()
    assert storage.objects(BUCKET) == []


def test_a_small_load_goes_directly(
    before: FaultProxy, storage: CloudStorage, orders: Table
) -> None:
    store_snapshot(warehouse(before), orders, ROWS.slice(0, 1), attempt="1")

    assert storage.calls == []
    assert before.counted()["upload"] == 1


def test_a_failed_load_leaves_an_empty_bucket_and_an_unchanged_table(
    before: FaultProxy, storage: CloudStorage, orders: Table
) -> None:
    tables = warehouse(before)
    store_snapshot(tables, orders, ROWS, attempt="1")
    before.on("insert job", refused(400, "invalid"))

    with pytest.raises(WarehouseFailed, match="refused loading"):
        store_snapshot(tables, orders, ROWS.slice(0, 500), attempt="2")

    assert tables.count(orders) == 1000
    assert storage.objects(BUCKET) == []


def test_a_later_import_deletes_the_staged_files_of_a_killed_one(
    before: FaultProxy, storage: CloudStorage, orders: Table
) -> None:
    folder = storage.folder / BUCKET / "feed_assets" / f"test-project.{orders}"
    folder.mkdir(parents=True)
    old, young, others = (folder / name for name in ("old.parquet", "young.parquet", "../x"))
    for path in (old, young, others):
        path.write_bytes(b"left")
    long_ago = time.time() - FORGOTTEN.total_seconds() - 60
    for path in (old, others):
        os.utime(path, (long_ago, long_ago))

    store_snapshot(warehouse(before), orders, ROWS, attempt="1")

    assert [path.exists() for path in (old, young, others)] == [False, True, True]
    young.unlink()
    others.unlink()


def test_a_missing_bucket_is_named_and_the_table_is_unchanged(
    before: FaultProxy, storage: CloudStorage, orders: Table
) -> None:
    store_snapshot(warehouse(before), orders, ROWS.slice(0, 1), attempt="1")

    with pytest.raises(WarehouseFailed, match="name one that does as staging_bucket"):
        store_snapshot(warehouse(before, "nowhere"), orders, ROWS, attempt="2")

    assert warehouse(before).count(orders) == 1
