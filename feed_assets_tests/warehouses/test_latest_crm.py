"""The latest state has the rows of a snapshot of the same CRM."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed_assets.errors import TableError
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Warehouse
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.store import store_snapshot
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.bigquery.real import new_dataset
from feed_assets_tests.support.examples import examples
from feed_assets_tests.support.latest_orders import (
    DAYS,
    Row,
    rows_of,
    sql,
    store,
    table_of,
)


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

    moments: bool  # True if two edits may have the same time
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

        It has each edit of that day; each order as it was when the day ended; or, of the orders
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
def test_in_duckdb_the_latest_state_is_the_snapshot(
    file: DuckDBWarehouse, history: History
) -> None:
    is_as_the_snapshot(file, history, moments=True)


@given(HISTORIES)
@examples(3)
def test_in_bigquery_the_latest_state_is_the_snapshot(bigquery: Emulator, history: History) -> None:
    """BigQuery may take either of two edits at one moment."""
    warehouse = BigQueryWarehouse(bigquery.client())
    is_as_the_snapshot(warehouse, history, moments=history.kind != "each edit")
