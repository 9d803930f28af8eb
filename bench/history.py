"""One more day in a DuckDB file after few days and after thousands: does it cost the same?

python -m bench.history FOLDER [--days N ...] [--rows N] [--rounds N]

Each import opens the file twice, as those of feeds do: to ask what columns are known, and to store.
Beside it is what DuckDB takes on the same file without feed_assets, to open it twice and make one
table: its catalog is read and written whole.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from feed_assets.schema.table import Table
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.store import known_columns
from feed_assets_tests.support.storing import store_shard

_ORDERS = Table("crm", "orders")
_LAST = date(2024, 6, 10)  # of the days before, so that some of its month are left


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", type=int, nargs="+", default=[10, 3000])
    parser.add_argument("--rows", type=int, default=1000, help="a day")
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 6))
    asked = parser.parse_args()
    print("| days before | imported | seconds (median) | DuckDB alone | statements |")
    print("|---|---|---|---|---|")
    for days in asked.days:
        path = asked.folder / "history.duckdb"
        path.unlink(missing_ok=True)
        fill(path, days, asked.rows)
        alone = [seconds(partial(bare, path, asked.rows)) for _ in range(asked.rounds)]
        for what, imports in turns(path, asked.rows).items():
            taken, statements = zip(*(next(imports) for _ in range(asked.rounds)), strict=True)
            print(
                f"| {days} | {what} | {statistics.median(taken):.3f} | "
                f"{statistics.median(alone):.3f} | {'-'.join(map(str, sorted(set(statements))))} |"
            )
        path.unlink()


def fill(path: Path, days: int, rows: int) -> None:
    """Makes a file with so many shards, and the view of the latest state over them."""
    with DuckDBWarehouse(path) as warehouse:
        for before in range(days - 1, -1, -1):
            store(warehouse, _LAST - timedelta(days=before), rows)
        warehouse.define_latest(_ORDERS, ["orderId"], "updatedAt")


def turns(path: Path, rows: int) -> dict[str, Iterator[tuple[float, int]]]:
    """Imports by name: each import's seconds and statements."""

    def measured(day: Callable[[int], date], *column: str) -> Iterator[tuple[float, int]]:
        for turn in count(1):
            warehouse = _Counted(path)
            new = [f"{name}{turn}" for name in column]
            taken = seconds(partial(store, warehouse, day(turn), rows, new))
            yield taken, warehouse.statements

    def defined() -> Iterator[tuple[float, int]]:
        while True:
            warehouse = _Counted(path)
            taken = seconds(partial(warehouse.define_latest, _ORDERS, ["orderId"], "updatedAt"))
            yield taken, warehouse.statements

    return {
        "one more day": measured(lambda turn: _LAST + timedelta(days=turn)),
        "a day again": measured(lambda turn: _LAST),
        "one more day, one new column": measured(lambda turn: date(2024, 6, 20 + turn), "new"),
        "the first day of a month": measured(lambda turn: date(2024, 7 + turn, 1)),
        "the first day of a year": measured(lambda turn: date(2024 + turn, 1, 1)),
        "none; the view defined again": defined(),
    }


def store(warehouse: DuckDBWarehouse, day: date, rows: int, new: Sequence[str] = ()) -> None:
    """An import of a day, from what its feed was read to."""
    sent = orders(day, rows, new)
    with warehouse:
        known_columns(warehouse, _ORDERS)
    with warehouse:
        store_shard(warehouse, _ORDERS, day, sent, attempt=str(day))


def bare(path: Path, rows: int) -> None:
    """The same without feed_assets."""
    duckdb.connect(str(path)).close()
    with duckdb.connect(str(path)) as run:
        run.register("incoming_rows", orders(_LAST, rows))
        run.execute("CREATE OR REPLACE TABLE alone AS FROM incoming_rows")


def orders(day: date, rows: int, new: Sequence[str] = ()) -> pa.Table:
    """A third of them are of orders that the day before had, too."""
    first = day.toordinal() * rows * 2 // 3
    columns = {
        "orderId": [f"N{first + number}" for number in range(rows)],
        "updatedAt": [datetime.combine(day, datetime.min.time())] * rows,
        "total": [number / 4 for number in range(rows)],
        "status": ["received"] * rows,
    }
    return pa.table(columns | {name: ["x"] * rows for name in new})


def seconds(doing: Callable[[], object]) -> float:
    """Return the seconds that it takes."""
    started = time.perf_counter()
    doing()
    return time.perf_counter() - started


class _Counted(DuckDBWarehouse):
    """Counts the statements it runs."""

    statements = 0

    def _connect(self) -> Any:
        return _Counting(super()._connect(), self)


class _Counting:
    def __init__(self, run: duckdb.DuckDBPyConnection, counted: _Counted) -> None:
        self._run, self._counted = run, counted

    def execute(self, *statement: Any) -> Any:
        self._counted.statements += 1
        return self._run.execute(*statement)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)


if __name__ == "__main__":
    main()
