"""Promises that both warehouses fulfil."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from feed_assets.errors import NotOurs, TableError, TypeConflict, UnsupportedColumn, full_text
from feed_assets.schema.columns import Column, columns_of
from feed_assets.schema.datatypes import MAX_COLUMNS
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import KnownColumns, PendingMigration, Warehouse
from feed_assets.warehouse.conform import columns_in, conform
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.read import read_shards, read_table
from feed_assets.warehouse.schema_evolution import (
    check_column_count,
    merge_schemas,
    with_wider_types,
)
from feed_assets.warehouse.store import Stored, finish_pending, store_snapshot
from feed_assets_tests.support.storing import store_shard

DAYS = [date(2020, 1, day) for day in range(1, 32)]


def store(warehouse: Warehouse, table: Table, day: date, rows: pa.Table | list[Any]) -> Stored:
    table_of = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows)
    return store_shard(warehouse, table, day, table_of, attempt=f"{day} {id(rows)}")


def rows_of(warehouse: Warehouse, table: Table) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.items() if value not in (None, [])}
        for row in read_table(warehouse, table).to_pylist()
    ]


def type_of(warehouse: Warehouse, table: Table, name: str) -> str:
    columns = warehouse.columns(table)
    assert columns is not None
    return {column.name: str(column) for column in columns}[name]


EVERY_TYPE = pa.table(
    {
        "text": pa.array(["ä\u0000\n", "", None], pa.string()),
        "whole": pa.array([2**63 - 1, -(2**63), None], pa.int64()),
        "part": pa.array([0.1, 1e308, None], pa.float64()),
        "yes": pa.array([True, False, None], pa.bool_()),
        "exact": pa.array([Decimal("0.000000001"), Decimal(10) ** 28, None], pa.decimal128(38, 9)),
        "day": pa.array([date(1, 1, 1), date(9999, 12, 31), None], pa.date32()),
        "local": pa.array([datetime(1, 1, 1), datetime(2020, 1, 1, 1, 2, 3, 4), None]),
        "instant": pa.array(
            [
                datetime(1960, 1, 1, tzinfo=UTC),
                datetime(2020, 1, 1, tzinfo=UTC),
                None,
            ],
            pa.timestamp("us", tz="UTC"),
        ),
        "nested": pa.array([{"a": {"b": 1}, "c": ["x", "y"]}, {"a": None, "c": []}, None]),
        "many": pa.array([[{"sku": "A", "n": 1}, {"sku": None, "n": 2}], [], None]),
        "name with ü-and space": pa.array(["x", None, None], pa.string()),
    }
)


def test_every_type_is_stored_and_read_back_unchanged(warehouse: Warehouse, orders: Table) -> None:
    store_snapshot(warehouse, orders, EVERY_TYPE, attempt="1")

    read = read_table(warehouse, orders)

    assert columns_of(read.schema) == columns_of(EVERY_TYPE.schema)
    # BigQuery has no null arrays: it returns a null array as an empty one
    expected = [
        {k: _no_null_arrays(v, k) for k, v in row.items()} for row in EVERY_TYPE.to_pylist()
    ]
    got = [{k: _no_null_arrays(v, k) for k, v in row.items()} for row in read.to_pylist()]
    assert got == expected


def _no_null_arrays(value: Any, name: str) -> Any:
    return [] if value is None and name == "many" else value


def test_a_snapshot_replaces_all_rows_and_types(warehouse: Warehouse, orders: Table) -> None:
    store_snapshot(warehouse, orders, pa.table({"id": [1, 2], "total": ["1"] * 2}), attempt="1")

    stored = store_snapshot(warehouse, orders, pa.table({"id": [3], "total": [1.5]}), attempt="2")

    assert rows_of(warehouse, orders) == [{"id": 3, "total": 1.5}]
    assert stored.changed == {"total": ("STRING", "FLOAT")}


def test_a_snapshots_column_of_nulls_keeps_its_type_and_an_absent_one_is_removed(
    warehouse: Warehouse, orders: Table
) -> None:
    before = {"id": [1], "total": [1.5], "old": ["x"], "r": [{"a": 1, "b": 2, "c": 3}]}
    store_snapshot(warehouse, orders, pa.table(before), attempt="1")

    today = {"id": [2], "total": pa.nulls(1), "r": [{"a": 1, "b": None}]}
    stored = store_snapshot(warehouse, orders, pa.table(today), attempt="2")

    assert rows_of(warehouse, orders) == [{"id": 2, "r": {"a": 1, "b": None}}]
    assert type_of(warehouse, orders, "total") == "FLOAT"
    assert list(stored.removed) == ["old", "r.c"]
    assert not stored.added
    assert not stored.changed


def test_a_snapshot_may_become_empty_and_keeps_its_columns(
    warehouse: Warehouse, orders: Table
) -> None:
    store_snapshot(warehouse, orders, pa.table({"id": [1], "total": [1.5]}), attempt="1")

    store_snapshot(warehouse, orders, pa.table({"id": pa.array([], pa.int64())}), attempt="2")

    assert rows_of(warehouse, orders) == []
    assert type_of(warehouse, orders, "total") == "FLOAT"


def test_a_day_has_a_table_of_its_own(warehouse: Warehouse, orders: Table) -> None:
    store(warehouse, orders, DAYS[0], [{"id": "N1"}])
    store(warehouse, orders, DAYS[1], [{"id": "N2"}])

    assert rows_of(warehouse, Table(orders.dataset, "orders_20200101")) == [{"id": "N1"}]
    assert rows_of(warehouse, Table(orders.dataset, "orders_20200102")) == [{"id": "N2"}]


def test_importing_a_day_again_replaces_it(warehouse: Warehouse, orders: Table) -> None:
    store(warehouse, orders, DAYS[0], [{"id": "N1"}, {"id": "N2"}])
    store(warehouse, orders, DAYS[0], [{"id": "N3"}])

    assert rows_of(warehouse, orders.shard(DAYS[0])) == [{"id": "N3"}]


def test_an_empty_day_is_an_empty_table_with_the_known_columns(
    warehouse: Warehouse, orders: Table
) -> None:
    store(warehouse, orders, DAYS[0], [{"id": "N1", "lines": [{"sku": "A"}]}])

    stored = store(warehouse, orders, DAYS[1], [])

    assert stored.table == orders.shard(DAYS[1])
    assert warehouse.columns(orders.shard(DAYS[1])) == warehouse.columns(orders.shard(DAYS[0]))
    assert rows_of(warehouse, orders.shard(DAYS[1])) == []


def test_an_empty_day_before_any_column_is_known_makes_no_table(
    warehouse: Warehouse, orders: Table
) -> None:
    stored = store(warehouse, orders, DAYS[0], [])

    assert stored.table is None
    assert warehouse.columns(orders.shard(DAYS[0])) is None


def test_a_column_missing_today_is_null_and_a_new_one_comes_last(
    warehouse: Warehouse, orders: Table
) -> None:
    store(warehouse, orders, DAYS[0], [{"id": "N1", "total": 1.5}])
    stored = store(warehouse, orders, DAYS[1], [{"coupon": "X", "id": "N2"}])

    read = read_table(warehouse, orders.shard(DAYS[1]))

    assert read.to_pylist() == [{"id": "N2", "total": None, "coupon": "X"}]
    assert stored.added == {"coupon": Column("coupon", "STRING")}


def test_the_shard_created_last_has_every_column_even_if_a_day_before_it_is_imported_again(
    warehouse: Warehouse, orders: Table
) -> None:
    """BigQuery gives `table_*` the columns of the shard created last."""
    store(warehouse, orders, DAYS[0], [{"id": "N1"}])
    store(warehouse, orders, DAYS[1], [{"id": "N2", "buyer": {"name": "U"}}])

    store(warehouse, orders, DAYS[0], [{"id": "N1", "coupon": "X", "buyer": {"mail": "@"}}])

    last = warehouse.columns(orders.shard(DAYS[1]))
    assert last == warehouse.known(orders).columns
    assert [column.name for column in last or ()] == ["id", "buyer", "coupon"]
    assert rows_of(warehouse, orders.shard(DAYS[1])) == [
        {"id": "N2", "buyer": {"name": "U", "mail": None}}
    ]
    assert warehouse.known(orders).pending is PendingMigration.NOTHING


def test_integers_become_fractions_in_the_older_shards(warehouse: Warehouse, orders: Table) -> None:
    store(warehouse, orders, DAYS[0], [{"total": 1, "line": {"price": 2}, "sizes": [3]}])

    stored = store(
        warehouse, orders, DAYS[1], [{"total": 1.5, "line": {"price": 2.5}, "sizes": [3.5]}]
    )

    assert set(stored.changed) == {"total", "line.price", "sizes"}
    before = warehouse.columns(orders.shard(DAYS[0]))
    assert before == warehouse.columns(orders.shard(DAYS[1]))
    assert rows_of(warehouse, orders.shard(DAYS[0])) == [
        {"total": 1.0, "line": {"price": 2.0}, "sizes": [3.0]}
    ]


def test_an_integer_day_in_a_column_of_fractions_is_stored_as_fractions(
    warehouse: Warehouse, orders: Table
) -> None:
    store(warehouse, orders, DAYS[0], [{"total": 1.5}])
    store(warehouse, orders, DAYS[1], [{"total": 2}])

    assert type_of(warehouse, orders.shard(DAYS[1]), "total") == "FLOAT"
    assert rows_of(warehouse, orders.shard(DAYS[1])) == [{"total": 2.0}]


@pytest.mark.parametrize(
    ("known", "today"),
    [
        ({"id": 2**53 + 1}, {"id": 0.5}),
        ({"id": 0.5}, {"id": 2**53 + 1}),
        ({"id": 1}, {"id": "one"}),
        ({"id": True}, {"id": 1}),
        ({"id": datetime(2020, 1, 1)}, {"id": "n/a"}),
        ({"id": {"a": 1}}, {"id": "x"}),
        ({"id": [1]}, {"id": 1}),
        ({"id": 1}, {"id": [1]}),
        ({"a": {"id": 1}}, {"a": {"id": "x"}}),
    ],
    ids=str,
)
def test_a_widening_with_loss_is_refused_before_any_change(
    warehouse: Warehouse, orders: Table, known: dict[str, Any], today: dict[str, Any]
) -> None:
    store(warehouse, orders, DAYS[0], [known])
    store(warehouse, orders, DAYS[1], [known])
    before = warehouse.known(orders).columns

    with pytest.raises(TypeConflict) as refused:
        store(warehouse, orders, DAYS[1], [today])

    assert refused.value.column.endswith("id")
    assert rows_of(warehouse, orders.shard(DAYS[1])) == [known]
    assert warehouse.known(orders).columns == before


def test_anything_fits_a_column_of_text(warehouse: Warehouse, orders: Table) -> None:
    store(warehouse, orders, DAYS[0], [{"id": "N1", "tags": ["a"]}])
    store(warehouse, orders, DAYS[1], [{"id": 7, "tags": [1, 2]}])

    assert rows_of(warehouse, orders.shard(DAYS[1])) == [{"id": "7", "tags": ["1", "2"]}]


def test_days_imported_at_once_lose_no_column(closed_warehouse: Warehouse, orders: Table) -> None:
    def import_day(number: int) -> None:
        store(
            closed_warehouse, orders, DAYS[number], [{"id": str(number), f"column{number}": number}]
        )

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(import_day, range(6)))

    known = {column.name for column in closed_warehouse.known(orders).columns}
    assert known == {"id", *(f"column{number}" for number in range(6))}
    # BigQuery gives `table_*` the columns of the last; in DuckDB all are joined by name
    asked = closed_warehouse.shards(orders)[-1 if closed_warehouse.wildcards else 0 :]
    assert {c.name for shard in asked for c in closed_warehouse.columns(shard) or ()} == known
    assert closed_warehouse.known(orders).pending is PendingMigration.NOTHING


def test_shards_from_before_the_first_import_are_included(
    warehouse: Warehouse, orders: Table
) -> None:
    rows = pa.table({"id": ["N0"], "old": [1]})
    columns = columns_of(rows.schema)
    warehouse.replace(orders.shard(DAYS[0]), conform(rows, columns), columns, attempt="0")

    store(warehouse, orders, DAYS[1], [{"id": "N1", "new": True}])

    assert [column.name for column in warehouse.known(orders).columns] == ["id", "old", "new"]


CHANGES: list[tuple[int, dict[str, Any]]] = [
    (0, {"id": "N1", "updated": "2020-01-01", "status": "received"}),
    (1, {"id": "N2", "updated": "2020-01-02", "status": "received"}),
    (1, {"id": None, "updated": "2020-01-02", "status": "lost"}),
    (2, {"id": "N1", "updated": "2020-01-03", "status": "shipped"}),
    (2, {"id": None, "updated": "2020-01-03", "status": "lost again"}),
]


def test_the_view_has_the_newest_row_of_each_key_and_every_row_without_one(
    warehouse: Warehouse, orders: Table
) -> None:
    for number in (2, 0, 1):
        rows = [row for day, row in CHANGES if day == number]
        store(warehouse, orders, DAYS[number], rows)

    assert warehouse.update_latest(orders, ["id"], "updated")

    states = sorted(row["status"] for row in rows_of(warehouse, orders))
    assert states == ["lost", "lost again", "received", "shipped"]


def test_of_rows_with_equal_times_the_later_day_is_newer(
    warehouse: Warehouse, orders: Table
) -> None:
    for number in (1, 0):
        store(warehouse, orders, DAYS[number], [{"id": "N1", "at": "2020-01-01", "n": number}])
    warehouse.update_latest(orders, ["id"], "at")

    assert rows_of(warehouse, orders) == [{"id": "N1", "at": "2020-01-01", "n": 1}]


def test_before_the_first_day_there_is_no_view(warehouse: Warehouse, orders: Table) -> None:
    assert not warehouse.update_latest(orders, ["id"], "updated")
    assert warehouse.columns(orders) is None


def test_the_view_can_be_made_after_an_import_that_was_killed(
    warehouse: Warehouse, orders: Table
) -> None:
    """At that point its columns are known, and no shard has them."""
    store(warehouse, orders, DAYS[0], [CHANGES[0][1]])
    known = warehouse.known(orders)
    columns = (*known.columns, Column("new", "STRING"))
    assert warehouse.record_columns(orders, columns, PendingMigration.COLUMNS, expected=known)

    assert warehouse.update_latest(orders, ["id"], "updated")

    assert rows_of(warehouse, orders) == [CHANGES[0][1]]


def test_a_view_without_its_key_among_the_columns_is_refused(
    warehouse: Warehouse, orders: Table
) -> None:
    store(warehouse, orders, DAYS[0], [{"id": "N1"}])

    with pytest.raises(TableError, match="no column orderId"):
        warehouse.update_latest(orders, ["orderId"], "id")


def test_a_table_in_the_place_of_the_view_is_never_replaced(
    warehouse: Warehouse, orders: Table
) -> None:
    store_snapshot(warehouse, orders, pa.table({"mine": [1]}), attempt="1")
    store(warehouse, orders, DAYS[0], [CHANGES[0][1]])

    with pytest.raises(NotOurs):
        warehouse.update_latest(orders, ["id"], "updated")

    assert rows_of(warehouse, orders) == [{"mine": 1}]


def test_a_view_in_the_place_of_a_table_is_never_replaced(
    warehouse: Warehouse, orders: Table
) -> None:
    store(warehouse, orders, DAYS[0], [CHANGES[0][1]])
    warehouse.update_latest(orders, ["id"], "updated")

    with pytest.raises(NotOurs):
        store_snapshot(warehouse, orders, pa.table({"id": ["N9"]}), attempt="1")

    assert rows_of(warehouse, orders) == [CHANGES[0][1]]


def test_several_days_are_read_under_the_columns_of_all(
    warehouse: Warehouse, orders: Table
) -> None:
    store(warehouse, orders, DAYS[0], [{"id": "N1"}])
    store(warehouse, orders, DAYS[1], [{"id": "N2", "coupon": "X"}])

    read = read_shards(warehouse, orders, [DAYS[0], DAYS[1], DAYS[2]], ["coupon", "id"])

    assert [rows.to_pylist() for rows in read.values()] == [
        [{"coupon": None, "id": "N1"}],
        [{"coupon": "X", "id": "N2"}],
        [],
    ]


def test_a_table_that_is_missing_or_lacks_a_column_is_named(
    warehouse: Warehouse, orders: Table
) -> None:
    with pytest.raises(TableError, match=f"no table {orders}"):
        read_table(warehouse, orders)
    store_snapshot(warehouse, orders, pa.table({"id": [1]}), attempt="1")
    with pytest.raises(TableError, match="no column nope; it has id"):
        read_table(warehouse, orders, ["nope"])


# --- an import that was killed before all shards were altered


def test_a_pending_migration_of_shards_is_finished_first(
    warehouse: Warehouse, orders: Table
) -> None:
    for day in DAYS[:3]:
        store(warehouse, orders, day, [{"id": "N1", "total": 1}])
    known = (Column("id", "STRING"), Column("total", "FLOAT"), Column("note", "STRING"))
    before = warehouse.known(orders)
    assert warehouse.record_columns(orders, known, PendingMigration.TYPES, expected=before)
    warehouse.alter(
        orders.shard(DAYS[1]), with_wider_types(before.columns, known)
    )  # here it was killed

    finish_pending(warehouse, orders)

    assert [type_of(warehouse, orders.shard(day), "total") for day in DAYS[:3]] == ["FLOAT"] * 3
    assert type_of(warehouse, orders.shard(DAYS[2]), "note") == "STRING"
    assert warehouse.known(orders).pending is PendingMigration.NOTHING
    assert warehouse.known(orders).columns == known


def test_a_pending_migration_without_shards_is_finished(
    warehouse: Warehouse, orders: Table
) -> None:
    finish_pending(warehouse, orders)
    assert warehouse.record_columns(
        orders, (Column("id", "STRING"),), PendingMigration.COLUMNS, expected=KnownColumns()
    )
    finish_pending(warehouse, orders)
    assert warehouse.known(orders).pending is PendingMigration.NOTHING


# --- as many columns as a table can have


def test_too_many_columns_over_all_days_are_refused_before_any_change(
    duckdb_file: Path, orders: Table
) -> None:
    """DuckDB would take more."""
    tables = DuckDBWarehouse(duckdb_file)
    known = (
        Column("id", "INTEGER"),
        Column("r", "RECORD", fields=(Column("x", "STRING"),)),
        *(Column(f"c{number}", "STRING") for number in range(MAX_COLUMNS - 4)),
    )
    assert tables.record_columns(orders, known, PendingMigration.NOTHING, expected=KnownColumns())

    with pytest.raises(UnsupportedColumn) as refused:
        store(tables, orders, DAYS[0], [{"id": 1, "new": 1, "r": {"y": 1}}])

    what = f"{orders} would have 10001 columns, nested ones included, and a table can have 10000"
    way = ". Keys that are data cannot be columns: declare "
    assert str(refused.value).startswith(f"{what}{way}")
    assert full_text(refused.value.sentence).startswith(f"{what} (new today: 'r.y'){way}")
    assert tables.known(orders).columns == known
    assert tables.columns(orders.shard(DAYS[0])) is None
    for rows in ({"id": 1}, {"id": 1, "new": 1}):  # there is room for one
        check_column_count(
            orders, known, merge_schemas(orders, known, columns_in(pa.Table.from_pylist([rows])))
        )


def test_too_many_columns_of_a_snapshot_are_refused(warehouse: Warehouse, orders: Table) -> None:
    rows = pa.table({f"c{number}": pa.array([1]) for number in range(MAX_COLUMNS + 1)})
    with pytest.raises(UnsupportedColumn, match="would have 10001 columns"):
        store_snapshot(warehouse, orders, rows, attempt="1")
    assert warehouse.columns(orders) is None
