"""A disk that is full at any byte leaves the table unchanged, and the error is one sentence."""

from __future__ import annotations

import errno
import os
import random
import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

import pyarrow as pa
import pytest

from feed_assets.config.feed import Feed
from feed_assets.disk import NO_ROOM, disk_failed
from feed_assets.download import body_file
from feed_assets.download.prefetch import PendingDay, prefetch_days
from feed_assets.errors import DiskFailed, FeedAssetsError
from feed_assets.importing.import_feed import store
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Warehouse
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.store import store_snapshot
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.forked import PROCESSES
from feed_assets_tests.support.servers import faulty as faults
from feed_assets_tests.support.servers.faulty import faulty_server
from feed_assets_tests.support.servers.feed import FeedServer, lines
from feed_assets_tests.support.servers.fetching import feed, fetched
from feed_assets_tests.support.storing import store_shard

DAY = date(2020, 1, 2)
STEP = 256 << 10
BEFORE = pa.table({"id": ["N0"], "total": [1]})
made_up = random.Random(0)
AFTER = pa.table(
    {
        "id": [made_up.randbytes(60).hex() for _ in range(6_000)],
        "total": [n / 2 for n in range(6_000)],
    }
)
"""About 700 KB that compression reduces to about half."""
WIDE = ["{" + ",".join(f'"{name}":1' for name in "abcdefghijklmnopqrst") + "}"] * 6_000
LARGER = sum(map(len, WIDE)) + len(WIDE) + STEP // 4
"""More than the body of WIDE, and less than Arrow makes of it."""


@contextmanager
def file_size_limit(at_most: int) -> Iterator[None]:
    """Limit the size of every file for the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at_most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Disk:
    """A folder on a small disk of its own; for a user who may not mount one, with small files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "tmpfs", str(folder)]
        self._mounted = not os.geteuid() and not subprocess.run(mount, check=False).returncode

    @contextmanager
    def of(self, size: int) -> Iterator[None]:
        """Limit the size of the disk for the block."""
        if not self._mounted:
            with file_size_limit(size // 4):  # each file, of which there are some
                yield
            return
        remount = ["mount", "-o"]
        subprocess.run([*remount, f"remount,size={size}", self.folder], check=True)
        try:
            yield
        finally:
            subprocess.run([*remount, "remount,size=1g", self.folder], check=True)

    def gone(self) -> None:
        if self._mounted:
            subprocess.run(["umount", self.folder], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    small = Disk(tmp_path / "disk")
    yield small
    small.gone()


def import_one(warehouse: Warehouse, kind: str, rows: pa.Table, attempt: str) -> Table:
    """The table that an import has stored."""
    orders = Table(f"crm_{kind}", "orders")
    with warehouse:
        if kind == "snapshot":
            store_snapshot(warehouse, orders, rows, attempt=attempt)
            return orders
        store_shard(warehouse, orders, DAY, rows, attempt=attempt)
        return orders.shard(DAY)


@pytest.mark.parametrize("kind", ["snapshot", "shard"])
def test_a_full_disk_leaves_the_duckdb_table_unchanged(
    kind: str, disk: Disk, tmp_path: Path
) -> None:
    made = DuckDBWarehouse(tmp_path / "made.duckdb")
    table = import_one(made, kind, BEFORE, "before")
    size = (tmp_path / "made.duckdb").stat().st_size
    path = disk.folder / "warehouse.duckdb"
    warehouse = DuckDBWarehouse(path)
    outcomes = []
    for room in range(0, 3 << 20, STEP):
        shutil.copy(tmp_path / "made.duckdb", path)
        failed = None
        with disk.of(size + room):
            try:
                import_one(warehouse, kind, AFTER, "1")
            except DiskFailed as failure:
                failed = failure
            else:
                assert warehouse.count(table) == AFTER.num_rows

        outcomes.append(failed is None)
        if failed:
            assert f"DuckDB file {path} has no room left: " in str(failed)
            assert "\n" not in str(failed)
            assert warehouse.read(table).equals(BEFORE)
        import_one(warehouse, kind, AFTER, "2")
        assert warehouse.read(table).equals(AFTER)
        assert os.listdir(disk.folder) == [path.name]
        path.unlink()
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {False, True}


@pytest.mark.parametrize("kind", ["snapshot", "shard"])
def test_a_full_disk_for_temporary_files_leaves_the_bigquery_table_unchanged(
    kind: str, disk: Disk, bigquery: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = BigQueryWarehouse(bigquery.client())
    table = import_one(warehouse, kind, BEFORE, "before")
    monkeypatch.setattr(tempfile, "tempdir", str(disk.folder))

    with (
        disk.of(STEP),
        pytest.raises(DiskFailed, match=f"for {table} could not be written .*free some"),
    ):
        import_one(warehouse, kind, AFTER, "1")

    assert warehouse.read(table).to_pylist() == BEFORE.to_pylist()
    import_one(warehouse, kind, AFTER, "2")
    assert warehouse.count(table) == AFTER.num_rows
    assert not os.listdir(disk.folder)


@pytest.mark.parametrize(
    ("at_most", "says"),
    [
        (STEP, r"could not be written to disk \(File too large\)"),
        (LARGER, "could not be read .*free some"),
    ],
    ids=["the body", "what is read of it"],
)
@pytest.mark.parametrize("by_date", [{}, {"partition_by_date": {"start_date": "2020-01-01"}}])
def test_a_feed_larger_than_the_disk_leaves_the_table_unchanged(
    at_most: int, says: str, by_date: dict[str, object], server: FeedServer, tmp_path: Path
) -> None:
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    feed = Feed(name="orders", url=server.url, dataset="crm", **by_date)
    day = DAY if by_date else None
    table = feed.destination.shard(DAY) if by_date else feed.destination

    def imported() -> None:
        for _, delivered in prefetch_days(feed, [day]):
            if not isinstance(delivered, PendingDay):
                assert isinstance(delivered, DiskFailed)
                raise delivered
            store(delivered, warehouse, attempt=str(server.answer))

    server.answer = lambda path: lines(*BEFORE.to_pylist())
    imported()
    server.answer = lambda path: lines(*WIDE)

    with file_size_limit(at_most), pytest.raises(DiskFailed, match=says):
        imported()

    assert warehouse.read(table).equals(BEFORE)
    imported()
    assert warehouse.count(table) == len(WIDE)


@pytest.mark.parametrize(
    ("number", "says", "transient"),
    [
        (errno.ENOSPC, "No space left on device.*free some room there", True),
        (errno.EDQUOT, "Disk quota exceeded.*free some room there", True),
        (errno.EFBIG, "File too large.*free some room there", True),
        (
            errno.EMFILE,
            r"Too many open files.*raise this user's limit of open files \(ulimit",
            True,
        ),
        (errno.ENFILE, "Too many open files.*raise this user's limit", True),
        (errno.EACCES, "Permission denied: /t/x.*look at that folder", False),
        (errno.EPERM, "Operation not permitted.*look at that folder", False),
        (errno.EROFS, "Read-only file system.*look at that folder", False),
        (errno.ENOENT, "No such file or directory: /t/x.*look at that folder", False),
        (errno.EIO, "Input/output error.*look at that folder", False),
    ],
)
def test_an_error_of_the_disk_is_named_as_one(number: int, says: str, transient: bool) -> None:
    failed = disk_failed(
        "the feed could not be written", OSError(number, os.strerror(number), "/t/x")
    )

    assert re.search(says, str(failed))
    assert failed.transient is transient
    assert ("room" in str(failed)) is (number in NO_ROOM)


def test_a_missing_folder_for_temporary_files_is_named(
    server: FeedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(DiskFailed, match=f"No such file.*temporary files are in {tmp_path}/gone"):
        fetched(feed(server.url))


def fetch_without_files(url: str, reason: Connection) -> None:
    """Fetch the feed when this process may open no more files, and report the error."""
    fetched(feed(url))  # with what is imported only now
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
    with suppress(OSError):
        while True:
            os.dup(0)
    with pytest.raises(FeedAssetsError) as failed:
        fetched(feed(url, max_attempts=1))
    reason.send(str(failed.value))


def test_too_many_open_files_are_named(server: FeedServer) -> None:
    """In a process of its own: a server in this one could accept no connection, and spin."""
    received, reason = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=fetch_without_files, args=(server.url, reason))
    process.start()
    reason.close()
    assert re.search(r"too many open files.*\(ulimit -n\)", received.recv())
    process.join()


def test_free_disk_space_is_checked_for_a_body_that_replaces_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files: list[int] = []

    def free(file: IO[bytes]) -> int:
        files.append(os.fstat(file.fileno()).st_ino)
        return body_file.DISK_RESERVE + (10**9 if files[-1] == files[0] else 0)

    monkeypatch.setattr(body_file, "CHUNK", 1000)
    monkeypatch.setattr(body_file, "free_disk_space", free)
    half = len(faults.BODY) // 2
    with faulty_server() as faulty:
        faulty.arm(
            faults.cut(half), faults.status("200 OK", b'{"id": 1}\n' + faults.BODY[: half // 2])
        )
        with pytest.raises(DiskFailed, match="bytes are free in the folder for temporary files"):
            fetched(feed(faulty.url))
