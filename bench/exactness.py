"""Compare what each tool stores of twenty awkward columns: exact, or how it changed them.

python -m bench.exactness FOLDER [--peers PYTHON]

A value is kept if what was sent can be told from what is stored: as itself, as the text that was
sent, or as the same moment. dlt's flattened objects, variant columns and child tables count.
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

from bench.awkward import COLUMNS, Awkward, parsed, sent, told, write
from bench.importers import DATASET, WAYS, Way
from bench.imports import Done, imported, served, target_in
from feed_assets_tests.support.bigquery.emulator import Emulator

NOT_OURS_TO_JUDGE = "autodetect"
"""What the emulator takes for a column's type is not what BigQuery would."""
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
    kept = [f"{sum(cell.startswith('kept') for cell in found[way.name])} of 20" for way in ways]
    print(f"| kept | {' | '.join(kept)} |")


def _verdict(column: Awkward, done: Done, stored: Callable[[Awkward], Rows]) -> str:
    if done.failure:
        return f"fails: {done.failure[:_SHOWN].replace('|', '/')}…"
    rows = stored(column)
    as_text = False
    for number in told(column):
        text, held = sent(column, number), rows.get(number)
        was = parsed(text)
        if not _kept(was, held):
            return f"`{text}` is `{str(held)[:_SHOWN]}`".replace("|", "/")
        as_text |= isinstance(held, str) and (not isinstance(was, str) or _is_moment(was))
    return "kept, as text" if as_text else "kept"


def _kept(was: Any, held: Any) -> bool:
    """Return whether the stored value still shows the value in the feed."""
    if isinstance(held, str) and not isinstance(was, str):
        with suppress(ValueError):
            return _kept(was, parsed(held)) and not isinstance(parsed(held), str)
        return False
    if isinstance(was, dict) and isinstance(held, dict):
        held = {key: value for key, value in held.items() if value is not None}
        return was.keys() == held.keys() and all(_kept(was[key], held[key]) for key in was)
    if isinstance(was, list) and isinstance(held, list):
        return len(was) == len(held) and all(map(_kept, was, held))
    if isinstance(was, Decimal) and not isinstance(held, bool):
        return isinstance(held, int | float | Decimal) and Decimal(str(held)) == was
    if isinstance(was, str) and isinstance(held, date):
        return _same_moment(was, held)
    return type(was) is type(held) and bool(was == held)


def _is_moment(text: str) -> bool:
    with suppress(ValueError):
        return bool(datetime.fromisoformat(text))
    return False


def _same_moment(text: str, held: date) -> bool:
    with suppress(ValueError):
        was = datetime.fromisoformat(text)
        moment = held if isinstance(held, datetime) else datetime.combine(held, time())
        return (was.tzinfo is None) == (moment.tzinfo is None) and was == moment
    return False


def _stored(way: Way, target: str, column: Awkward) -> Rows:
    """The values that are looked at, by the number of their row."""
    if target.startswith("http"):
        rows = Emulator(target).client().query(f"SELECT * FROM {DATASET}.{column.name}").result()
        found = [{name.lower(): value for name, value in row.items()} for row in rows]
        return {row["number"]: row.get("value") for row in found if row["number"] in told(column)}
    with duckdb.connect(target, read_only=True) as connection:
        rows = _rows(connection, column.name, f"number IN ({', '.join(map(str, told(column)))})")
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
