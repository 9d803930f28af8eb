"""A column of a shard holds one key of the feed, whatever else comes on which day."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed_assets.byte_source import GrowingByteSource, unnamed_temp_file
from feed_assets.config.feed import Feed
from feed_assets.download import Download
from feed_assets.download.prefetch import PendingDay
from feed_assets.errors import NotOurs, TableError, TypeConflict
from feed_assets.importing.import_feed import Import, store
from feed_assets.schema.arrow_metadata import shorten_key
from feed_assets.schema.columns import Columns
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import KnownColumns, PendingMigration, Warehouse
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.read import read_table
from feed_assets.warehouse.store import store_snapshot
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.examples import examples

DAYS = [date(2020, 1, day) for day in range(1, 9)]
Row = Mapping[str, Any]


class Together(GrowingByteSource):
    """A feed that sends no byte until the others are being read, too."""

    def __init__(
        self, file: IO[bytes], rows: Sequence[Row], all_reading: threading.Barrier
    ) -> None:
        super().__init__(file)
        self.write("".join(f"{json.dumps(row)}\n" for row in rows).encode())
        self.end()
        self._all_reading: threading.Barrier | None = all_reading

    def wait_for(self, wanted: int) -> int:
        if self._all_reading is not None:
            barrier, self._all_reading = self._all_reading, None
            barrier.wait()
        return super().wait_for(wanted)


def import_day(
    warehouse: Warehouse,
    table: Table,
    day: date,
    *rows: Row,
    attempt: str = "1",
    all_reading: threading.Barrier | None = None,
    **attributes: Any,
) -> Import:
    feed = Feed(
        name=table.name,
        url="https://example.com/feed",
        dataset=table.dataset,
        partition_by_date={"start_date": "2020-01-01"},
        **attributes,
    )
    with unnamed_temp_file() as file:
        source = Together(file, rows, all_reading or threading.Barrier(1))
        delivery = PendingDay(feed, day, Download(feed.url, source))
        return store(delivery, warehouse, attempt=f"{day} {attempt}")


def columns_by_key(warehouse: Warehouse, table: Table) -> dict[str, str]:
    return dict(_paths(warehouse.known(table).columns, (), ()))


def _paths(
    columns: Columns, source: tuple[str, ...], stored: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    for column in columns:
        here = (*source, column.source_key), (*stored, column.name)
        yield " / ".join(here[0]), ".".join(here[1])
        yield from _paths(column.fields, *here)


# --- one key, one column


@pytest.mark.parametrize(
    ("days", "columns"),
    [
        ([{"status": 1, "Status": 2}, {"status": 3}], {"Status": "Status", "status": "status_2"}),
        ([{"status": 1}, {"Status": 2}], {"status": "status", "Status": "Status_2"}),
        ([{"Status": 1}, {"status": "x"}], {"Status": "Status", "status": "status_2"}),
        ([{"a b": 1}, {"a-b": 2}, {"a_b": 3}], {"a b": "a_b", "a-b": "a_b_2", "a_b": "a_b_3"}),
        ([{"A": 1, "a": 2}, {"a_2": 3}], {"A": "A", "a": "a_2", "a_2": "a_2_2"}),
        ([{"a_2": 1}, {"A": 2, "a": 3}], {"a_2": "a_2", "A": "A", "a": "a_3"}),
        ([{"": 1}, {"_": 2}, {"!": 3}], {"": "_", "_": "__2", "!": "__3"}),
        (
            [{"r": {"x y": 1}}, {"r": {"x-y": 2}}, {"r!": {"x-y": 3}}],
            {
                "r": "r",
                "r / x y": "r.x_y",
                "r / x-y": "r.x_y_2",
                "r!": "r_",
                "r! / x-y": "r_.x_y",
            },
        ),
        (
            [{"r": [{"x y": [1]}]}, {"r": [{"x-y": [2]}, {"x y": [3]}]}],
            {"r": "r", "r / x y": "r.x_y", "r / x-y": "r.x_y_2"},
        ),
        ([{'"\\\n\0 ü 🎉 Sent as "x". Now STRING.': 1}] * 2, None),
        ([{"Has held integers beyond 2^53, which no FLOAT holds.": 1}] * 2, None),
    ],
    ids=str,
)
def test_a_key_keeps_its_column_and_no_other_key_gets_it(
    warehouse: Warehouse, orders: Table, days: list[Row], columns: dict[str, str] | None
) -> None:
    for day, row in zip(DAYS, days, strict=False):
        import_day(warehouse, orders, day, row)

    found = columns_by_key(warehouse, orders)
    assert found == columns if columns else found.keys() == days[0].keys()
    for day, row in zip(DAYS, days, strict=False):
        assert stored_leaves(warehouse, orders, day) == leaves_of([row])


def test_a_renamed_key_is_reported_on_each_day_that_has_it(
    warehouse: Warehouse, orders: Table
) -> None:
    days: list[tuple[Row, Row]] = [
        ({"a b": 1, "r": {"x y": 1}}, {"a b": "a_b", "r.x y": "r.x_y"}),
        ({"a-b": 1, "r": {"x-y": 1}}, {"a-b": "a_b_2", "r.x-y": "r.x_y_2"}),
        ({"a-b": 2, "r": {"z": 2}}, {"a-b": "a_b_2"}),
        ({"a b": 2, "a_b": None}, {"a b": "a_b"}),
    ]
    for day, (row, renamed) in zip(DAYS, days, strict=False):
        assert import_day(warehouse, orders, day, row).reading.renamed == renamed


def test_a_key_too_long_to_be_recorded_is_recognized_by_its_digest(
    warehouse: Warehouse, orders: Table
) -> None:
    long = ["x" * 2000, "x" * 1999 + "y", "🎉" * 400, "🎉" * 400 + "!"]
    for day, key in zip(DAYS, [*long, *long], strict=True):
        import_day(warehouse, orders, day, {key: key[-1], "r": {key: 1}})

    known = warehouse.known(orders).columns
    assert [column.name for column in known] == [
        "x" * 300,
        "r",
        "x" * 298 + "_2",
        "_" * 300,
        "_" * 298 + "_2",
    ]
    for number, key in enumerate([*long, *long]):
        (row,) = read_table(warehouse, orders.shard(DAYS[number])).to_pylist()
        (name,) = (column.name for column in known if column.key == shorten_key(key))
        assert row[name] == key[-1]
        assert row["r"][name] == 1


def test_a_key_that_looks_like_a_digest_is_hashed_too() -> None:
    long = "x" * 2000
    assert shorten_key(shorten_key(long)) != shorten_key(long)
    assert shorten_key("x" * 898) == "x" * 898
    assert len(shorten_key("x" * 899)) == len(shorten_key("🎉" * 75)) == 71


# --- what a feed's author declares


def test_a_declared_type_belongs_to_the_key_whatever_its_column_is_named(
    warehouse: Warehouse, orders: Table
) -> None:
    types = {"a-b": "STRING", "r.x-y": "STRING"}
    import_day(warehouse, orders, DAYS[0], {"a b": 1, "r": {"x y": 1}})
    import_day(warehouse, orders, DAYS[1], {"a-b": 2, "r": {"x-y": 2}})
    import_day(warehouse, orders, DAYS[2], {"a b": 3, "r": {"x y": 3}}, types=types)
    import_day(warehouse, orders, DAYS[3], {"a-b": "x", "r": {"x-y": "x"}}, types=types)

    known, record = warehouse.known(orders).columns[:2], warehouse.known(orders).columns[1]
    assert [(column.name, column.type) for column in known] == [("a_b", "INTEGER"), ("r", "RECORD")]
    assert [(f.name, f.type) for f in record.fields] == [("x_y", "INTEGER"), ("x_y_2", "STRING")]
    (row,) = read_table(warehouse, orders.shard(DAYS[3])).to_pylist()
    assert row == {"a_b": None, "r": {"x_y": None, "x_y_2": "x"}, "a_b_2": "x"}


def test_a_type_conflict_names_the_column_and_the_key(warehouse: Warehouse, orders: Table) -> None:
    import_day(warehouse, orders, DAYS[0], {"r!": [{"x y": "text"}]})
    import_day(warehouse, orders, DAYS[1], {"r!": [{"x-y": 1}]})

    rows: list[Row] = [{"r!": [{"x y": "n/a"}]}, {"r!": [{"x-y": 2}, {"x-y": "n/a"}]}]
    with pytest.raises(TypeConflict) as refused:
        import_day(warehouse, orders, DAYS[2], *rows)

    assert refused.value.column == "r_.x_y_2"
    assert refused.value.declare == "r!.x-y"
    assert refused.value.line == 2
    types = {refused.value.declare: "STRING"}
    import_day(warehouse, orders, DAYS[2], *rows, attempt="2", types=types)
    assert stored_leaves(warehouse, orders, DAYS[2]) == leaves_of(
        [{"r!": [{"x y": "n/a"}]}, {"r!": [{"x-y": "2"}, {"x-y": "n/a"}]}]
    )


def test_the_latest_state_finds_key_and_time_by_their_names_in_the_feed(
    warehouse: Warehouse, orders: Table
) -> None:
    for day, state in zip(DAYS, ("received", "shipped"), strict=False):
        row = {"ID": state, "id": "N1", "at-": "x", "at.": f"{day}", "state": state}
        import_day(warehouse, orders, day, row)
    assert columns_by_key(warehouse, orders)["id"] == "id_2"

    for key, rows in ((["id"], 1), (["id_2"], 1), (["ID"], 2)):
        assert warehouse.update_latest(orders, key, "at.")
        assert read_table(warehouse, orders).num_rows == rows
    warehouse.update_latest(orders, ["id"], "at.")
    assert read_table(warehouse, orders).column("state").to_pylist() == ["shipped"]

    for key, at in ((["Id"], "at."), (["id"], "AT.")):
        with pytest.raises(TableError, match="no column"):
            warehouse.update_latest(orders, key, at)


# --- imports at once


def test_days_imported_at_once_end_with_each_key_in_one_column(
    closed_warehouse: Warehouse, orders: Table
) -> None:
    """All imports have read their feed before the first one records its columns."""
    rows: list[Row] = [
        {"id": "0", "a b": "0", "r": {"x y": "0"}},
        {"id": "1", "a-b": "1", "r": {"x-y": "1"}},
        {"id": "2", "a_b": "2", "r": {"X_Y": "2"}},
        {"id": "3", "A_B": "3", "a b": "3", "s": [{"x y": "3"}]},
        {"id": "4", "a-b": "4", "A B": "4", "s": [{"x-y": "4"}]},
    ]
    all_reading = threading.Barrier(len(rows))

    def import_number(number: int) -> None:
        import_day(closed_warehouse, orders, DAYS[number], rows[number], all_reading=all_reading)

    with ThreadPoolExecutor(len(rows)) as pool:
        list(pool.map(import_number, range(len(rows))))

    columns = columns_by_key(closed_warehouse, orders)
    assert columns.keys() == {"id", "a b", "a-b", "a_b", "A_B", "A B", "r", "s"} | {
        "r / x y",
        "r / x-y",
        "r / X_Y",
        "s / x y",
        "s / x-y",
    }
    assert len({name.casefold() for name in columns.values()}) == len(columns)
    for day, row in zip(DAYS, rows, strict=False):
        assert stored_leaves(closed_warehouse, orders, day) == leaves_of([row])


# --- bookkeeping of before


def test_a_column_without_a_recorded_key_has_its_own_name_as_key(
    duckdb_file: Path, orders: Table
) -> None:
    warehouse = DuckDBWarehouse(duckdb_file)
    column = {"type": "STRING", "repeated": False, "fields": [], "long": False}
    old = [{"name": "order_id", **column}, {"name": "ID", **column}]
    assert warehouse.record_columns(
        Table("crm", "leads"), (), PendingMigration.NOTHING, expected=KnownColumns()
    )
    with warehouse:
        assert warehouse._connection is not None
        warehouse._connection.execute(
            "INSERT INTO feed_assets.known_columns VALUES (?, 1, 0, ?)",
            [str(orders), json.dumps(old)],
        )

    import_day(warehouse, orders, DAYS[0], {"order_id": "x", "order-id": "y", "id": "z"})

    assert columns_by_key(warehouse, orders) == {
        "order_id": "order_id",
        "ID": "ID",
        "order-id": "order_id_2",
        "id": "id_2",
    }


@pytest.mark.parametrize("name", ["known_columns", "Known_Columns"])
def test_tables_of_our_own_schema_are_never_replaced(duckdb_file: Path, name: str) -> None:
    warehouse = DuckDBWarehouse(duckdb_file)
    with pytest.raises(NotOurs, match="use another name"):
        store_snapshot(warehouse, Table("Feed_Assets", name), pa.table({"id": [1]}), attempt="1")


# --- any history

KEYS = ["a", "A", "a b", "a-b", "a_b", "a_2", "A_2", "a b_2", "_1", "1"]
SOME = st.frozensets(st.sampled_from(KEYS), max_size=4)
ROWS = st.lists(st.dictionaries(st.sampled_from(KEYS), SOME, max_size=5), max_size=3)
HISTORIES = st.tuples(
    SOME, SOME, st.lists(st.tuples(st.integers(0, 2), ROWS), min_size=1, max_size=5)
)
"""Keys that are records, keys that are arrays of records, and the imports: a day and its rows."""

History = tuple[frozenset[str], frozenset[str], list[tuple[int, list[dict[str, frozenset[str]]]]]]


def leaves_of(rows: Sequence[Any]) -> Counter[tuple[str, ...]]:
    """Count every value with the keys that lead to it, in no order."""
    return Counter(leaf for row in rows for leaf in _leaves(row))


def _leaves(value: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        yield from ((key, *leaf) for key, each in value.items() for leaf in _leaves(each))
    elif isinstance(value, list):
        yield from (leaf for each in value for leaf in _leaves(each))
    elif value is not None:
        yield (json.dumps(value),)


def stored_leaves(warehouse: Warehouse, table: Table, day: date) -> Counter[tuple[str, ...]]:
    """Count the leaves of a shard, under the source keys recorded for its columns."""
    known = warehouse.known(table).columns
    rows = read_table(warehouse, table.shard(day)).to_pylist()
    return leaves_of([_with_source_keys(row, known) for row in rows])


def _with_source_keys(value: Any, known: Columns) -> Any:
    if isinstance(value, list):
        return [_with_source_keys(each, known) for each in value]
    if isinstance(value, dict):
        columns = {column.name: column for column in known}
        return {
            columns[name].source_key: _with_source_keys(each, columns[name].fields)
            for name, each in value.items()
        }
    return value


def rows_in_feed(history: History) -> Iterator[tuple[date, list[Row]]]:
    """Yield the rows of each import; no two values are the same text."""
    records, lists, imports = history
    for turn, (day, rows) in enumerate(imports):
        made: list[Row] = []
        for number, row in enumerate(rows):
            of_row: dict[str, Any] = {"id": f"{turn} {number}"}
            for key, inner in row.items():
                record = {each: f"{turn} {number} {key} / {each}" for each in sorted(inner)}
                if key in records:
                    of_row[key] = record
                elif key in lists:
                    of_row[key] = [record, {}, record]
                else:
                    of_row[key] = f"{turn} {number} {key}" if inner else None
            made.append(of_row)
        yield DAYS[day], made


def follow(warehouse: Warehouse, table: Table, history: History) -> None:
    last: dict[date, list[Row]] = {}
    columns: dict[str, str] = {}
    for turn, (day, rows) in enumerate(rows_in_feed(history)):
        stored = import_day(warehouse, table, day, *rows, attempt=str(turn)).stored
        before, columns = columns, columns_by_key(warehouse, table)
        assert before.items() <= columns.items()
        if stored.table is not None:
            last[day] = rows
    assert len({name.casefold() for name in columns.values()}) == len(columns)
    for day, rows in last.items():
        assert stored_leaves(warehouse, table, day) == leaves_of(rows)


@examples(40)
@given(history=HISTORIES)
def test_in_any_history_each_value_is_in_the_column_of_its_key(history: History) -> None:
    with DuckDBWarehouse(Path(":memory:")) as warehouse:
        follow(warehouse, Table("crm", "orders"), history)


@examples(8)
@given(history=HISTORIES)
def test_in_any_history_bigquery_has_each_value_in_the_column_of_its_key(
    bigquery: Emulator, history: History
) -> None:
    warehouse = BigQueryWarehouse(bigquery.client())
    follow(warehouse, Table(f"crm_{uuid4().hex[:12]}", "orders"), history)
