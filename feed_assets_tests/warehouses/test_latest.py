"""The view of the latest state holds what a snapshot of the same CRM would."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feed_assets.errors import NotOurs, TableError
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Warehouse
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.read import read_table
from feed_assets.warehouse.store import store_snapshot
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.bigquery.real import new_dataset
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


def test_the_latest_state_of_the_example_is_its_snapshot(
    warehouse: Warehouse, orders: Table
) -> None:
    store(warehouse, orders, date(2020, 1, 20), [N2_REFUNDED, N3])
    warehouse.define_latest(orders, ["orderId"], "updatedAt")
    store(warehouse, orders, date(2020, 1, 15), [N1, N2])

    assert rows_of(warehouse, orders) == rows([N1, N2_REFUNDED, N3])


def test_a_row_without_a_time_is_older_than_any(warehouse: Warehouse, orders: Table) -> None:
    store(warehouse, orders, DAYS[0], [N1])
    store(warehouse, orders, DAYS[1], [{**N1, "updatedAt": None, "status": "lost"}, N2])
    warehouse.define_latest(orders, ["orderId"], "updatedAt")

    assert rows_of(warehouse, orders) == rows([N1, N2])


def test_a_key_of_several_columns_is_one_key_and_never_merged_where_one_is_null(
    warehouse: Warehouse, orders: Table
) -> None:
    sold = [{**N1, "shop": shop} for shop in ("a", "b", "b", None, None)]
    store(warehouse, orders, DAYS[0], sold)
    warehouse.define_latest(orders, ["shop", "orderId"], "updatedAt")

    assert rows_of(warehouse, orders) == rows([sold[0], sold[1], *sold[3:]])


def test_key_and_time_may_be_fields_of_records(warehouse: Warehouse, orders: Table) -> None:
    for number, status in enumerate(["received", "shipped"]):
        buyer = {"id": {"number": "U1"}, "status": status}
        lead = {"id": None, "status": status}
        at = {"changedAt": datetime(2020, 1, 1 + number)}
        store(warehouse, orders, DAYS[number], [{"buyer": b, "meta": at} for b in (buyer, lead)])
    warehouse.define_latest(orders, ["buyer.id.number"], "meta.changedAt")

    states = [(row["buyer"]["status"], "id" in row["buyer"]) for row in rows_of(warehouse, orders)]
    assert sorted(states) == [("received", False), ("shipped", False), ("shipped", True)]


def test_a_key_that_cannot_be_one_is_refused_and_the_view_stays(
    warehouse: Warehouse, orders: Table
) -> None:
    store(warehouse, orders, DAYS[0], [{**N1, "total": 1.5, "lines": [{"sku": "A"}]}])
    warehouse.define_latest(orders, ["orderId"], "updatedAt")

    for key in ("total", "lines", "lines.sku", "orderId.x"):
        with pytest.raises(TableError, match=key):
            warehouse.define_latest(orders, [key], "updatedAt")

    assert rows_of(warehouse, orders)[0]["orderId"] == "N1"


def test_another_key_makes_another_view(warehouse: Warehouse, orders: Table) -> None:
    store(warehouse, orders, DAYS[0], [N1, N2, N3])
    warehouse.define_latest(orders, ["orderId"], "updatedAt")
    warehouse.define_latest(orders, ["status"], "updatedAt")

    assert rows_of(warehouse, orders) == rows([N1, N3])


# --- what is not ours


def test_a_view_that_is_no_longer_ours_is_never_replaced(
    warehouse: Warehouse, orders: Table
) -> None:
    """In BigQuery a label tells, in DuckDB a comment; somebody's own view has neither."""
    store(warehouse, orders, DAYS[0], [N1])
    warehouse.define_latest(orders, ["orderId"], "updatedAt")
    make_view(warehouse, orders, f"SELECT 'mine' AS status FROM {orders.shard(DAYS[0])}")

    store(warehouse, orders, DAYS[1], [N2])
    with pytest.raises(NotOurs, match=rf"{orders} \(view\)"):
        warehouse.define_latest(orders, ["orderId"], "updatedAt")

    assert rows_of(warehouse, orders) == [{"status": "mine"}]


def make_view(warehouse: Warehouse, view: Table, query: str) -> None:
    """Make the view as somebody else would, in place of ours."""
    if isinstance(warehouse, DuckDBWarehouse):
        with warehouse._session() as run:
            run.execute(f"CREATE OR REPLACE VIEW {view} AS {query}")
    elif isinstance(warehouse, BigQueryWarehouse):
        client = warehouse._client
        client.delete_table(str(view))
        client.query_and_wait(f"CREATE VIEW `{view}` AS {query}")


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
        warehouse.define_latest(orders, ["orderId"], "updatedAt")


# --- columns and shards that come later


def test_in_bigquery_the_view_is_said_to_have_later_columns_once_it_is_defined_again(
    bigquery: Emulator, orders: Table
) -> None:
    client = bigquery.client()
    warehouse = BigQueryWarehouse(client)
    store(warehouse, orders, DAYS[0], [N1])
    warehouse.define_latest(orders, ["orderId"], "updatedAt")
    store(warehouse, orders, DAYS[1], [{**N2, "coupon": "X"}])
    assert rows_of(warehouse, orders) == rows([N1, {**N2, "coupon": "X"}])
    before = client.get_table(str(orders))

    warehouse.define_latest(orders, ["orderId"], "updatedAt")
    after = client.get_table(str(orders))
    warehouse.define_latest(orders, ["orderId"], "updatedAt")

    assert [field.name for field in before.schema] == [*N1]
    assert [field.name for field in after.schema] == [*N1, "coupon"]
    assert client.get_table(str(orders)).etag == after.etag  # as nothing had changed


@pytest.fixture
def duckdb(tmp_path: Path) -> DuckDBWarehouse:
    return DuckDBWarehouse(tmp_path / "warehouse.duckdb")


def views(warehouse: DuckDBWarehouse) -> dict[str, int]:
    """The views that stand, each with a number that is another one when it is made anew."""
    with warehouse._session() as run:
        listed = "SELECT view_name, view_oid FROM duckdb_views() WHERE NOT internal"
        return dict(run.execute(listed).fetchall())


def test_in_duckdb_a_day_makes_its_months_view_anew_and_no_other(
    duckdb: DuckDBWarehouse, orders: Table
) -> None:
    with duckdb:
        for day in (date(2019, 12, 31), *DAYS[:3]):  # the last in February
            store(duckdb, orders, day, [N1])
        duckdb.define_latest(orders, ["orderId"], "updatedAt")
        before = views(duckdb)

        store(duckdb, orders, DAYS[3], [{**N2, "coupon": "X"}])
        after = views(duckdb)
        store(duckdb, orders, DAYS[3], [N2, N3])
        duckdb.define_latest(orders, ["orderId"], "updatedAt")

        months = [f"{orders}.{month}" for month in ("201912", "202001", "202002")]
        years = [f"{orders}.{year}" for year in ("2019", "2020")]
        assert sorted(before) == sorted(["orders", str(orders), *months, *years])
        assert {name for name in before if before[name] != after[name]} == {months[-1]}
        assert views(duckdb) == after
        assert rows_of(duckdb, orders) == rows([N1, N2, N3])


def test_in_duckdb_the_view_sees_months_and_years_that_come_later(
    duckdb: DuckDBWarehouse, orders: Table
) -> None:
    days = [date(2019, 12, 31), date(2021, 3, 1), date(2020, 2, 29), date(2020, 1, 31)]
    states = [order(f"N{day}", f"{day}", "received") for day in days]
    for number, day in enumerate(days):
        store(duckdb, orders, day, [states[number]])
        if not number:
            duckdb.define_latest(orders, ["orderId"], "updatedAt")
        assert rows_of(duckdb, orders) == rows(states[: number + 1])


def test_in_duckdb_a_shard_that_somebody_dropped_is_no_longer_asked_for(
    duckdb: DuckDBWarehouse, orders: Table
) -> None:
    days = [date(2019, 12, 31), *DAYS]
    for day in days[:4]:
        store(duckdb, orders, day, [order(f"N{day}", f"{day}", "received")])
    duckdb.define_latest(orders, ["orderId"], "updatedAt")
    with duckdb._session() as run:
        run.execute(f"DROP TABLE {orders.shard(days[0])}; DROP TABLE {orders.shard(days[3])}")

    store(duckdb, orders, days[4], [N1])
    duckdb.define_latest(orders, ["orderId"], "updatedAt")

    seen = {row["orderId"] for row in rows_of(duckdb, orders)}
    assert seen == {"N1", *(f"N{day}" for day in days[1:3])}
    assert f"{orders}.2019" not in views(duckdb)


def test_in_duckdb_the_later_line_wins_also_where_a_column_is_named_rowid(
    duckdb: DuckDBWarehouse, orders: Table
) -> None:
    store(duckdb, orders, DAYS[0], [N2, {**N2, "status": "later"}])
    duckdb.define_latest(orders, ["orderId"], "updatedAt")
    assert [row["status"] for row in rows_of(duckdb, orders)] == ["later"]

    lines = [{**N1, "rowid": 2}, {**N1, "rowid": 1}]
    store(duckdb, orders, DAYS[1], lines)
    store(duckdb, orders, DAYS[0], lines[:1])

    assert rows_of(duckdb, orders) == rows(lines[1:])


def test_in_duckdb_an_import_killed_at_any_statement_leaves_the_old_view_or_the_new(
    tmp_path: Path,
) -> None:
    orders = Table("crm", "orders")
    warehouse = DuckDBWarehouse(tmp_path / "whole.duckdb")
    store(warehouse, orders, date(2019, 12, 31), [N1, N2])
    warehouse.define_latest(orders, ["orderId"], "updatedAt")

    program = "from feed_assets_tests.warehouses.test_latest import *; die_at_each_statement()"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)

    left = [
        rows_of(DuckDBWarehouse(path), orders) for path in sorted(tmp_path.glob("died_*.duckdb"))
    ]
    old, new = rows([N1, N2]), rows([N1, {**N2_REFUNDED, "coupon": "X"}])
    turn = left.index(new)
    assert turn > 10
    assert left == [old] * turn + [new] * (len(left) - turn)


def die_at_each_statement() -> None:
    """Imports a day that brings a new year and a column, as often as that takes statements.

    Each time a copy of the file, by a process that ends before the next statement.
    """
    for number in itertools.count(1):
        path = Path(f"died_{number:03}.duckdb")
        shutil.copy("whole.duckdb", path)
        child = os.fork()
        if not child:
            with DuckDBWarehouse(path.absolute()) as warehouse:
                run: Any = Dying(warehouse._connection, number)
                warehouse._connection = run
                sent = [{**N2_REFUNDED, "coupon": "X"}]
                store(warehouse, Table("crm", "orders"), date(2020, 1, 20), sent)
                os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            return


class Dying:
    """A connection whose process ends when it is given one statement too many."""

    def __init__(self, run: Any, statements: int) -> None:
        self.run, self.left = run, statements

    def execute(self, *statement: Any) -> Any:
        self.left -= 1
        if not self.left:
            os._exit(9)
        return self.run.execute(*statement)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.run, name)


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
    """Edits, the days imported meanwhile, and the order of the days imported afterwards."""

    kind: str
    edits: list[Edit]
    meanwhile: list[int]
    afterwards: list[int]
    defined_after: int

    def happen(self, warehouse: Warehouse, orders: Table, crm: CRM) -> None:
        imports = 0

        def import_day(day: int) -> None:
            nonlocal imports
            store(warehouse, orders, DAYS[day], crm.updated_on(day, self.kind))
            imports += 1
            if imports == self.defined_after:
                with suppress(TableError):  # a column of the key may not have come yet
                    self.define(warehouse, orders)

        for day in range(len(DAYS)):
            for edit in self.edits:
                if edit.day == day:
                    crm.happen(edit)
            for past in self.meanwhile:
                if past <= day:
                    import_day(past)
        for day in self.afterwards:
            import_day(day)
        self.define(warehouse, orders)

    def define(self, warehouse: Warehouse, orders: Table) -> None:
        warehouse.define_latest(orders, ["shop", "id.number"], "meta.changedAt")


HISTORIES = st.builds(
    History,
    st.sampled_from(KINDS),
    st.builds(lambda edits: [ORDERED, *edits], st.lists(EDITS, max_size=7)),
    IMPORTS,
    st.builds(lambda days, again: [*again, *days], st.permutations(range(len(DAYS))), IMPORTS),
    st.integers(1, 8),
)


def is_as_the_snapshot(warehouse: Warehouse, history: History, *, moments: bool) -> None:
    crm = CRM(moments)
    orders = Table(new_dataset(), "orders")
    snapshot = Table(orders.dataset, "snapshot")
    history.happen(warehouse, orders, crm)
    store_snapshot(warehouse, snapshot, table_of(crm.snapshot()), attempt="1")
    assert rows_of(warehouse, orders) == rows_of(warehouse, snapshot)
    if isinstance(warehouse, DuckDBWarehouse):
        with warehouse._session() as run:  # thousands of tables would slow the next ones down
            run.execute(f"DROP SCHEMA {orders.dataset} CASCADE")
            for view in views(warehouse):
                run.execute(f'DROP VIEW feed_assets."{view}"')


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBWarehouse]:
    """One DuckDB file for all histories, and opened once."""
    with DuckDBWarehouse(tmp_path_factory.mktemp("latest") / "warehouse.duckdb") as opened:
        yield opened


@given(HISTORIES)
@settings(max_examples=60)
def test_the_view_is_as_the_snapshot_in_duckdb(file: DuckDBWarehouse, history: History) -> None:
    is_as_the_snapshot(file, history, moments=True)


@given(HISTORIES)
@settings(max_examples=12)
def test_the_view_is_as_the_snapshot_in_bigquery(bigquery: Emulator, history: History) -> None:
    """BigQuery may take either of two edits at one moment."""
    warehouse = BigQueryWarehouse(bigquery.client())
    is_as_the_snapshot(warehouse, history, moments=history.kind != "each edit")
