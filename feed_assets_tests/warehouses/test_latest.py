"""The latest state has what a snapshot of the same CRM would, and is ours to change."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from google.cloud import bigquery as bigquery_client
from hypothesis import given
from hypothesis import strategies as st

from feed_assets.errors import NotOurs, TableError, WarehouseFailed
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Origin, Warehouse
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.latest_state import Deleted, LatestUpdate
from feed_assets.warehouse.read import read_table
from feed_assets.warehouse.store import store_snapshot
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.bigquery.fault_proxy import Call, FaultProxy, before, refused
from feed_assets_tests.support.bigquery.real import new_dataset
from feed_assets_tests.support.examples import examples
from feed_assets_tests.support.killable_import import HookedTransport, Killed, killed_copies
from feed_assets_tests.support.storing import store_shard

Row = dict[str, Any]
FIRST = date(2020, 1, 30)  # so that histories cross from one month to the next
DAYS = [FIRST + timedelta(days=number) for number in range(4)]


def store(warehouse: Warehouse, table: Table, day: date, sent: Sequence[Row]) -> None:
    arrow = table_of(sent)
    store_shard(warehouse, table, day, arrow, attempt=uuid4().hex)


def table_of(sent: Sequence[Row]) -> pa.Table:
    """The rows, with the columns of all of them; `from_pylist` takes those of the first."""
    names = dict.fromkeys(name for row in sent for name in row)
    return pa.table({name: [row.get(name) for row in sent] for name in names})


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: without_nulls(each) for name, each in value.items()}
        return {name: each for name, each in kept.items() if each not in (None, {}, [])}
    return value


def rows(found: Iterable[Row]) -> list[Row]:
    """Rows to compare: in no order, and without what is null."""
    return sorted(map(without_nulls, found), key=lambda row: sorted(map(repr, row.items())))


def rows_of(warehouse: Warehouse, table: Table) -> list[Row]:
    return rows(read_table(warehouse, table).to_pylist())


@pytest.fixture
def orders(dataset: str) -> Table:
    return Table(dataset, "orders")


def order(number: str, updated: str, status: str) -> Row:
    return {"updatedAt": datetime.fromisoformat(updated), "orderId": number, "status": status}


N1 = order("N1", "2020-01-15", "delivered")
N2 = order("N2", "2020-01-15", "received")
N2_REFUNDED = order("N2", "2020-01-20", "refunded")
N3 = order("N3", "2020-01-20", "received")


def update(warehouse: Warehouse, table: Table, **options: Any) -> LatestUpdate:
    updated = warehouse.update_latest(table, ["orderId"], "updatedAt", **options)
    assert updated is not None
    return updated


def statuses(warehouse: Warehouse, table: Table) -> dict[str, str]:
    return {row["orderId"]: row["status"] for row in rows_of(warehouse, table)}


def sql(warehouse: Warehouse, statement: str) -> None:
    """Run a statement as somebody else would."""
    if isinstance(warehouse, DuckDBWarehouse):
        with warehouse._session() as run:
            run.execute(statement)
    elif isinstance(warehouse, BigQueryWarehouse):
        warehouse._client.query_and_wait(statement)


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


def test_columns_may_be_named_as_anything_in_the_statements_is(
    warehouse: Warehouse, orders: Table
) -> None:
    names = ("s", "i", "n", "t", "r", "lost", "element", "place", "incoming_0", "load", "day")
    named = dict.fromkeys(names, 1)
    store(warehouse, orders, DAYS[0], [{**N1, **named}, {**N2, **named}])
    warehouse.update_latest(orders, ["n", "orderId"], "updatedAt")
    store(warehouse, orders, DAYS[0], [{**N1, **named}])
    warehouse.update_latest(orders, ["n", "orderId"], "updatedAt", deleted=Deleted("s", (2,)))

    assert rows_of(warehouse, orders) == rows([{**N1, **named}])


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


def test_a_key_that_cannot_be_one_is_refused_and_the_latest_state_stays(
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
def test_a_mark_of_deleted_rows_that_no_row_can_have_is_refused(
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
def test_a_column_of_an_old_day_is_followed_though_newer_shards_of_its_year_lack_it(
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


def test_a_feed_with_a_column_of_that_name_is_refused(warehouse: Warehouse, orders: Table) -> None:
    store(warehouse, orders, DAYS[0], [{**N1, "_day": "Monday"}])
    with pytest.raises(TableError, match=r"orders has a column _day, which .*latest_orders needs"):
        update(warehouse, orders)


def test_a_column_declared_otherwise_is_followed_by_a_full_refresh(
    warehouse: Warehouse, orders: Table
) -> None:
    def store_code(day: date, code: str, kind: str) -> None:
        sent = table_of([{**N1, "code": code}])
        at = sent.column_names.index("code")
        typed = sent.set_column(at, "code", sent.column("code").cast(kind))
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
def test_what_is_lost_is_built_again(lost: str, warehouse: Warehouse, orders: Table) -> None:
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


# --- what is not ours


def test_somebody_elses_view_is_never_replaced(warehouse: Warehouse, orders: Table) -> None:
    """In BigQuery a label tells, in DuckDB a comment; somebody's own view has neither."""
    store(warehouse, orders, DAYS[0], [N1])
    update(warehouse, orders)
    sql(warehouse, f"DROP VIEW {orders}")
    sql(warehouse, f"CREATE VIEW {orders} AS SELECT 'mine' AS status FROM {orders.shard(DAYS[0])}")

    store(warehouse, orders, DAYS[1], [N2])
    with pytest.raises(NotOurs, match=rf"{orders} \(view\)"):
        update(warehouse, orders)

    assert rows_of(warehouse, orders) == [{"status": "mine"}]


@pytest.mark.parametrize("name", ["latest", "ledger"])
def test_somebody_elses_table_is_never_changed(
    name: str, warehouse: Warehouse, orders: Table
) -> None:
    if isinstance(warehouse, DuckDBWarehouse) and name == "ledger":
        name = "latest"  # the ledger is in the schema feed_assets
    table: Table = getattr(orders, name)
    store(warehouse, orders, DAYS[0], [N1])
    sql(warehouse, f"CREATE TABLE {table} AS SELECT 'mine' AS status")

    with pytest.raises(NotOurs, match=rf"{table} \(table\) was not made by feed_assets"):
        update(warehouse, orders)

    assert rows_of(warehouse, table) == [{"status": "mine"}]
    assert warehouse.columns(orders) is None


@pytest.mark.parametrize(
    ("kind", "statement"),
    [
        ("materialized view", "CREATE MATERIALIZED VIEW `{0}` AS SELECT status FROM `{1}`"),
        ("snapshot", "CREATE SNAPSHOT TABLE `{0}` CLONE `{1}`"),
    ],
)
def test_what_else_may_stand_there_in_bigquery_is_never_replaced(
    bigquery: Emulator, orders: Table, kind: str, statement: str
) -> None:
    warehouse = BigQueryWarehouse(bigquery.client())
    store(warehouse, orders, DAYS[0], [N1])
    bigquery.client().query_and_wait(statement.format(orders, orders.shard(DAYS[0])))

    with pytest.raises(NotOurs, match=rf"{orders} \({kind}\)"):
        update(warehouse, orders)


def test_our_view_of_an_earlier_version_is_replaced(warehouse: Warehouse, orders: Table) -> None:
    """In BigQuery it was over the wildcard, in DuckDB over views of months and years."""
    store(warehouse, orders, DAYS[0], [N1, N2])
    if isinstance(warehouse, BigQueryWarehouse):
        view = bigquery_client.Table(f"test-project.{orders}")
        view.view_query = f"SELECT * FROM `test-project.{orders}_*`"
        view.labels = {"managed_by": "feed_assets"}
        warehouse._client.create_table(view)
    else:
        day, month = DAYS[0], f'feed_assets."{orders}.{DAYS[0]:%Y%m}"'
        year, whole = f'feed_assets."{orders}.{day:%Y}"', f'feed_assets."{orders}"'
        for name, of in [
            (month, orders.shard(day)),
            (year, month),
            (whole, year),
            (orders, whole),
        ]:
            sql(warehouse, f"CREATE VIEW {name} AS SELECT * FROM {of}")
            sql(warehouse, f"COMMENT ON VIEW {name} IS 'Kept by feed_assets 0123'")

    update(warehouse, orders)
    store(warehouse, orders, DAYS[0], [N1])
    update(warehouse, orders)

    assert rows_of(warehouse, orders) == rows([N1])
    if isinstance(warehouse, DuckDBWarehouse):
        with warehouse._session() as run:
            left = run.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        assert left == [("orders",)]


# --- BigQuery


def test_in_bigquery_the_tables_are_clustered_described_labelled_and_stay(
    bigquery: Emulator, orders: Table
) -> None:
    client = bigquery.client()
    warehouse = BigQueryWarehouse(client)
    client.create_dataset(orders.dataset)
    store(warehouse, orders, DAYS[0], [{**N1, "shop": 1, "at": datetime(2020, 1, 1).time()}])
    key = ["orderId", "shop", "at"]
    origin = Origin(description="Orders.", columns={"status": "How it is."})
    warehouse.update_latest(orders, key, "updatedAt", origin=origin)

    state, ledger, view = (client.get_table(f"{t}") for t in (orders.latest, orders.ledger, orders))
    assert state.clustering_fields == ["orderId", "shop"]  # TIME cannot be clustered by
    assert {t.labels["managed_by"] for t in (state, ledger, view)} == {"feed_assets"}
    assert {t.expires for t in (state, ledger, view)} == {None}
    assert view.description == "Orders."
    for table in (state, view):
        described = {field.name: field.description for field in table.schema}
        assert described["status"] == "How it is."
    assert state.schema[-1].name == "_day"


def test_in_bigquery_the_view_reports_later_columns(bigquery: Emulator, orders: Table) -> None:
    client = bigquery.client()
    warehouse = BigQueryWarehouse(client)
    store(warehouse, orders, DAYS[0], [N1])
    update(warehouse, orders)
    store(warehouse, orders, DAYS[1], [{**N2, "coupon": "X"}])
    update(warehouse, orders)
    after = client.get_table(str(orders))
    update(warehouse, orders)

    assert [field.name for field in after.schema] == [*N1, "coupon"]
    assert client.get_table(str(orders)).etag == after.etag  # as nothing had changed


def test_in_bigquery_the_table_has_the_policy_tags_of_the_newest_shard(
    bigquery: Emulator, orders: Table
) -> None:
    client = bigquery.client()
    warehouse = BigQueryWarehouse(client)
    store(warehouse, orders, DAYS[0], [N1])
    shard = client.get_table(str(orders.shard(DAYS[0])))
    tag = bigquery_client.PolicyTagList(["projects/p/locations/eu/taxonomies/1/policyTags/2"])
    shard.schema = [
        bigquery_client.SchemaField(
            f.name, f.field_type, policy_tags=tag if f.name == "status" else None
        )
        for f in shard.schema
    ]
    client.update_table(shard, ["schema"])

    update(warehouse, orders)

    tagged = {f.name for f in client.get_table(str(orders.latest)).schema if f.policy_tags}
    assert tagged == {"status"}


def test_in_bigquery_no_statement_reads_more_than_the_shards_of_a_year(
    bigquery: Emulator, proxy: FaultProxy, orders: Table
) -> None:
    warehouse = BigQueryWarehouse(proxy.client())
    days = [date(year, month, 1) for year in (2018, 2019, 2020) for month in (1, 12)]
    for number, day in enumerate(days):
        store(warehouse, orders, day, [order(f"N{number % 2}", f"{day}", f"{number}")])
    update(warehouse, orders)
    store(warehouse, orders, days[-1], [N3])
    update(warehouse, orders)

    assert statuses(warehouse, orders) == {"N0": "4", "N1": "3", "N3": "received"}
    read = re.findall(rf"{orders.name}_(\d*)\*", "".join(map(query_of, proxy.calls)))
    assert set(read) == {"2018", "2019", "20200101"[:4]}


def query_of(call: Call) -> str:
    if call.name != "insert job":
        return ""
    return str(call.job["configuration"].get("query", {}).get("query", ""))


@pytest.mark.parametrize("what", ["a run", "an import"])
@pytest.mark.parametrize(
    ("at", "turn"),
    [("query", 1), ("query", 2), ("insert job", 1)],
    ids=["ledger", "listing", "script"],
)
def test_in_bigquery_what_happens_meanwhile_is_not_lost(
    what: str, at: str, turn: int, bigquery: Emulator, proxy: FaultProxy, orders: Table
) -> None:
    """Another run of the asset, or an import, between two calls of a run."""
    other = BigQueryWarehouse(bigquery.client())
    store(other, orders, DAYS[0], [N1])
    update(other, orders)
    store(other, orders, DAYS[1], [N2])

    def meanwhile() -> None:
        store(other, orders, DAYS[1], [N2_REFUNDED])
        store(other, orders, DAYS[2], [N3])
        if what == "a run":
            update(other, orders)

    proxy.on(at, before(meanwhile), when=lambda nth: nth == turn)
    updated = update(BigQueryWarehouse(proxy.client()), orders)

    assert rows_of(other, orders) == rows([N1, N2_REFUNDED, N3])
    assert updated.days_waiting == 0


def test_in_bigquery_a_transaction_that_is_aborted_is_tried_again(
    bigquery: Emulator, proxy: FaultProxy, orders: Table
) -> None:
    warehouse = BigQueryWarehouse(proxy.client())
    store(warehouse, orders, DAYS[0], [N1])
    conflict = "Transaction is aborted due to concurrent update against table latest_orders."
    proxy.on("insert job", refused(400, "invalidQuery", conflict), when=lambda nth: nth <= 2)

    assert update(warehouse, orders).days_applied == 1
    assert proxy.counted()["insert job"] == 3


def test_in_bigquery_a_run_that_others_always_overtake_can_be_tried_again(
    bigquery: Emulator, proxy: FaultProxy, orders: Table
) -> None:
    warehouse = BigQueryWarehouse(proxy.client())
    store(warehouse, orders, DAYS[0], [N1])
    conflict = "Transaction is aborted due to concurrent update against table latest_orders."
    proxy.on("insert job", refused(400, "invalidQuery", conflict))

    with pytest.raises(WarehouseFailed, match="changed by other runs 5 times in a row") as failed:
        update(warehouse, orders)
    assert failed.value.transient


def test_in_bigquerys_sandbox_a_sentence_names_what_is_missing(
    bigquery: Emulator, proxy: FaultProxy, orders: Table
) -> None:
    warehouse = BigQueryWarehouse(proxy.client())
    store(warehouse, orders, DAYS[0], [N1])
    words = (
        "Billing has not been enabled for this project. Enable billing at "
        "https://console.cloud.google.com/billing. DML queries are not allowed in the free tier."
    )
    proxy.on("insert job", refused(403, "billingNotEnabled", words))

    with pytest.raises(WarehouseFailed, match="take key or updated_at out of the feed") as failed:
        update(warehouse, orders)
    assert not failed.value.transient


def test_in_bigquery_a_run_killed_at_any_call_is_completed_by_the_next(
    bigquery: Emulator, dataset: str
) -> None:
    tables = BigQueryWarehouse(bigquery.client())
    old, new = rows([N1, N2]), rows([N1, {**N2_REFUNDED, "coupon": "X"}])
    for at in itertools.count(1):
        orders = Table(f"{dataset}_{at}", "orders")
        store(tables, orders, DAYS[0], [N1, N2])
        update(tables, orders)
        store(tables, orders, DAYS[1], [{**N2_REFUNDED, "coupon": "X"}])

        def die(number: int, at: int = at) -> None:
            if number >= at:
                raise Killed

        sending = HookedTransport(die, ("POST", "PUT", "PATCH", "DELETE"))
        with suppress(Killed):
            update(BigQueryWarehouse(sending.client(bigquery)), orders)

        assert rows_of(tables, orders) in (old, new)
        update(tables, orders)
        assert rows_of(tables, orders) == new
        if sending.calls < at:
            assert at > 5  # else nothing was killed
            break


# --- DuckDB


@pytest.fixture
def duckdb(tmp_path: Path) -> DuckDBWarehouse:
    return DuckDBWarehouse(tmp_path / "warehouse.duckdb")


def test_in_duckdb_a_run_killed_at_any_statement_leaves_the_old_rows_or_the_new(
    tmp_path: Path,
) -> None:
    orders = Table("crm", "orders")
    (tmp_path / "before").mkdir()
    file = tmp_path / "before" / "warehouse.duckdb"
    warehouse = DuckDBWarehouse(file)
    store(warehouse, orders, date(2019, 12, 31), [N1, N2])
    update(warehouse, orders)
    store(warehouse, orders, date(2020, 1, 20), [{**N2_REFUNDED, "coupon": "X"}])

    copies = killed_copies(file, tmp_path / "copies", lambda each: update(each, orders))

    assert max(copies) > 10  # statements
    left = [rows_of(DuckDBWarehouse(copy), orders) for copy in (*copies.values(), file)]
    old, new = rows([N1, N2]), rows([N1, {**N2_REFUNDED, "coupon": "X"}])
    turn = left.index(new)
    assert left == [old] * turn + [new] * (len(left) - turn)


# --- a CRM, its feed by date and its snapshot


@dataclass(frozen=True)
class Edit:
    """Change of an order on a day; without an order, a lead, which has no key."""

    day: int
    order: tuple[str, int] | None
    changes: Row
    same_moment: bool

    @property
    def columns(self) -> Row:
        return {name: value for name, value in self.changes.items() if name != "note"}


@dataclass
class CRM:
    """Orders as they are, and as they were after each edit."""

    moments: bool  # whether two edits may be at the same one
    orders: dict[Any, Row] = field(default_factory=dict)
    edits: list[tuple[int, Any, Row]] = field(default_factory=list)

    def happen(self, edit: Edit) -> None:
        number = len(self.edits)
        key = edit.order or f"lead {number}"
        before = self.orders.get(key, {"meta": {}, "lead": None if edit.order else number})
        moment = datetime.combine(DAYS[edit.day], datetime.min.time()) + timedelta(minutes=number)
        if self.moments and edit.same_moment:
            moment = max((row["meta"]["changedAt"] for row in self.orders.values()), default=moment)
        meta = {**before["meta"], "changedAt": moment}
        if "note" in edit.changes:
            meta["note"] = edit.changes["note"]
        shop, number_there = edit.order or (None, 7)
        row = {**before, **edit.columns, "shop": shop, "id": {"number": number_there}, "meta": meta}
        self.orders[key] = row
        self.edits.append((edit.day, key, row))

    def snapshot(self) -> list[Row]:
        return list(self.orders.values())

    def updated_on(self, day: int, kind: str) -> list[Row]:
        """The feed of a day, of one of three kinds of servers.

        They tell each edit of that day; each order as it was when the day ended; or, of the orders
        as they are now, those that were last changed on that day.
        """
        edits = [(key, row) for when, key, row in self.edits if when == day]
        if kind == "each edit":
            return [row for _, row in edits]
        if kind == "as the day ended":
            return list(dict(edits).values())
        last = {key: when for when, key, _ in self.edits}
        return [row for key, row in self.orders.items() if last[key] == day]


ORDERED = Edit(0, ("a", 1), {"status": "received"}, same_moment=False)
KINDS = ["each edit", "as the day ended", "as it is now"]
EDITS = st.builds(
    Edit,
    st.integers(0, len(DAYS) - 1),
    st.none() | st.tuples(st.sampled_from("ab"), st.integers(1, 2)),
    st.fixed_dictionaries(
        {"status": st.sampled_from(["received", "shipped", "refunded"])},
        optional={
            "total": st.integers(0, 9) | st.just(0.5),
            "coupon": st.just("X"),
            "note": st.just("by phone"),
            "lines": st.just([{"sku": "A", "n": 1}]),
        },
    ),
    st.booleans(),
)
IMPORTS = st.lists(st.integers(0, len(DAYS) - 1), max_size=3)


@dataclass(frozen=True)
class History:
    """Edits, the days imported meanwhile, the order of the days imported afterwards, and the number
    of imports between two updates of the latest state."""

    kind: str
    edits: list[Edit]
    meanwhile: list[int]
    afterwards: list[int]
    updated_after: int

    def happen(self, warehouse: Warehouse, orders: Table, crm: CRM) -> None:
        imports = 0

        def import_day(day: int) -> None:
            nonlocal imports
            store(warehouse, orders, DAYS[day], crm.updated_on(day, self.kind))
            imports += 1
            if imports % self.updated_after == 0:
                with suppress(TableError):  # a column of the key may not have come yet
                    self.update(warehouse, orders)

        for day in range(len(DAYS)):
            for edit in self.edits:
                if edit.day == day:
                    crm.happen(edit)
            for past in self.meanwhile:
                if past <= day:
                    import_day(past)
        for day in self.afterwards:
            import_day(day)
        self.update(warehouse, orders)

    def update(self, warehouse: Warehouse, orders: Table) -> None:
        warehouse.update_latest(orders, ["shop", "id.number"], "meta.changedAt")


HISTORIES = st.builds(
    History,
    st.sampled_from(KINDS),
    st.builds(lambda edits: [ORDERED, *edits], st.lists(EDITS, max_size=7)),
    IMPORTS,
    st.builds(lambda days, again: [*again, *days], st.permutations(range(len(DAYS))), IMPORTS),
    st.integers(1, 4),
)


def is_as_the_snapshot(warehouse: Warehouse, history: History, *, moments: bool) -> None:
    crm = CRM(moments)
    orders = Table(new_dataset(), "orders")
    snapshot = Table(orders.dataset, "snapshot")
    history.happen(warehouse, orders, crm)
    store_snapshot(warehouse, snapshot, table_of(crm.snapshot()), attempt="1")
    assert rows_of(warehouse, orders) == rows_of(warehouse, snapshot)
    if isinstance(warehouse, DuckDBWarehouse):
        sql(warehouse, f"DROP SCHEMA {orders.dataset} CASCADE")  # thousands of tables are slow


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBWarehouse]:
    """One DuckDB file for all histories, and opened once."""
    with DuckDBWarehouse(tmp_path_factory.mktemp("latest") / "warehouse.duckdb") as opened:
        yield opened


@given(HISTORIES)
@examples(10)
def test_it_is_as_the_snapshot_in_duckdb(file: DuckDBWarehouse, history: History) -> None:
    is_as_the_snapshot(file, history, moments=True)


@given(HISTORIES)
@examples(3)
def test_it_is_as_the_snapshot_in_bigquery(bigquery: Emulator, history: History) -> None:
    """BigQuery may take either of two edits at one moment."""
    warehouse = BigQueryWarehouse(bigquery.client())
    is_as_the_snapshot(warehouse, history, moments=history.kind != "each edit")
