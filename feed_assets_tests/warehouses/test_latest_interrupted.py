"""The latest state in BigQuery, beside other runs, and after a kill."""

from __future__ import annotations

import itertools
import re
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path

import pytest
from google.cloud import bigquery as bigquery_client

from feed_assets.errors import WarehouseFailed
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Origin
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.bigquery.fault_proxy import Call, FaultProxy, before, refused
from feed_assets_tests.support.killable_import import HookedTransport, Killed, killed_copies
from feed_assets_tests.support.latest_orders import (
    DAYS,
    N1,
    N2,
    N2_REFUNDED,
    N3,
    order,
    rows,
    rows_of,
    statuses,
    store,
    update,
)


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
def test_in_bigquery_changes_by_concurrent_runs_are_not_lost(
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


def test_in_bigquery_a_run_that_others_always_overtake_fails_with_a_transient_error(
    bigquery: Emulator, proxy: FaultProxy, orders: Table
) -> None:
    warehouse = BigQueryWarehouse(proxy.client())
    store(warehouse, orders, DAYS[0], [N1])
    conflict = "Transaction is aborted due to concurrent update against table latest_orders."
    proxy.on("insert job", refused(400, "invalidQuery", conflict))

    with pytest.raises(WarehouseFailed, match="changed by other runs 5 times in a row") as failed:
        update(warehouse, orders)
    assert failed.value.transient


def test_in_bigquerys_sandbox_the_error_says_which_attributes_to_remove(
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
