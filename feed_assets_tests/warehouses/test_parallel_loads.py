"""Days of one run loaded at once into BigQuery give the same tables as one after the other."""

from __future__ import annotations

import gc
import itertools
import logging
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import pandas as pd
import pytest

from feed_assets.errors import FeedAssetsError
from feed_assets.importing.frames import GivenFrame, Key, LazyFrame, LazyFrames
from feed_assets.importing.table_writer import TableWriter
from feed_assets.orchestration import store_frames as storing
from feed_assets.orchestration.store_frames import store_frames
from feed_assets.schema.table import Table, parse_day
from feed_assets.warehouse.base import PendingMigration, Warehouse
from feed_assets.warehouse.bigquery import alter_tables
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.store import Stored, finish_pending
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.bigquery.fault_proxy import Exchange, FaultProxy, error, slow_job
from feed_assets_tests.support.killable_import import HookedTransport, Killed

KEYS = [f"2020-01-{day:02}" for day in range(1, 10)]
CHANGING = ("POST", "PUT", "PATCH", "DELETE")
Rows = Mapping[str, list[Any]]


class GivenFrames(LazyFrames):
    """Rows by day; `recorded` lists the recorded days in order."""

    name, log = "orders", logging.getLogger("frames")

    def __init__(self, rows: Mapping[str, Rows], parallel_loads: int | None = None) -> None:
        self.rows, self.parallel_loads = rows, parallel_loads
        self.recorded: list[Key] = []
        self.read: list[Key] = []

    def __iter__(self) -> Iterator[Key]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> pd.DataFrame:
        return pd.DataFrame(self.rows[str(key)])

    def arriving(
        self, keys: Sequence[Key], warehouse: Warehouse, on_wait: Callable[[], None]
    ) -> Generator[tuple[Key, LazyFrame]]:
        for key in keys:
            self.read.append(key)
            yield key, GivenFrame(self[key])

    def stored(self, key: Key, frame: LazyFrame, stored: Stored) -> str:
        self.recorded.append(key)
        return f"{stored.rows} rows"


def plain(keys: Sequence[str]) -> dict[str, Rows]:
    return {key: {"id": [key], "total": [1]} for key in keys}


def store(
    frames: GivenFrames, warehouse: Warehouse, orders: Table, attempt: str = "1"
) -> dict[Key, FeedAssetsError]:
    """Store all days, as a run does."""
    days = {key: parse_day(str(key)) for key in frames}
    return store_frames(frames, days, warehouse, TableWriter(warehouse, orders, attempt))


def shard_of(exchange: Exchange) -> str:
    """The table that an upload is for."""
    job = exchange.proxy.uploaded(exchange.call)
    return str(job["configuration"]["load"]["destinationTable"]["tableId"])


def key_of(exchange: Exchange) -> str:
    """The day that an upload is for."""
    day = parse_day(shard_of(exchange)[-8:])
    assert day is not None
    return day.isoformat()


def rows_of(emulator: Emulator, orders: Table) -> list[dict[str, Any]]:
    """The rows of all shards as `table_*` gives them, without nulls, in the order of their id."""
    found = emulator.client().query_and_wait(f"SELECT * FROM `{orders}_*` ORDER BY id")
    return [{name: value for name, value in row.items() if value is not None} for row in found]


class Uploads:
    """A fault that lets uploads pass only once `together` of them have arrived."""

    def __init__(self, together: int) -> None:
        self.barrier = threading.Barrier(together)
        self.under_way = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        with self._lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        self.barrier.wait(30)
        answer = exchange.forward()
        with self._lock:
            self.under_way -= 1
        exchange.answer(answer)


@pytest.mark.parametrize(("declared", "at_once"), [(None, 8), (3, 3), (1, 1)])
def test_as_many_days_as_declared_are_loaded_at_once_by_default_eight(
    declared: int | None, at_once: int, proxy: FaultProxy, bigquery: Emulator, orders: Table
) -> None:
    keys = [f"2020-01-{day:02}" for day in range(1, 2 * at_once + 1)]
    uploads = Uploads(at_once)
    proxy.on("upload", uploads)
    frames = GivenFrames(plain(keys), declared)

    assert store(frames, BigQueryWarehouse(proxy.client()), orders) == {}

    assert uploads.most == at_once
    assert frames.recorded == keys
    assert [row["id"] for row in rows_of(bigquery, orders)] == keys


def test_a_day_of_a_run_takes_three_calls_and_the_first_day_two_more(
    proxy: FaultProxy, orders: Table
) -> None:
    """Calls for the table, its load and the known columns; the first day also reads those."""
    warehouse = BigQueryWarehouse(proxy.client())
    store(GivenFrames(plain(KEYS[:1])), warehouse, orders)
    proxy.clear()

    store(GivenFrames(plain(KEYS[1:])), warehouse, orders)

    days = len(KEYS) - 1
    assert proxy.counted() == {"get table": 2 * days + 1, "upload": days}


def test_days_are_recorded_in_their_order_whichever_is_loaded_first(
    proxy: FaultProxy, orders: Table
) -> None:
    loaded = {key: threading.Event() for key in KEYS}
    order: list[str] = []

    def last_first(exchange: Exchange) -> None:
        key = key_of(exchange)
        following = KEYS.index(key) + 1
        if following % 3:  # the last of three is loaded first
            assert loaded[KEYS[following]].wait(30)
        exchange.answer(exchange.forward())
        order.append(key)
        loaded[key].set()

    proxy.on("upload", last_first)
    frames = GivenFrames(plain(KEYS), 3)

    assert store(frames, BigQueryWarehouse(proxy.client()), orders) == {}

    assert order[:3] == KEYS[2::-1]
    assert frames.recorded == KEYS


def test_a_day_that_fails_leaves_the_others_alone_and_errors_are_in_the_order_of_days(
    proxy: FaultProxy, bigquery: Emulator, orders: Table
) -> None:
    def refuse_two(exchange: Exchange) -> None:
        if key_of(exchange) in (KEYS[1], KEYS[4]):
            exchange.answer(error(400, "invalid", f"not {key_of(exchange)}"))
        else:
            exchange.answer(exchange.forward())

    proxy.on("upload", refuse_two)
    rows: dict[str, Rows] = {**plain(KEYS), KEYS[2]: {"id": [[1, None]]}}
    frames = GivenFrames(rows)

    failed = store(frames, BigQueryWarehouse(proxy.client()), orders)

    assert list(failed) == [KEYS[1], KEYS[2], KEYS[4]]
    assert f"not {KEYS[1]}" in str(failed[KEYS[1]])
    assert "null elements" in str(failed[KEYS[2]])
    others = [key for key in KEYS if key not in failed]
    assert frames.recorded == others
    assert [row["id"] for row in rows_of(bigquery, orders)] == others


CHANGES: dict[str, Rows] = {
    KEYS[0]: {"id": [KEYS[0]], "total": [1]},
    KEYS[1]: {"id": [KEYS[1]], "total": [1.5], "coupon": ["X"]},
    KEYS[2]: {"id": [KEYS[2]], "total": [2], "note": ["n"]},
    KEYS[3]: {"id": [KEYS[3]], "total": [2.5], "weight": [3]},
    KEYS[4]: {"id": [KEYS[4]], "total": [5]},
}
"""New columns and a wider type, from several days at once."""
COLUMNS = {"id": "STRING", "total": "FLOAT", "coupon": "STRING", "note": "STRING"} | {
    "weight": "INTEGER"
}


def check_changes(warehouse: Warehouse, emulator: Emulator, orders: Table) -> None:
    """Check that a column has one type in all shards and `table_*` has all columns and rows."""
    known = warehouse.known(orders)
    assert known.pending is PendingMigration.NOTHING
    assert {column.name: column.type for column in known.columns} == COLUMNS
    for shard in warehouse.shards(orders):
        for column in warehouse.columns(shard) or ():
            assert column.type == COLUMNS[column.name], f"{shard} {column.name}"
    last = warehouse.shards(orders)[-1]
    assert {column.name for column in warehouse.columns(last) or ()} == set(COLUMNS)
    assert rows_of(emulator, orders) == [
        {name: values[0] for name, values in rows.items()} for rows in CHANGES.values()
    ]


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (3, 0, 4, 1, 2)], ids=str)
def test_new_columns_and_a_wider_type_from_days_that_are_loaded_at_once(
    order: tuple[int, ...], proxy: FaultProxy, bigquery: Emulator, orders: Table
) -> None:
    """All are read before the first is loaded; then they are loaded in this order."""
    arrived = threading.Barrier(len(CHANGES))
    loaded = {key: threading.Event() for key in CHANGES}
    before = {KEYS[one]: KEYS[other] for other, one in itertools.pairwise(order)}

    def in_order(exchange: Exchange) -> None:
        key = key_of(exchange)
        arrived.wait(30)
        assert key not in before or loaded[before[key]].wait(30)
        exchange.answer(exchange.forward())
        loaded[key].set()

    proxy.on("upload", in_order)
    warehouse = BigQueryWarehouse(proxy.client())
    frames = GivenFrames(CHANGES)

    assert store(frames, warehouse, orders) == {}

    assert frames.recorded == list(CHANGES)
    proxy.clear()
    check_changes(warehouse, bigquery, orders)
    columns = [column.name for column in warehouse.known(orders).columns]
    assert columns == list(COLUMNS)  # in the order of days


def test_columns_that_another_import_adds_meanwhile_are_in_all_shards_read_before(
    proxy: FaultProxy, bigquery: Emulator, orders: Table
) -> None:
    warehouse = BigQueryWarehouse(proxy.client())
    store(GivenFrames(plain(KEYS[:1])), warehouse, orders)
    arrived = threading.Barrier(4, action=lambda: other.start())
    other = threading.Thread(
        target=lambda: store(
            GivenFrames({KEYS[8]: {"id": [KEYS[8]], "total": [0.5], "coupon": ["X"]}}),
            BigQueryWarehouse(bigquery.client()),
            orders,
            "other",
        )
    )

    def hold(exchange: Exchange) -> None:
        arrived.wait(30)
        other.join()
        exchange.answer(exchange.forward())

    proxy.on("upload", hold)

    assert store(GivenFrames(plain(KEYS[1:5])), warehouse, orders) == {}

    for shard in warehouse.shards(orders):
        types = {column.name: column.type for column in warehouse.columns(shard) or ()}
        assert types["total"] == "FLOAT"
        assert shard == orders.shard(date(2020, 1, 1)) or types["coupon"] == "STRING"
    assert [row["id"] for row in rows_of(bigquery, orders)] == [*KEYS[:5], KEYS[8]]


PARTS = 3


@pytest.mark.parametrize("part", range(PARTS))
def test_a_run_that_is_killed_at_any_call_is_completed_by_the_next(
    part: int, bigquery: Emulator, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the fatal call on no call of any thread arrives."""
    monkeypatch.setattr(alter_tables, "ALTERED_AT_ONCE", 1)
    monkeypatch.setattr(storing, "GRACE_SECONDS", 10)
    tables = BigQueryWarehouse(bigquery.client())
    for at in itertools.count(1 + part, PARTS):
        orders = Table(f"{dataset}_{at}", "orders")
        store(GivenFrames(plain(KEYS[:1])), tables, orders, "before")

        def die(number: int, at: int = at) -> None:
            if number >= at:
                raise Killed

        sending = HookedTransport(die, CHANGING)
        frames = GivenFrames(CHANGES, 3)
        survived = True
        try:
            store(frames, BigQueryWarehouse(sending.client(bigquery)), orders)
        except Killed:
            survived = False

        assert survived == (sending.calls < at)
        assert frames.recorded == list(CHANGES)[: len(frames.recorded)]
        for key in frames.recorded:  # every recorded day is stored
            day = parse_day(str(key))
            assert day is not None
            assert tables.count(orders.shard(day)) == 1
        again = {key: rows for key, rows in CHANGES.items() if key not in frames.recorded}
        assert store(GivenFrames(again), tables, orders, "again") == {}
        finish_pending(tables, orders)
        check_changes(tables, bigquery, orders)
        if survived:
            assert at > PARTS  # else nothing was killed
            break


def test_the_rows_of_a_stored_day_are_released(proxy: FaultProxy, orders: Table) -> None:
    alive: weakref.WeakSet[LazyFrame] = weakref.WeakSet()
    most: list[int] = []

    class Watched(GivenFrames):
        def arriving(self, *args: Any) -> Generator[tuple[Key, LazyFrame]]:
            for key, frame in super().arriving(*args):
                alive.add(frame)
                gc.collect()
                most.append(len(alive))
                yield key, frame

    store(Watched(plain(KEYS), 2), BigQueryWarehouse(proxy.client()), orders)

    # two that are loaded, one that is read and waits, and the one that is read now
    assert max(most) <= 4


def test_a_cancelled_run_records_finished_loads_and_does_not_wait_for_hung_ones(
    proxy: FaultProxy, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "GRACE_SECONDS", 0.5)
    hanging = slow_job(float("inf"))
    loaded = threading.Barrier(3)

    def hang_on_the_third(exchange: Exchange) -> None:
        if key_of(exchange) == KEYS[2]:
            hanging(exchange)
        else:
            exchange.answer(exchange.forward())
            loaded.wait(30)

    class Cancelled(GivenFrames):
        def arriving(self, *args: Any) -> Generator[tuple[Key, LazyFrame]]:
            for key, frame in super().arriving(*args):
                if key == KEYS[3]:
                    loaded.wait(30)
                    raise KeyboardInterrupt
                yield key, frame

    proxy.on("upload", hang_on_the_third)
    frames = Cancelled(plain(KEYS), 4)
    warehouse = BigQueryWarehouse(proxy.client())

    with pytest.raises(KeyboardInterrupt):
        store(frames, warehouse, orders)
    warehouse.close()

    assert frames.recorded == KEYS[:2]
    for thread in threading.enumerate():
        if thread.name.startswith("load"):
            thread.join(30)
            assert not thread.is_alive()
