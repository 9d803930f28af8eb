"""The columns of a snapshot are those that its feed names, with null or with a value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from feed_assets.schema.columns import paths
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets_tests.warehouses.test_key_columns import ORDERS, import_snapshot

BEFORE = {"id": 1, "Total": 1.5, "a b": "x", "r": {"x": 1, "y": "2020-01-01"}, "s": [{"n": 1}]}
EVERYTHING = {
    "id": "INTEGER",
    "Total": "FLOAT",
    "a b": "STRING",
    "r": "RECORD",
    "r.x": "INTEGER",
    "r.y": "DATETIME",
    "s": "REPEATED RECORD",
    "s.n": "INTEGER",
}


def without(*gone: str) -> dict[str, str]:
    return {path: kind for path, kind in EVERYTHING.items() if path not in gone}


@pytest.mark.parametrize(
    ("today", "columns"),
    [
        (BEFORE, EVERYTHING),
        ({"id": 2, "Total": None, "a b": None, "r": None, "s": None}, EVERYTHING),
        ({"id": 2, "Total": None, "a b": None, "r": {}, "s": []}, EVERYTHING),
        (
            {"id": 2, "Total": 2**70, "a b": None, "r": {}, "s": []},
            {**EVERYTHING, "Total": "STRING"},
        ),
        ({"id": 2, "Total": None, "a b": None, "r": {"x": 5, "y": None}, "s": [{}]}, EVERYTHING),
        ({"id": 2, "Total": None, "a b": None, "r": {"x": 5}, "s": []}, without("r.y")),
        ({"id": 2, "Total": None, "a b": None, "r": {"x": None}, "s": []}, without("r.y")),
        ({"id": 2, "Total": None, "a b": None, "s": [{"n": None}]}, without("r", "r.x", "r.y")),
        ({"id": 2}, {"id": "INTEGER"}),
        ({"ID": 2, "new": None}, {"ID": "INTEGER"}),
    ],
    ids=str,
)
def test_columns_that_the_feed_names_stay_and_others_disappear(
    duckdb_file: Path, today: dict[str, Any], columns: dict[str, str]
) -> None:
    tables = DuckDBWarehouse(duckdb_file)
    import_snapshot(tables, BEFORE)

    stored = import_snapshot(tables, today).stored

    found = tables.columns(ORDERS)
    assert found is not None
    assert {path: str(column) for path, column in paths(found)} == columns
    left = {path.casefold() for path in columns}
    assert {*stored.removed} == {path for path in EVERYTHING if path.casefold() not in left}


def test_the_schema_check_names_removed_columns(duckdb_file: Path) -> None:
    tables = DuckDBWarehouse(duckdb_file)
    import_snapshot(tables, {"id": 1, "total": 1.5})

    (check,) = (each for each in import_snapshot(tables, {"id": 2}).checks if each.name == "schema")

    assert (check.passed, check.summary) == (False, "total is no longer in the feed")
    assert check.numbers == {"new columns": 0, "changed types": 0, "removed columns": 1}


def test_an_empty_snapshot_keeps_its_columns(duckdb_file: Path) -> None:
    tables = DuckDBWarehouse(duckdb_file)
    import_snapshot(tables, BEFORE)
    assert import_snapshot(tables, allow_empty=True).stored.removed == {}
