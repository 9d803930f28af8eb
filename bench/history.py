"""One more day after few days and after thousands: does it cost the same?

python -m bench.history FOLDER [--days N ...] [--rows N] [--rounds N]

DuckDB: each import opens the file twice, as those of feeds do: to ask what columns are known, and
to store. Beside it is what DuckDB takes on the same file without feed_assets, to open it twice and
make one table: its catalog is read and written whole. The latest state has as many keys after 10
days as after 3,000.

BigQuery: the statements of one update of the latest state, without a server, and the tables that
they name; of a wildcard, the shards that its filter selects.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import duckdb
import pyarrow as pa

from feed_assets.schema.columns import columns_of
from feed_assets.schema.table import Table
from feed_assets.warehouse.bigquery.client import BigQueryClient
from feed_assets.warehouse.bigquery.latest import Changes, LatestTable, Shards
from feed_assets.warehouse.bigquery.schema import quoted
from feed_assets.warehouse.bigquery.warehouse import emulator_client
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.latest_state import Ledger, Rule, day_column
from feed_assets.warehouse.store import known_columns
from feed_assets_tests.support.storing import store_shard

_ORDERS = Table("crm", "orders")
_KEY, _ORDER = ["orderId"], "updatedAt"
_LAST = date(2024, 6, 10)  # the last older day, in the middle of a month
_KEYS = 5_000


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", type=int, nargs="+", default=[10, 1000, 3000])
    parser.add_argument("--rows", type=int, default=1000, help="a day")
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 10))
    asked = parser.parse_args()
    print("| days before | in DuckDB | seconds (median) | DuckDB alone | statements |")
    print("|---|---|---|---|---|")
    for days in asked.days:
        path = asked.folder / "history.duckdb"
        path.unlink(missing_ok=True)
        fill(path, days, asked.rows)
        alone = [seconds(partial(bare, path, asked.rows)) for _ in range(asked.rounds)]
        for what, turn in turns(path, asked.rows).items():
            taken, statements = zip(*(counted(turn, n) for n in range(asked.rounds)), strict=True)
            print(
                f"| {days} | {what} | {statistics.median(taken):.3f} | "
                f"{statistics.median(alone):.3f} | {'-'.join(map(str, sorted(set(statements))))} |"
            )
        path.unlink()
    print()
    print("| days before | in BigQuery | statements | tables | shards read |")
    print("|---|---|---|---|---|")
    for days in asked.days:
        for what, day in {"one more day": _LAST + timedelta(days=1), "a day again": _LAST}.items():
            print(f"| {days} | latest state: {what} | {' | '.join(map(str, update(days, day)))} |")


def fill(path: Path, days: int, rows: int) -> None:
    """Make a file with so many shards and their latest state."""
    with DuckDBWarehouse(path) as warehouse:
        for before in range(days - 1, -1, -1):
            store(warehouse, _LAST - timedelta(days=before), rows)
        warehouse.update_latest(_ORDERS, _KEY, _ORDER)


def turns(path: Path, rows: int) -> dict[str, Callable[[int], object]]:
    """Steps by name, called with the number of the round; some return their own seconds."""

    def imported(day: date, *new: str) -> object:
        return store(DuckDBWarehouse(path), day, rows, *new)

    def updated(number: int) -> object:
        return DuckDBWarehouse(path).update_latest(_ORDERS, _KEY, _ORDER)

    def opened(number: int) -> object:
        with duckdb.connect(str(path), read_only=True) as run:
            return run.execute(f"SELECT 1 FROM {_ORDERS} LIMIT 0").fetchall()

    def queried(number: int) -> float:
        query = "SELECT status, count(*) FROM crm.orders GROUP BY ALL"
        with duckdb.connect(str(path), read_only=True) as run:
            run.execute(f"SELECT 1 FROM {_ORDERS} LIMIT 0")  # DuckDB reads its catalog
            return seconds(lambda: run.execute(query).fetchall())

    def both(day: Callable[[int], date]) -> Callable[[int], object]:
        return lambda number: (imported(day(number)), updated(number))

    return {
        "one more day": lambda number: imported(_LAST + timedelta(days=number + 1)),
        "a day again": lambda number: imported(_LAST),
        "one more day, one new column": lambda number: imported(
            _LAST + timedelta(days=number + 10), f"new{number}"
        ),
        "latest state: nothing new": updated,
        "one more day, and the latest state": both(lambda number: _LAST + timedelta(number + 20)),
        "a day again, and the latest state": both(lambda number: _LAST),
        "the file opened, and nothing else": opened,
        "a query of the latest state in the open file": queried,
    }


def update(days: int, day: date) -> tuple[int, int, int]:
    """Statements of one update in BigQuery after so many days, and the tables that it reads."""
    columns = columns_of(orders(_LAST, 1).schema)
    client = BigQueryClient(emulator_client("project", "EU"))
    rule = Rule.of(_ORDERS, columns, _KEY, _ORDER, quoted)
    shards = {_LAST - timedelta(days=before): "1 1 1" for before in range(days)} | {day: "2 2 1"}
    names = [_ORDERS.shard(each).name for each in sorted(shards)]
    known = {Table("crm", name): columns for name in names}
    latest = LatestTable(client, _ORDERS, columns, rule, known)
    changes = Changes(
        latest,
        (*columns, day_column()),
        Shards(_ORDERS, names, shards),
        {day: shards[day]},
        Ledger("basis", "version"),
        "basis",
        rebuild=False,
    )
    script = "".join(changes.statements(search=False))
    named = set(re.findall(r"`project\.crm\.([^`]+)`", script))
    read = {name for name in named if name.startswith("orders_")}
    return script.count(";\n"), len(named), len(read)


def store(warehouse: DuckDBWarehouse, day: date, rows: int, *new: str) -> None:
    """An import of a day, from what its feed was read to."""
    with warehouse:
        known_columns(warehouse, _ORDERS)
    with warehouse:
        store_shard(warehouse, _ORDERS, day, orders(day, rows, *new), attempt=uuid4().hex)


def bare(path: Path, rows: int) -> None:
    """The same without feed_assets."""
    duckdb.connect(str(path)).close()
    with duckdb.connect(str(path)) as run:
        run.register("incoming_rows", orders(_LAST, rows))
        run.execute("CREATE OR REPLACE TABLE alone AS FROM incoming_rows")


def orders(day: date, rows: int, *new: str) -> pa.Table:
    """Rows of a day: of so many orders as there ever are, a third had the day before, too."""
    first = day.toordinal() * rows * 2 // 3
    columns = {
        "orderId": [f"N{(first + number) % _KEYS}" for number in range(rows)],
        "updatedAt": [datetime.combine(day, datetime.min.time())] * rows,
        "total": [number / 4 for number in range(rows)],
        "status": ["received"] * rows,
    }
    return pa.table(columns | {name: ["x"] * rows for name in new})


def seconds(doing: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    doing()
    return time.perf_counter() - started


def counted(turn: Callable[[int], object], number: int) -> tuple[float, int]:
    """Seconds and statements of a round."""
    statements: list[object] = []
    with counting(statements):
        started = time.perf_counter()
        own = turn(number)
        taken = time.perf_counter() - started
    return own if isinstance(own, float) else taken, len(statements)


@contextmanager
def counting(statements: list[object]) -> Iterator[None]:
    """Collect the statements that run on new connections."""
    connect = duckdb.connect

    class Counting:
        def __init__(self, *given: Any, **options: Any) -> None:
            self.run = connect(*given, **options)

        def execute(self, *statement: Any) -> Any:
            statements.append(statement)
            return self.run.execute(*statement)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.run, name)

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *failure: object) -> None:
            self.run.close()

    with patch.object(duckdb, "connect", Counting):
        yield


if __name__ == "__main__":
    main()
