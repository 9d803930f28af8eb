"""One query over all shards sees all rows, whatever the days bring and in whatever order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed_assets.byte_source import GrowingByteSource, unnamed_temp_file
from feed_assets.config.feed import Feed
from feed_assets.download import Download
from feed_assets.download.prefetch import PendingDay
from feed_assets.importing.import_feed import store
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import PendingMigration, Warehouse
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.bigquery.real import new_dataset
from feed_assets_tests.support.examples import TIMES, examples

pytestmark = pytest.mark.timeout(300 * TIMES)

Row = Mapping[str, Any]

UNTYPED: st.SearchStrategy[Any] = st.sampled_from([None, [], {}])
WHOLE = st.integers(-(2**53), 2**53)
NUMBER = st.one_of(WHOLE, st.sampled_from([0.5, -1e300, 1e-7]))
FIELDS = {"whole": WHOLE, "number": NUMBER, "text": st.just("x"), "untyped": UNTYPED}
RECORD = st.fixed_dictionaries({}, optional=FIELDS)
COLUMNS = {
    "whole": st.one_of(WHOLE, st.none()),
    "number": NUMBER,
    "text": st.sampled_from(["", "x", "ä\n"]),
    "yes": st.booleans(),
    "day": st.just("2020-02-29"),
    "record": st.one_of(RECORD, UNTYPED.filter(lambda value: value != [])),
    "numbers": st.lists(st.one_of(NUMBER, st.none()), max_size=3),
    "records": st.lists(st.fixed_dictionaries({"id": WHOLE}, optional=FIELDS), max_size=2),
    "untyped": UNTYPED,
}
ROWS = st.lists(st.fixed_dictionaries({}, optional=COLUMNS), max_size=3)


@dataclass(frozen=True)
class Step:
    """Days that are imported at once, each with its rows."""

    days: Mapping[int, Sequence[Row]]


def histories(at_once: int) -> st.SearchStrategy[list[Step]]:
    """Imports of up to six days, in any order, some again, up to so many of them at once."""
    step = st.dictionaries(st.integers(1, 6), ROWS, min_size=1, max_size=at_once).map(Step)
    return st.lists(step, min_size=1, max_size=6)


@contextmanager
def body(rows: Sequence[Row]) -> Iterator[GrowingByteSource]:
    """The rows as a feed that has arrived."""
    with unnamed_temp_file() as file:
        arriving = GrowingByteSource(file)
        arriving.write("".join(f"{json.dumps(row)}\n" for row in rows).encode())
        arriving.end()
        yield arriving


def run(warehouse: Warehouse, table: Table, history: Sequence[Step]) -> dict[int, Sequence[Row]]:
    """Import the history. Return the last rows of each day."""
    feed = Feed(
        name=table.name,
        url="https://example.com/feed",
        dataset=table.dataset,
        partition_by_date={"start_date": "2020-01-01"},
    )

    def import_day(day: int, rows: Sequence[Row]) -> None:
        # an id in each row, because a feed with no values at all is refused
        with body([{"id": f"{day}.{place}", **row} for place, row in enumerate(rows)]) as source:
            delivery = PendingDay(feed, date(2020, 1, day), Download(feed.url, source))
            store(delivery, warehouse, attempt=uuid4().hex)

    rows_by_day: dict[int, Sequence[Row]] = {}
    for step in history:
        if len(step.days) == 1:
            import_day(*next(iter(step.days.items())))
        else:
            with ThreadPoolExecutor(len(step.days)) as pool:
                for done in [pool.submit(import_day, *each) for each in step.days.items()]:
                    done.result()
        rows_by_day |= step.days
    return rows_by_day


def expected(history: Sequence[Step], rows_by_day: Mapping[int, Sequence[Row]]) -> dict[str, Row]:
    """Return every row by its id, without empty values, with the types of all shards together."""
    ever = [row for step in history for rows in step.days.values() for row in rows]
    fractions = {path for row in ever for path, value in leaves(row) if isinstance(value, float)}
    return {
        f"{day}.{place}": plain(row, fractions)
        for day, rows in rows_by_day.items()
        for place, row in enumerate(rows)
    }


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every scalar in a value, with its path."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from leaves(each, f"{path}.{name}")
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each, path)
    else:
        yield path, value


def plain(value: Any, fractions: set[str], path: str = "") -> Any:
    """Return the value as stored: FLOAT after any fraction; no null, empty or untyped values."""
    if isinstance(value, dict):
        found = {name: plain(each, fractions, f"{path}.{name}") for name, each in value.items()}
        return {name: each for name, each in found.items() if each not in (None, [], {})}
    if isinstance(value, list):
        return [plain(each, fractions, path) for each in value if each is not None]
    if path in fractions and value is not None:
        return float(value)
    return f"{value} 00:00:00" if path == ".day" else value


def stored(rows: Sequence[Row]) -> dict[str, Row]:
    """Return the rows of a query by id, without empty values."""
    return {
        row["id"]: plain(
            {k: str(v) if k == "day" and v else v for k, v in row.items() if k != "id"},
            set(),
            "stored",
        )
        for row in rows
    }


def in_duckdb(warehouse: DuckDBWarehouse, table: Table) -> tuple[list[str], list[Row]]:
    """Return columns and rows of all shards, joined by name as a user would query them."""
    union = " UNION ALL BY NAME ".join(f"FROM {shard}" for shard in warehouse.shards(table))
    with warehouse:
        assert warehouse._connection is not None
        answer = warehouse._connection.execute(union).to_arrow_table()
    return answer.column_names, answer.to_pylist()


def check(
    warehouse: Warehouse,
    table: Table,
    history: Sequence[Step],
    ask: Callable[[], tuple[list[str], list[Row]]],
) -> None:
    rows_by_day = run(warehouse, table, history)
    known = warehouse.known(table)
    if not known.columns:
        assert not warehouse.shards(table)
        return
    names, rows = ask()
    assert len(rows) == sum(len(rows) for rows in rows_by_day.values())
    assert stored(rows) == expected(history, rows_by_day)
    assert set(names) == {column.name for column in known.columns}
    assert known.pending is PendingMigration.NOTHING
    assert "untyped" not in names


@given(histories(at_once=1))
@examples(40)
def test_in_any_history_duckdbs_shards_have_every_column_and_row(history: list[Step]) -> None:
    warehouse, table = DuckDBWarehouse(Path(":memory:")), Table("crm", "orders")
    with warehouse:  # keeps the database open, in memory
        check(warehouse, table, history, lambda: in_duckdb(warehouse, table))


@given(histories(at_once=3))
@examples(8)
def test_in_any_history_of_concurrent_days_duckdbs_shards_have_every_column_and_row(
    tmp_path_factory: Any, history: list[Step]
) -> None:
    path = tmp_path_factory.mktemp("histories") / "warehouse.duckdb"
    warehouse, table = DuckDBWarehouse(path), Table("crm", "orders")
    check(warehouse, table, history, lambda: in_duckdb(warehouse, table))


@given(histories(at_once=3))
@examples(10)
def test_in_any_history_bigquerys_wildcard_query_sees_every_column_and_row(
    bigquery: Emulator, history: list[Step]
) -> None:
    client = bigquery.client()
    warehouse, table = BigQueryWarehouse(client), Table(new_dataset(), "orders")

    def ask() -> tuple[list[str], list[Row]]:
        answer = client.query_and_wait(f"SELECT * FROM `{table}_*`")
        return [field.name for field in answer.schema], [dict(row.items()) for row in answer]

    check(warehouse, table, history, ask)


def test_duckdb_joins_shards_by_name() -> None:
    """The query of `in_duckdb` sees a column that only one shard has."""
    with duckdb.connect() as connection:
        answer = connection.execute("SELECT 1 AS a UNION ALL BY NAME SELECT 2 AS b").fetchall()
    assert answer == [(1, None), (None, 2)]
