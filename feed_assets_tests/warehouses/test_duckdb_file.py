"""The DuckDB file: its permissions, its creation, and waiting for other processes."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from feed_assets.errors import NotOurs, TableError, WarehouseFailed
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import KnownColumns, PendingMigration
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.read import read_shards, read_table
from feed_assets.warehouse.store import store_snapshot
from feed_assets_tests.support.storing import store_shard

ORDERS = Table("crm", "orders")
ROWS = pa.table({"id": [1]})
DAY = date(2020, 1, 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "warehouse.duckdb"


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


@contextmanager
def opened_elsewhere(path: Path, *, read_only: bool) -> Iterator[int]:
    """Open the file in another process, and yield the id of that process."""
    code = (
        f"import duckdb, sys; connection = duckdb.connect({str(path)!r}, read_only={read_only});"
        f"print('open', flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline() == b"open\n"
        try:
            yield other.pid
        finally:
            other.stdin.close()


# --- private by default


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_a_new_file_and_its_log_are_for_their_owner_alone(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        warehouse = DuckDBWarehouse(path)
        with warehouse:
            for number in range(2):
                store_snapshot(warehouse, ORDERS, ROWS, attempt=f"{number}")
                modes = {found.name: mode(found) for found in path.parent.iterdir()}
                assert modes == {
                    "warehouse.duckdb": "0o600",
                    "warehouse.duckdb.wal": "0o600",
                    "warehouse.duckdb.tmp": "0o700",
                }
                assert warehouse._connection
                warehouse._connection.execute("CHECKPOINT")  # after which there is a new log
        assert [found.name for found in path.parent.iterdir()] == ["warehouse.duckdb"]
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("of_file", "of_folder"), [(0o644, "0o755"), (0o640, "0o750"), (0o600, "0o700")]
)
def test_an_existing_file_keeps_its_mode_and_its_log_has_it(
    path: Path, of_file: int, of_folder: str
) -> None:
    duckdb.connect(path).close()
    path.chmod(of_file)
    warehouse = DuckDBWarehouse(path)
    with warehouse:
        store_snapshot(warehouse, ORDERS, ROWS, attempt="1")
        found = {each.name.rpartition(".")[2]: mode(each) for each in path.parent.iterdir()}
    assert found == {"duckdb": oct(of_file), "wal": oct(of_file), "tmp": of_folder}


def test_duckdbs_temporary_files_are_as_private(path: Path) -> None:
    store_snapshot(DuckDBWarehouse(path), ORDERS, ROWS, attempt="1")
    with DuckDBWarehouse(path) as warehouse:
        assert warehouse._connection
        run = warehouse._connection
        run.execute("SET memory_limit = '80MB'; SET threads = 1")
        rows = run.execute("SELECT md5(range::VARCHAR) AS m FROM range(4000000) ORDER BY m")
        spilled = list(Path(f"{path}.tmp").iterdir())
        assert rows.fetchone()
        assert spilled
        assert mode(Path(f"{path}.tmp")) == "0o700"


# --- reading makes nothing


def test_reading_a_missing_file_does_not_create_it(path: Path) -> None:
    warehouse = DuckDBWarehouse(path)
    assert warehouse.columns(ORDERS) is None
    assert warehouse.count(ORDERS) is None
    assert warehouse.content_token(ORDERS) is None
    assert warehouse.known(ORDERS) == KnownColumns()
    assert warehouse.shards(ORDERS) == []
    assert read_shards(warehouse, ORDERS, [DAY])[DAY].num_rows == 0
    with pytest.raises(TableError, match="there is no table"):
        read_table(warehouse, ORDERS)
    assert not list(path.parent.iterdir())


def test_a_missing_file_is_created_by_the_first_write(path: Path) -> None:
    warehouse = DuckDBWarehouse(path)
    with warehouse:
        assert warehouse.columns(ORDERS) is None
        assert warehouse.record_columns(
            ORDERS, (), PendingMigration.NOTHING, expected=KnownColumns()
        )
        assert warehouse.known(ORDERS).etag == 1
    assert DuckDBWarehouse(path).known(ORDERS).etag == 1


def test_two_imports_that_create_the_file_at_once_create_one(path: Path) -> None:
    one, other = DuckDBWarehouse(path), DuckDBWarehouse(path)
    with one:
        assert one.columns(ORDERS) is None
        one._make()
        with other:
            store_snapshot(other, ORDERS, ROWS, attempt="1")
        store_snapshot(one, Table("crm", "leads"), ROWS, attempt="1")
    assert read_table(one, ORDERS).num_rows == read_table(one, Table("crm", "leads")).num_rows == 1


def test_a_missing_folder_fails_with_one_sentence_and_is_not_created(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(tmp_path / "typo" / "warehouse.duckdb")
    with pytest.raises(WarehouseFailed) as refused:
        warehouse.columns(ORDERS)
    assert str(refused.value) == (
        f"DuckDB file {tmp_path}/typo/warehouse.duckdb cannot be created, because there is "
        f"no folder {tmp_path}/typo; create the folder, or correct FEED_ASSETS_WAREHOUSE"
    )
    assert not list(tmp_path.iterdir())


# --- names


@pytest.mark.parametrize("dataset", ["temp", "TEMP", "system", "information_schema", "pg_catalog"])
def test_a_dataset_with_a_reserved_name_is_refused_before_any_column_is_recorded(
    path: Path, dataset: str
) -> None:
    warehouse, table = DuckDBWarehouse(path), Table(dataset, "orders")
    stores: Sequence[Callable[[], object]] = (
        lambda: store_snapshot(warehouse, table, ROWS, attempt="1"),
        lambda: store_shard(warehouse, table, DAY, ROWS, attempt="1"),
    )
    for store in stores:
        with pytest.raises(NotOurs) as refused:
            store()
        assert f"as DuckDB reserves the name {dataset}; set dataset to" in str(refused.value)
    assert not path.exists()


@pytest.mark.parametrize("dataset", ["main", "default", "public", "feed_assets", "memory"])
@pytest.mark.parametrize("name", ["temp", "system", "main", "warehouse"])
def test_other_datasets_are_accepted_in_a_file_of_any_name(
    tmp_path: Path, dataset: str, name: str
) -> None:
    if name == dataset:
        return
    warehouse = DuckDBWarehouse(tmp_path / f"{name}.duckdb")
    store_snapshot(warehouse, Table(dataset, "orders"), ROWS, attempt="1")
    assert read_table(warehouse, Table(dataset, "orders")).num_rows == 1


def test_a_file_with_the_name_of_its_dataset_is_refused(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(tmp_path / "crm.duckdb")
    with pytest.raises(WarehouseFailed, match="give the file another name"):
        store_snapshot(warehouse, ORDERS, ROWS, attempt="1")


# --- others who have it open


@pytest.mark.parametrize("read_only", [True, False])
def test_the_process_that_has_the_file_open_is_logged_and_waited_for(
    path: Path, read_only: bool, caplog: pytest.LogCaptureFixture
) -> None:
    store_snapshot(DuckDBWarehouse(path), ORDERS, ROWS, attempt="1")
    log = logging.getLogger("test")
    logged = threading.Event()
    log.addFilter(lambda record: logged.set() or True)  # type: ignore[func-returns-value]
    with caplog.at_level("WARNING", "test"):
        with opened_elsewhere(path, read_only=read_only) as pid:
            closes = threading.Thread(target=logged.wait, args=(30,))
            closes.start()
            waiting = DuckDBWarehouse(path, log=log)
            read = threading.Thread(target=lambda: read_table(waiting, ORDERS))
            read.start()
            closes.join()
        read.join()
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith(f"DuckDB file {path} is open in ")
    assert f"python{sys.version_info.major}" in message
    assert message.endswith(f"(PID {pid}); waiting up to 120 seconds until it is closed there")


def test_a_file_that_stays_open_elsewhere_is_given_up_after_lock_seconds(path: Path) -> None:
    store_snapshot(DuckDBWarehouse(path), ORDERS, ROWS, attempt="1")
    with opened_elsewhere(path, read_only=True) as pid, pytest.raises(WarehouseFailed) as failed:
        read_table(DuckDBWarehouse(path, lock_seconds=0.1), ORDERS)
    assert f"(PID {pid}); close it there and try again" in str(failed.value)
    assert failed.value.transient


def test_threads_take_turns_at_one_file_for_lock_seconds_and_never_at_two(tmp_path: Path) -> None:
    path, other = tmp_path / "a.duckdb", tmp_path / "b.duckdb"
    (tmp_path / "link").symlink_to(tmp_path)
    same = DuckDBWarehouse(tmp_path / "link" / "a.duckdb", lock_seconds=0.1)
    failures: list[WarehouseFailed] = []

    def use() -> None:
        store_snapshot(DuckDBWarehouse(other), ORDERS, ROWS, attempt="1")
        try:
            same.columns(ORDERS)
        except WarehouseFailed as failure:
            failures.append(failure)

    started = time.monotonic()
    with DuckDBWarehouse(path):
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
    assert time.monotonic() - started < 60
    (failure,) = failures
    assert "is open in another thread of this process; close it there" in str(failure)
    assert failure.transient
    assert same.columns(ORDERS) is None
