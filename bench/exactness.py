"""Compare what each tool stores of twenty awkward columns: exact, or how it changed them.

python -m bench.exactness FOLDER [--peers PYTHON]

A stored value is exact if it determines the value in the feed: it is the same value, its text, or
the same moment. dlt's flattened objects, variant columns and child tables count.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from bench.awkward import COLUMNS, Awkward, checked_rows, parsed, value_of, write
from bench.importers import DATASET, WAYS, Way
from bench.imports import Done, imported, served, target_in
from feed_assets_tests.support.bigquery.emulator import Emulator

NOT_OURS_TO_JUDGE = "autodetect"
"""The emulator infers other column types than BigQuery."""
_SHOWN = 40  # characters

Rows = Mapping[int, Any]


def main() -> None:
    """Import each column with each tool, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peers", help="a Python that has them")
    asked = parser.parse_args()
    folder = asked.folder / "awkward"
    folder.mkdir(exist_ok=True)
    names = [write(column, folder).name for column in COLUMNS]
    ways = [
        way
        for way in WAYS
        if (way.ours or asked.peers) and "Dagster" not in way.name and way.name != NOT_OURS_TO_JUDGE
    ]
    found: dict[str, list[str]] = {}
    with served(folder) as url:
        for way in ways:
            with target_in(way.warehouses[0]) as target:
                done = imported(way, target, [f"{url}/{name}" for name in names], asked.peers)
                found[way.name] = [
                    _verdict(column, each, lambda column: _stored(way, target, column))  # noqa: B023
                    for column, each in zip(COLUMNS, done, strict=True)
                ]
    print(f"| column | {' | '.join(way.name for way in ways)} |")
    print(f"|---|{'---|' * len(ways)}")
    for place, column in enumerate(COLUMNS):
        print(f"| {column.what} | {' | '.join(found[way.name][place] for way in ways)} |")
    exact = [f"{sum(cell.startswith('exact') for cell in found[way.name])} of 20" for way in ways]
    print(f"| exact | {' | '.join(exact)} |")


def _verdict(column: Awkward, done: Done, rows_of: Callable[[Awkward], Rows]) -> str:
    if done.failure:
        return f"fails: {done.failure[:_SHOWN].replace('|', '/')}…"
    rows = rows_of(column)
    as_text = False
    for number in checked_rows(column):
        text, stored = value_of(column, number), rows.get(number)
        was = parsed(text)
        if not _is_exact(was, stored):
            return f"`{text}` is `{str(stored)[:_SHOWN]}`".replace("|", "/")
        as_text |= isinstance(stored, str) and (not isinstance(was, str) or _is_moment(was))
    return "exact, as text" if as_text else "exact"


def _is_exact(was: Any, stored: Any) -> bool:
    """Return whether the stored value still shows the value in the feed."""
    if isinstance(stored, str) and not isinstance(was, str):
        with suppress(ValueError):
            return _is_exact(was, parsed(stored)) and not isinstance(parsed(stored), str)
        return False
    if isinstance(was, dict) and isinstance(stored, dict):
        stored = {key: value for key, value in stored.items() if value is not None}
        return was.keys() == stored.keys() and all(_is_exact(was[key], stored[key]) for key in was)
    if isinstance(was, list) and isinstance(stored, list):
        return len(was) == len(stored) and all(map(_is_exact, was, stored))
    if isinstance(was, Decimal) and not isinstance(stored, bool):
        return isinstance(stored, int | float | Decimal) and Decimal(str(stored)) == was
    if isinstance(was, str) and isinstance(stored, date):
        return _same_moment(was, stored)
    return type(was) is type(stored) and bool(was == stored)


def _is_moment(text: str) -> bool:
    with suppress(ValueError):
        return bool(datetime.fromisoformat(text))
    return False


def _same_moment(text: str, stored: date) -> bool:
    with suppress(ValueError):
        was = datetime.fromisoformat(text)
        moment = stored if isinstance(stored, datetime) else datetime.combine(stored, time())
        return (was.tzinfo is None) == (moment.tzinfo is None) and was == moment
    return False


def _stored(way: Way, target: str, column: Awkward) -> Rows:
    """Return the compared values by the number of their row."""
    if target.startswith("http"):
        rows = Emulator(target).client().query(f"SELECT * FROM {DATASET}.{column.name}").result()
        found = [{name.lower(): value for name, value in row.items()} for row in rows]
        return {
            row["number"]: row.get("value")
            for row in found
            if row["number"] in checked_rows(column)
        }
    with duckdb.connect(target, read_only=True) as connection:
        rows = _rows(
            connection, column.name, f"number IN ({', '.join(map(str, checked_rows(column)))})"
        )
        return {row["number"]: _value(connection, column.name, row) for row in rows}


def _rows(connection: duckdb.DuckDBPyConnection, table: str, where: str) -> list[dict[str, Any]]:
    connection.execute("SET TimeZone = 'UTC'")
    query = f"SELECT * FROM {DATASET}.{table} WHERE {where}"
    found: list[dict[str, Any]] = connection.execute(query).to_arrow_table().to_pylist()
    return found


def _value(connection: duckdb.DuckDBPyConnection, table: str, row: dict[str, Any]) -> Any:
    """The column `value`, also where dlt has made several columns or a table of it."""
    own = _joined(row)
    if own.get("value") is not None:
        return own["value"]
    flat = {key.removeprefix("value__"): own[key] for key in own if key.startswith("value__")}
    if any(value is not None for value in flat.values()):
        return flat
    return _children(connection, f"{table}__value", row)


def _joined(row: dict[str, Any]) -> dict[str, Any]:
    """A row with one column for each key, where dlt has more for values of several types."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        key = name.partition("__v_")[0]
        if not key.startswith("_dlt_") and found.get(key) is None:
            found[key] = value
    return found


def _children(connection: duckdb.DuckDBPyConnection, table: str, row: dict[str, Any]) -> Any:
    try:
        rows = _rows(connection, table, f"_dlt_parent_id = '{row.get('_dlt_id')}'")
    except duckdb.CatalogException:
        return None
    rows.sort(key=lambda child: child["_dlt_list_idx"])
    return [_child(connection, table, child) for child in rows] or None


def _child(connection: duckdb.DuckDBPyConnection, table: str, row: dict[str, Any]) -> Any:
    own = _joined(row)
    if own.keys() - {"value"}:
        return own
    if own.get("value") is not None:
        return own["value"]
    return _children(connection, f"{table}__list", row)


if __name__ == "__main__":
    main()
