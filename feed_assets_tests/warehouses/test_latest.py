"""The latest state has the newest row of each key, whatever happens to shards and declarations."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from feed_assets.errors import TableError
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Warehouse
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.latest_state import Deleted
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.latest_orders import (
    DAYS,
    N1,
    N2,
    N2_REFUNDED,
    N3,
    order,
    rows,
    rows_of,
    sql,
    statuses,
    store,
    table_of,
    update,
)
from feed_assets_tests.support.storing import store_shard


def test_the_latest_state_of_the_example_is_its_snapshot(
    warehouse: Warehouse, orders: Table
) -> None:
    store(warehouse, orders, date(2020, 1, 20), [N2_REFUNDED, N3])
    first = update(warehouse, orders)
    store(warehouse, orders, date(2020, 1, 15), [N1, N2])
    second = update(warehouse, orders)

    assert rows_of(warehouse, orders) == rows([N1, N2_REFUNDED, N3])
    days = {row["orderId"]: row["_day"].day for row in rows_of(warehouse, orders.latest)}
    assert days == {"N1": 15, "N2": 20, "N3": 20}
    assert (first.rows, first.days_applied, first.rebuilt) == (2, 1, True)
    assert (second.rows, second.days_applied, second.rebuilt) == (3, 1, False)
    assert (second.days_waiting, second.keys_recomputed) == (0, 0)


def test_without_a_changed_day_nothing_is_applied(warehouse: Warehouse, orders: Table) -> None:
    store(warehouse, orders, DAYS[0], [N1])
    update(warehouse, orders)

    again = update(warehouse, orders)

    assert (again.rows, again.keys_changed, again.days_applied) == (1, 0, 0)


def test_before_the_first_shard_there_is_no_latest_state(
    warehouse: Warehouse, orders: Table
) -> None:
    assert warehouse.update_latest(orders, ["orderId"], "updatedAt") is None
    assert warehouse.columns(orders) is warehouse.columns(orders.latest) is None


def test_a_row_that_a_day_no_longer_has_is_searched_for_in_the_other_days(
    warehouse: Warehouse, orders: Table
) -> None:
    for day, status in [(date(2018, 6, 1), "received"), (date(2019, 6, 1), "shipped")]:
        store(warehouse, orders, day, [order("N2", f"{day}", status)])
    store(warehouse, orders, DAYS[0], [N1, N2_REFUNDED])
    update(warehouse, orders)

    store(warehouse, orders, DAYS[0], [N1])
    updated = update(warehouse, orders)

    assert statuses(warehouse, orders) == {"N1": "delivered", "N2": "shipped"}
    assert updated.keys_recomputed == 1


def test_a_row_without_a_time_is_older_than_any(warehouse: Warehouse, orders: Table) -> None:
    store(warehouse, orders, DAYS[0], [N1])
    store(warehouse, orders, DAYS[1], [{**N1, "updatedAt": None, "status": "lost"}, N2])
    update(warehouse, orders)

    assert rows_of(warehouse, orders) == rows([N1, N2])


def test_a_key_of_several_columns_is_one_key_and_never_merged_where_one_is_null(
    warehouse: Warehouse, orders: Table
) -> None:
    sold = [{**N1, "shop": shop} for shop in ("a", "b", "b", None, None)]
    store(warehouse, orders, DAYS[0], sold)
    warehouse.update_latest(orders, ["shop", "orderId"], "updatedAt")

    assert rows_of(warehouse, orders) == rows([sold[0], sold[1], *sold[3:]])


def test_key_and_time_may_be_fields_of_records(warehouse: Warehouse, orders: Table) -> None:
    for number, status in enumerate(["received", "shipped"]):
        buyer = {"id": {"number": "U1"}, "status": status}
        lead = {"id": None, "status": status}
        at = {"changedAt": datetime(2020, 1, 1 + number)}
        store(warehouse, orders, DAYS[number], [{"buyer": b, "meta": at} for b in (buyer, lead)])
    warehouse.update_latest(orders, ["buyer.id.number"], "meta.changedAt")

    states = [(row["buyer"]["status"], "id" in row["buyer"]) for row in rows_of(warehouse, orders)]
    assert sorted(states) == [("received", False), ("shipped", False), ("shipped", True)]


def test_columns_may_have_any_name_that_the_statements_use(
    warehouse: Warehouse, orders: Table
) -> None:
    names = ("s", "i", "n", "t", "r", "lost", "element", "place", "incoming_0", "load", "day")
    named = dict.fromkeys(names, 1)
    store(warehouse, orders, DAYS[0], [{**N1, **named}, {**N2, **named}])
    warehouse.update_latest(orders, ["n", "orderId"], "updatedAt")
    store(warehouse, orders, DAYS[0], [{**N1, **named}])
    warehouse.update_latest(orders, ["n", "orderId"], "updatedAt", deleted=Deleted("s", (2,)))

    assert rows_of(warehouse, orders) == rows([{**N1, **named}])


@pytest.fixture
def duckdb(duckdb_file: Path) -> DuckDBWarehouse:
    return DuckDBWarehouse(duckdb_file)


def test_in_duckdb_the_later_of_two_lines_of_one_time_is_newer(
    duckdb: DuckDBWarehouse, orders: Table
) -> None:
    lines = [{**N1, "rowid": 2}, {**N1, "rowid": 1}]  # a column that hides DuckDB's own
    store(duckdb, orders, DAYS[0], [N2, {**N2, "status": "later"}])
    store(duckdb, orders, DAYS[1], lines)
    update(duckdb, orders)

    assert rows_of(duckdb, orders) == rows([{**N2, "status": "later"}, lines[1]])


def test_in_bigquery_the_greater_of_two_lines_of_one_time_is_newer(
    bigquery: Emulator, orders: Table
) -> None:
    """By values, column by column: BigQuery has no order of rows."""
    warehouse = BigQueryWarehouse(bigquery.client())
    for status in (["b", "c", "a"], ["c", "b", None]):
        store(warehouse, orders, DAYS[0], [{**N2, "status": each} for each in status])
        update(warehouse, orders, full_refresh=True)
        assert statuses(warehouse, orders) == {"N2": "c"}


# --- another declaration


def test_an_unusable_key_is_refused_and_the_latest_state_is_unchanged(
    warehouse: Warehouse, orders: Table
) -> None:
    store(warehouse, orders, DAYS[0], [{**N1, "total": 1.5, "lines": [{"sku": "A"}]}])
    update(warehouse, orders)

    for key in ("total", "lines", "lines.sku", "orderId.x", "missing"):
        with pytest.raises(TableError, match=key):
            warehouse.update_latest(orders, [key], "updatedAt")

    assert rows_of(warehouse, orders)[0]["orderId"] == "N1"


def test_another_key_or_order_builds_the_latest_state_again(
    warehouse: Warehouse, orders: Table
) -> None:
    store(warehouse, orders, DAYS[0], [N1, N2, N3])
    update(warehouse, orders)
    by_status = warehouse.update_latest(orders, ["status"], "updatedAt")

    assert by_status is not None
    assert by_status.rebuilt
    assert rows_of(warehouse, orders) == rows([N1, N3])


def test_rows_that_are_deleted_are_in_the_table_and_not_in_the_view(
    warehouse: Warehouse, orders: Table
) -> None:
    marked = [{**N1, "gone": True, "state": 0}, {**N2, "gone": False, "state": 1}, N3]
    store(warehouse, orders, DAYS[0], marked)

    for column, values, shown in [
        ("missing", ("x",), "N1 N2 N3"),
        ("status", ("delivered", 'it\'s "so"'), "N2 N3"),
        ("gone", (True,), "N2 N3"),
        ("state", (1, 2), "N1 N3"),
    ]:
        update(warehouse, orders, deleted=Deleted(column, values))
        assert " ".join(sorted(statuses(warehouse, orders))) == shown
        assert len(rows_of(warehouse, orders.latest)) == 3
    store(warehouse, orders, DAYS[1], [{**N2, "updatedAt": datetime(2020, 2, 1), "state": 3}])
    update(warehouse, orders, deleted=Deleted("state", (1, 2)))
    assert " ".join(sorted(statuses(warehouse, orders))) == "N1 N2 N3"


@pytest.mark.parametrize(
    ("deleted", "sentence"),
    [
        (Deleted("total", ("x",)), "names total of .*orders, which is FLOAT; name a column that"),
        (Deleted("status", (True,)), "has the value True for status of .*, which is STRING; write"),
        (Deleted("state", (True,)), "has the value True for state of .*, which is INTEGER; write"),
    ],
)
def test_a_value_for_deleted_rows_that_no_row_can_have_is_refused(
    deleted: Deleted, sentence: str, warehouse: Warehouse, orders: Table
) -> None:
    store(warehouse, orders, DAYS[0], [{**N1, "total": 1.5, "state": 1}])
    with pytest.raises(TableError, match=sentence):
        update(warehouse, orders, deleted=deleted)


# --- columns


def test_the_latest_state_follows_new_columns_and_wider_types(
    warehouse: Warehouse, orders: Table
) -> None:
    old = [{**N1, "total": 1, "meta": {"by": "x"}}, {**N2, "total": 2, "meta": {"by": "y"}}]
    new = {**N3, "total": 1.5, "coupon": "X", "meta": {"by": "z", "note": {"text": "a"}}}
    store(warehouse, orders, DAYS[0], old)
    update(warehouse, orders)
    before = rows_of(warehouse, orders)

    store(warehouse, orders, DAYS[1], [new])
    updated = update(warehouse, orders)

    assert rows_of(warehouse, orders) == rows([*old, new])
    assert before == rows(old)
    assert not updated.rebuilt
    kinds = {column.name: column.type for column in warehouse.columns(orders) or ()}
    assert kinds["total"] == "FLOAT"
    assert "_day" not in kinds
    store(warehouse, orders, date(2019, 1, 1), [{"orderId": "N4"}])  # a shard of another year
    update(warehouse, orders, full_refresh=True)
    assert rows_of(warehouse, orders) == rows([*old, new, {"orderId": "N4"}])


@pytest.mark.parametrize("full_refresh", [False, True])
def test_the_latest_state_gets_a_column_of_an_old_day_that_newer_shards_lack(
    full_refresh: bool, warehouse: Warehouse, orders: Table
) -> None:
    """BigQuery gives a query of a prefix the columns of the newest shard that has the prefix."""
    first, second, last = date(2019, 1, 5), date(2019, 1, 6), date(2020, 1, 1)
    for day, row in ((first, N1), (second, N2), (last, N3)):
        store(warehouse, orders, day, [row])
    update(warehouse, orders)
    with_column = {**N1, "status": "returned", "coupon": "X", "meta": {"by": "a"}}
    store(warehouse, orders, second, [N2_REFUNDED])
    store(warehouse, orders, first, [with_column])

    update(warehouse, orders, full_refresh=full_refresh)

    assert rows_of(warehouse, orders) == rows([with_column, N2_REFUNDED, N3])
    assert update(warehouse, orders).days_waiting == 0


def test_a_feed_with_a_column_named_day_is_refused(warehouse: Warehouse, orders: Table) -> None:
    store(warehouse, orders, DAYS[0], [{**N1, "_day": "Monday"}])
    with pytest.raises(TableError, match=r"orders has a column _day, which .*latest_orders needs"):
        update(warehouse, orders)


def test_a_changed_declared_type_is_applied_by_a_full_refresh(
    warehouse: Warehouse, orders: Table
) -> None:
    def store_code(day: date, code: str, kind: str) -> None:
        untyped = table_of([{**N1, "code": code}])
        at = untyped.column_names.index("code")
        typed = untyped.set_column(at, "code", untyped.column("code").cast(kind))
        store_shard(warehouse, orders, day, typed, attempt=uuid4().hex, declared={"code"})

    store_code(DAYS[0], "1", "string")
    store_code(DAYS[1], "2", "string")
    update(warehouse, orders)

    store_code(DAYS[0], "1", "int64")
    with pytest.raises(TableError, match="has code as STRING, which is INTEGER now; import all"):
        update(warehouse, orders)
    assert rows_of(warehouse, orders.latest)[0]["code"] == "2"
    store_code(DAYS[1], "2", "int64")
    update(warehouse, orders, full_refresh=True)

    assert rows_of(warehouse, orders) == rows([{**N1, "code": 2}])


# --- shards that are gone


def test_keys_of_dropped_shards_stay_until_a_full_refresh(
    warehouse: Warehouse, orders: Table
) -> None:
    store(warehouse, orders, DAYS[0], [N1])
    store(warehouse, orders, DAYS[1], [N3])
    update(warehouse, orders)
    sql(warehouse, f"DROP TABLE {orders.shard(DAYS[0])}")
    store(warehouse, orders, DAYS[1], [N2])

    update(warehouse, orders)
    assert statuses(warehouse, orders) == {"N1": "delivered", "N2": "received"}

    assert update(warehouse, orders, full_refresh=True).rebuilt
    assert statuses(warehouse, orders) == {"N2": "received"}


@pytest.mark.parametrize("lost", ["latest", "ledger", "entries"])
def test_a_lost_table_or_ledger_is_rebuilt(lost: str, warehouse: Warehouse, orders: Table) -> None:
    store(warehouse, orders, DAYS[0], [N1, N2])
    store(warehouse, orders, date(2021, 1, 1), [N3])
    update(warehouse, orders)
    table = {"latest": orders.latest, "ledger": orders.ledger, "entries": orders.ledger}[lost]
    if isinstance(warehouse, DuckDBWarehouse) and lost != "latest":
        table = Table("feed_assets", "applied_loads")
    sql(
        warehouse, f"DROP TABLE {table}" if lost != "entries" else f"DELETE FROM {table} WHERE TRUE"
    )

    assert update(warehouse, orders).rebuilt
    assert rows_of(warehouse, orders) == rows([N1, N2, N3])
