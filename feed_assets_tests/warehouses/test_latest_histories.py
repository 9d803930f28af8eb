"""After any history the latest state is the rule, computed over the shards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from feed_assets.schema.columns import Columns, columns_of
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Warehouse
from feed_assets.warehouse.bigquery.latest import row_query
from feed_assets.warehouse.bigquery.schema import fields_for, quoted
from feed_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from feed_assets.warehouse.duckdb.warehouse import IN_MEMORY, DuckDBWarehouse
from feed_assets.warehouse.latest_state import NEW, OLD, ROWS, Rule, day_column
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.bigquery.real import new_dataset
from feed_assets_tests.support.examples import examples
from feed_assets_tests.support.latest_oracle import Oracle, Row, Tie, by_position, by_values
from feed_assets_tests.support.storing import store_shard

DAYS = [date(2019, 12, 30), date(2019, 12, 31), date(2020, 1, 1), date(2020, 2, 1)]
NAMES = ("id", "at", "shop", "total", "coupon")
LINES = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from(["a", "b", "c", None]),
            "at": st.sampled_from([1, 2, 3, None]),
            "shop": st.sampled_from(["x", "y", None]),
            "total": st.sampled_from([1, 2]),
        },
        optional={"coupon": st.just("X")},
    ),
    max_size=5,
)
LOADS = st.tuples(st.sampled_from(DAYS), LINES)
STEPS = st.lists(
    st.one_of(
        st.lists(LOADS, min_size=1, max_size=3),
        st.sampled_from(DAYS),  # a shard that is dropped
        st.booleans(),  # totals get fractions from now on, or not
    ),
    max_size=6,
)
KEYS = st.sampled_from([("id",), ("id", "shop")])


@dataclass(frozen=True)
class History:
    """Random steps on shards; the latest state is updated after each."""

    key: Sequence[str]
    steps: Sequence[list[tuple[date, list[Row]]] | date | bool]


HISTORIES = st.builds(History, KEYS, STEPS)
ALL = [{"id": "a", "at": 1, "shop": "x", "total": 1}]
"""Rows of a first day with every column that is always there."""


def follow(warehouse: Warehouse, history: History, tie: Tie) -> None:
    """Make the history happen, and compare the latest state after each step."""
    table = Table(new_dataset(), "orders")
    oracle = Oracle(history.key, "at", tie)
    steps: list[Any] = [[(DAYS[0], ALL)], *history.steps]
    fractions = False
    for step in steps:
        if isinstance(step, bool):
            fractions = step
            continue
        if isinstance(step, date):
            if step in oracle.shards:
                drop(warehouse, table.shard(step))
                oracle.drop(step)
        else:
            for day, rows in step:
                half = 0.5 if fractions else 0
                loaded: list[Row] = [{**row, "total": row["total"] + half} for row in rows]
                arrow = arrow_of(loaded)
                store_shard(warehouse, table, day, arrow, attempt=uuid4().hex)
                oracle.load(day, loaded)
        warehouse.update_latest(table, history.key, "at")
        assert sorted_rows(warehouse.read(table.latest).to_pylist()) == sorted_rows(oracle.update())
    if isinstance(warehouse, DuckDBWarehouse):
        with warehouse._session() as run:  # thousands of tables would slow the next ones down
            run.execute(f"DROP SCHEMA {table.dataset} CASCADE")


def arrow_of(rows: Sequence[Row]) -> pa.Table:
    """The rows as a feed is read: without a column that no row has a value of."""
    return pa.table({name: [row.get(name) for row in rows] for name in NAMES})


def drop(warehouse: Warehouse, shard: Table) -> None:
    if isinstance(warehouse, DuckDBWarehouse):
        with warehouse._session() as run:
            run.execute(f"DROP TABLE {shard}")
    elif isinstance(warehouse, BigQueryWarehouse):
        warehouse._client.delete_table(str(shard))


def sorted_rows(rows: Iterable[Mapping[str, Any]]) -> list[list[Any]]:
    """Rows to compare: in no order, numbers by value, and without what is null."""

    def comparable(value: Any) -> Any:
        return float(value) if isinstance(value, int | float) else value

    found = [
        sorted((name, comparable(value)) for name, value in row.items() if value is not None)
        for row in rows
    ]
    return sorted(found, key=repr)


@pytest.fixture(scope="module")
def memory() -> Iterator[DuckDBWarehouse]:
    with DuckDBWarehouse(IN_MEMORY) as opened:
        yield opened


@given(HISTORIES)
@examples(30)
def test_after_any_history_the_latest_state_in_duckdb_follows_the_rule(
    memory: DuckDBWarehouse, history: History
) -> None:
    follow(memory, history, by_position)


@given(HISTORIES)
@examples(4)
def test_after_any_history_the_latest_state_in_bigquery_follows_the_rule(
    bigquery: Emulator, history: History
) -> None:
    follow(BigQueryWarehouse(bigquery.client()), history, by_values(NAMES))


def test_without_the_search_in_other_days_the_latest_state_is_wrong(
    memory: DuckDBWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without that search the histories fail, so they do test it."""
    lost = Rule.lost

    def none_is_lost(self: Rule, latest: str, incoming: str, days: Iterable[date]) -> str:
        return f"{lost(self, latest, incoming, days)} AND FALSE"

    monkeypatch.setattr(Rule, "lost", none_is_lost)

    @given(HISTORIES)
    @settings(max_examples=80, phases=[Phase.generate], report_multiple_bugs=False)
    def follow_any(history: History) -> None:
        follow(memory, history, by_position)

    with pytest.raises(AssertionError):
        follow_any()


# --- the SQL on Google's reference engine


LATEST, SHARDS = "p.d.latest_orders", "p.d.orders_"


@given(KEYS, st.lists(st.lists(LOADS, min_size=1, max_size=3), min_size=1, max_size=3))
@examples(6)
def test_on_googles_reference_engine_the_statements_follow_the_rule(
    key: Sequence[str], steps: list[list[tuple[date, list[Row]]]]
) -> None:
    from feed_assets_tests.support.bigquery.analyzer import evaluate

    columns = columns_of(arrow_of([{**ALL[0], "coupon": "X"}]).schema)
    rule = Rule.of(Table("d", "orders"), columns, key, "at", quoted)
    oracle = Oracle(key, "at", by_values(NAMES))
    latest: list[Row] = []
    shard_fields, state_fields = fields_for(columns), fields_for((*columns, day_column()))

    def rows_of(days: Sequence[date], tables: Mapping[str, Any], join: str = "") -> list[Row]:
        sql = row_query(rule, SHARDS, days, columns, columns, join)
        return evaluate(sql, tables)

    for loads in steps:
        for day, rows in loads:
            oracle.load(day, [{name: row.get(name) for name in NAMES} for row in rows])
        changed = sorted({day for day, _ in loads})
        tables: dict[str, Any] = {
            f"{SHARDS}{day:%Y%m%d}": (shard_fields, rows) for day, rows in oracle.shards.items()
        }
        incoming = rows_of(changed, tables)
        tables |= {LATEST: (state_fields, latest), "incoming": (state_fields, incoming)}
        lost = evaluate(rule.lost(quoted(LATEST), "incoming", changed), tables)
        others = sorted(oracle.shards.keys() - set(changed))
        if lost and others:
            names = [f"key_{number}" for number in range(len(key))]
            keys = ([{"name": name, "type": "STRING"} for name in names], lost)
            found = rows_of(others, {**tables, "lost": keys}, rule.is_lost(ROWS, "lost"))
            tables["incoming"] = (state_fields, [*incoming, *found])
        latest = evaluate(merged(rule, columns, changed), tables)
        assert sorted_rows(latest) == sorted_rows(oracle.update())


def merged(rule: Rule, columns: Columns, days: Sequence[date]) -> str:
    """Write `Rule.merge` as a query for its result: the engine evaluates no MERGE."""
    source = rule.source("incoming")
    among = ", ".join(f"DATE '{day}'" for day in days)
    names = [*(column.name for column in columns), "_day"]
    either = ", ".join(
        f"IF({NEW}._day IS NOT NULL AND {rule.replaces(days)}, {NEW}.{name}, {OLD}.{name}) "
        f"AS {name}"
        for name in map(quoted, names)
    )
    inserted = ", ".join(f"{NEW}.{name}" for name in map(quoted, names))
    latest, added = f"{quoted(LATEST)} AS {OLD}", f"{source} AS {NEW}"
    return (
        f"SELECT {either} FROM {latest} LEFT JOIN {added} ON {rule.same} "
        f"WHERE {NEW}._day IS NOT NULL OR {OLD}._day NOT IN ({among}) "
        f"UNION ALL SELECT {inserted} FROM {added} LEFT JOIN {latest} ON {rule.same} "
        f"WHERE {OLD}._day IS NULL"
    )
