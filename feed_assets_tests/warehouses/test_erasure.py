"""An erasure deletes a person's rows in every table of a feed, on both warehouses."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from feed_assets.config.feed import Feed
from feed_assets.errors import SettingError
from feed_assets.importing import latest
from feed_assets.importing.erase_rows import Plan, make_plan, matching
from feed_assets.importing.import_feed import REJECTED
from feed_assets.ndjson.column_rules import hasher
from feed_assets.schema.columns import Column, arrow_schema
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Warehouse
from feed_assets.warehouse.conform import columns_in, conform
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.erasure import Condition, Equals, with_stored_names
from feed_assets.warehouse.read import read_table
from feed_assets_tests.support.storing import store_shard

Pairs = list[tuple[str, str]]
DAYS = [date(2019, 12, 31), date(2020, 1, 1), date(2020, 1, 2), date(2020, 1, 3)]
BY_DATE = {"partition_by_date": {"start_date": "2019-12-31"}, "key": ["no"], "updated_at": "at"}
SHARDS: list[dict[str, list[Any]]] = [
    {"no": [1, 2], "at": ["2019-12-31"] * 2},
    {"no": [1, 3], "at": ["2020-01-01"] * 2, "c": [{"id": "U7"}, {"id": "U8"}]},
    {"no": [1], "at": ["2020-01-02"], "c": [None]},
    {"no": [4], "at": ["2020-01-03"], "c": [{"id": "U7"}]},
]
REJECTED_ROWS = [(1, "bad", '{"no": 1'), (2, "bad", '{"c": {"id": "U7"'), (3, "bad", None)]


def feed(dataset: str, **attributes: Any) -> Feed:
    return Feed(**{"name": "orders", "url": "https://x.org/f", "dataset": dataset} | attributes)


def store_rejected(warehouse: Warehouse, table: Table) -> None:
    columns = [list(each) for each in zip(*REJECTED_ROWS, strict=True)]
    rows = pa.table(columns, arrow_schema(REJECTED))
    warehouse.replace(table, conform(rows, REJECTED), REJECTED, attempt=uuid4().hex)


@pytest.fixture
def orders(warehouse: Warehouse, dataset: str) -> Feed:
    return stored(warehouse, dataset)


def stored(warehouse: Warehouse, dataset: str) -> Feed:
    """A feed by date: four shards of two years, a table of rejected lines, the latest state."""
    made = feed(dataset, **BY_DATE)
    for day, columns in zip(DAYS, SHARDS, strict=True):
        store_shard(warehouse, made.destination, day, pa.table(columns), attempt=uuid4().hex)
    store_rejected(warehouse, made.destination.rejected.shard(DAYS[1]))
    latest.update(warehouse, made)
    return made


def plan(warehouse: Warehouse, feed: Feed, key: Pairs = [], where: Pairs = []) -> Plan:  # noqa: B006
    texts = [text for _, text in (*key, *where)]
    return make_plan(warehouse, feed, matching(feed, key, where), texts, by_key=bool(key))


def counted(warehouse: Warehouse, of: Plan) -> dict[str, int]:
    return {table.name: rows for table, rows in of.counts(warehouse).items()}


def numbers(warehouse: Warehouse, table: Table, column: str = "no") -> list[int]:
    return sorted(read_table(warehouse, table).column(column).to_pylist())


def test_a_key_is_erased_in_shards_rejected_lines_and_the_latest_state(
    warehouse: Warehouse, orders: Feed
) -> None:
    erasure = plan(warehouse, orders, key=[("no", "1")])
    table = orders.destination
    expected = dict.fromkeys(["orders_20191231", "orders_20200101", "orders_20200102"], 1)
    expected |= {"latest_orders": 1, "rejected_orders_20200101": 1}
    assert counted(warehouse, erasure) == expected
    assert numbers(warehouse, table) == [1, 2, 3, 4]  # nothing is deleted yet

    erasure.delete(warehouse)

    assert counted(warehouse, erasure) == {}
    assert [numbers(warehouse, table.shard(day)) for day in DAYS] == [[2], [3], [], [4]]
    assert numbers(warehouse, table) == [2, 3, 4]
    assert numbers(warehouse, table.rejected.shard(DAYS[1]), "line") == [2, 3]
    update = latest.update(warehouse, orders)
    assert update is not None
    assert update.days_applied == 0
    latest.update(warehouse, orders, full_refresh=True)
    assert numbers(warehouse, table) == [2, 3, 4]


def test_a_column_can_be_given_by_its_name_in_the_feed() -> None:
    columns = (Column("r", "RECORD", fields=(Column("order_id", "STRING", key="order id"),)),)
    given = Equals((("r.order id", "N1"),))
    assert with_stored_names(columns, given, "crm.orders") == Equals((("r.order_id", "N1"),))


class Killed(Exception):
    pass


class Dying:
    """A warehouse that dies before its nth deletion."""

    def __init__(self, warehouse: Warehouse, deletions: int) -> None:
        self._warehouse, self._left = warehouse, deletions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._warehouse, name)

    def delete_matching(self, table: Table, condition: Condition) -> None:
        if not self._left:
            raise Killed
        self._left -= 1
        self._warehouse.delete_matching(table, condition)


@pytest.mark.parametrize("deletions", [1, 3])
def test_erasing_by_another_column_restores_no_older_row_even_after_a_kill(
    warehouse: Warehouse, orders: Feed, deletions: int
) -> None:
    """Order 1 names the person in one shard, and neither in an older nor in the newest one."""
    where = [("c.id", "U7")]
    dying: Any = Dying(warehouse, deletions)
    with pytest.raises(Killed):
        plan(warehouse, orders, where=where).delete(dying)

    plan(warehouse, orders, where=where).delete(warehouse)

    table = orders.destination
    assert [numbers(warehouse, table.shard(day)) for day in DAYS] == [[2], [3], [], []]
    assert numbers(warehouse, table) == [2, 3]
    assert numbers(warehouse, table.rejected.shard(DAYS[1]), "line") == [1, 3]


def test_a_snapshot_is_erased_by_the_hash_of_the_value(
    warehouse: Warehouse, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HASH_KEY", "0123456789abcdef")
    columns = {"hash": ["tel"], "hash_key_env": "HASH_KEY"}
    made = feed(dataset, columns=columns)
    hashed = hasher(b"0123456789abcdef")("555")
    rows = pa.table({"no": [1, 2], "tel": [hashed, None]})
    kinds = columns_in(rows)
    warehouse.replace(made.destination, conform(rows, kinds), kinds, attempt=uuid4().hex)
    store_rejected(warehouse, made.destination.rejected)
    every = make_plan(warehouse, made, matching(made, [], [("tel", "555")]), None)
    assert counted(warehouse, every) == {"orders": 1, "rejected_orders": 3}

    every.delete(warehouse)

    assert numbers(warehouse, made.destination) == [2]


@pytest.mark.parametrize(
    ("key", "where", "says"),
    [
        ([], [], "name the rows of orders to erase: --key no=VALUE or --where COLUMN=VALUE"),
        ([("at", "x")], [], "--key does not name the key of orders: its key is no; use --where"),
        ([], [("email", "x")], r"orders has no column email; its columns are no, at, c$"),
        ([("no", "N1")], [], "the value given for no is not INTEGER; write it as the table has it"),
        ([], [("c", "x")], "c is RECORD, which has no single value to compare; name another"),
    ],
)
def test_an_invalid_erasure_is_refused_with_one_sentence(
    duckdb_file: Path, key: Pairs, where: Pairs, says: str
) -> None:
    warehouse = DuckDBWarehouse(duckdb_file)
    orders = stored(warehouse, "crm")
    with pytest.raises(SettingError, match=says):
        plan(warehouse, orders, key, where)


@pytest.mark.parametrize(
    ("value", "text", "other"),
    [
        ("x' \" \\ é", "x' \" \\ é", "x"),
        (1.5, "1.50", "2"),
        (True, "true", "false"),
        (date(2020, 1, 20), "2020-01-20", "2020-01-21"),
    ],
    ids=str,
)
def test_a_value_is_compared_in_the_columns_type(
    warehouse: Warehouse, dataset: str, value: Any, text: str, other: str
) -> None:
    made = feed(dataset)
    rows = pa.table({"it": [value]})
    kinds = columns_in(rows)
    warehouse.replace(made.destination, conform(rows, kinds), kinds, attempt=uuid4().hex)
    assert counted(warehouse, plan(warehouse, made, where=[("it", text)])) == {"orders": 1}
    assert counted(warehouse, plan(warehouse, made, where=[("it", other)])) == {}


def test_without_a_table_there_is_nothing_to_erase(warehouse: Warehouse, dataset: str) -> None:
    with pytest.raises(SettingError, match=r"\.orders does not exist yet, so there is no row"):
        plan(warehouse, feed(dataset), where=[("id", "1")])
