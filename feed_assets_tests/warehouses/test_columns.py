"""Excluded, hashed and renamed columns, in tables, descriptions and errors."""

from __future__ import annotations

import hmac
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from feed_assets.errors import ContentError, SettingError, TypeConflict
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Warehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.read import read_table
from feed_assets_tests.warehouses.test_key_columns import import_snapshot
from feed_assets_tests.warehouses.test_keys import import_day

FIRST, SECOND = date(2020, 1, 1), date(2020, 1, 2)
ORDERS = Table("crm", "orders")
KEY = "0123456789abcdef"
HASH: dict[str, Any] = {"hash": ["customer.phone"], "hash_key_env": "HASH_KEY"}
ROW = {
    "no": 1,
    "at": "2020-01-01T10:00:00Z",
    "customer": {"phone": "555-0199", "email": "ada@example.org"},
}


def hashed(text: str) -> str:
    return hmac.new(KEY.encode(), text.encode(), "sha256").hexdigest()


@pytest.fixture(autouse=True)
def hash_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASH_KEY", KEY)


@pytest.fixture
def tables(duckdb_file: Path) -> DuckDBWarehouse:
    return DuckDBWarehouse(duckdb_file)


def stored(warehouse: Warehouse, table: Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_table(warehouse, table).to_pylist()
    return rows


def test_the_latest_state_follows_columns_by_their_new_names(
    warehouse: Warehouse, dataset: str
) -> None:
    table = Table(dataset, "orders")
    columns = {**HASH, "exclude": ["customer.email"], "rename": {"no": "order_no", "at": "changed"}}
    declared: dict[str, Any] = {"columns": columns, "key": ["no"], "updated_at": "at"}
    import_day(warehouse, table, FIRST, ROW, **declared)
    imported = import_day(
        warehouse, table, SECOND, {**ROW, "at": "2020-01-02T10:00:00Z"}, **declared
    )

    assert {check.name: check.passed for check in imported.checks} == {
        **dict.fromkeys(("rows", "schema", "key", "updated_at", "columns"), True)
    }
    assert warehouse.update_latest(table, ["order_no"], "changed")
    (row,) = stored(warehouse, table)
    assert (row["order_no"], f"{row['changed']:%d}") == (1, "02")
    assert row["customer"] == {"phone": hashed("555-0199")}


def test_a_hash_declared_later_is_stored_beside_numbers_of_earlier_days(
    tables: DuckDBWarehouse,
) -> None:
    row = {"no": 1, "customer": {"phone": 5550199}}
    import_day(tables, ORDERS, FIRST, row)
    import_day(tables, ORDERS, SECOND, row, columns=HASH)
    assert stored(tables, ORDERS.shard(SECOND))[0]["customer"]["phone"] == hashed("5550199")
    import_day(tables, ORDERS, FIRST, row, attempt="again", columns=HASH)
    assert stored(tables, ORDERS.shard(FIRST)) == stored(tables, ORDERS.shard(SECOND))


def test_renaming_a_column_adds_a_column_and_undoing_it_fills_the_old_one(
    tables: DuckDBWarehouse,
) -> None:
    rename: dict[str, Any] = {"columns": {"rename": {"no": "order_no"}}}
    import_day(tables, ORDERS, FIRST, {"no": 1})
    import_day(tables, ORDERS, SECOND, {"no": 2}, **rename)
    assert stored(tables, ORDERS.shard(SECOND)) == [{"no": None, "order_no": 2}]
    import_day(tables, ORDERS, SECOND, {"no": 3}, attempt="again")
    assert stored(tables, ORDERS.shard(SECOND)) == [{"no": 3, "order_no": None}]


def test_the_advice_for_a_conflict_of_a_renamed_column_has_its_name_in_the_feed(
    tables: DuckDBWarehouse,
) -> None:
    rename: dict[str, Any] = {"columns": {"rename": {"c": "buyer", "c.no": "number"}}}
    import_day(tables, ORDERS, FIRST, {"c": {"no": 1}}, **rename)
    with pytest.raises(TypeConflict) as refused:
        import_day(tables, ORDERS, SECOND, {"c": {"no": "x"}}, **rename)
    assert "column buyer.number of crm.orders is INTEGER" in str(refused.value)
    assert "(first at line 1). Either declare its type in the feed's YAML (types: {c.no: " in str(
        refused.value
    )
    import_day(tables, ORDERS, SECOND, {"c": {"no": "x"}}, **rename, types={"c.no": "STRING"})
    assert stored(tables, ORDERS.shard(SECOND)) == [{"buyer": {"number": "x"}}]


def test_the_advice_for_a_renamed_time_that_is_text_has_its_name_in_the_feed(
    tables: DuckDBWarehouse,
) -> None:
    declared: dict[str, Any] = {"columns": {"rename": {"at": "changed"}}, "key": ["id"]}
    row = {"id": 1, "at": "31.01.2020"}
    with pytest.raises(ContentError) as refused:
        import_day(tables, ORDERS, FIRST, row, **declared, updated_at="changed")
    assert '(types: {at: {type: DATETIME, format: "%d.%m.%Y"}})' in str(refused.value)


def test_descriptions_and_a_mistyped_path_are_by_the_names_of_the_feed(
    tables: DuckDBWarehouse, tmp_path: Path
) -> None:
    imported = import_snapshot(
        tables,
        ROW,
        columns={"exclude": ["customer.emial"], "rename": {"no": "order_no"}},
        column_descriptions={"no": "The number."},
    )
    with duckdb.connect(tmp_path / "warehouse.duckdb") as db:
        comments = db.sql("SELECT column_name, comment FROM duckdb_columns()").fetchall()
    assert ("order_no", "The number.") in comments
    (check,) = [each for each in imported.checks if each.name == "columns"]
    assert (check.passed, check.is_error) == (False, False)
    assert check.summary == "columns names customer.emial, which no row has; check the spelling"


def test_rejected_lines_of_private_feeds_have_a_reason_and_no_text(tables: DuckDBWarehouse) -> None:
    rows = [ROW, {**ROW, "no": "ada@example.org"}]
    private = {"exclude": ["customer"]}
    import_snapshot(tables, *rows, max_bad_lines=1, types={"no": "INTEGER"}, columns=private)
    assert stored(tables, ORDERS.rejected) == [
        {"line": 2, "reason": "has a value in column no that is not INTEGER", "text": None}
    ]


def test_without_the_key_of_hashes_nothing_is_stored(
    tables: DuckDBWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HASH_KEY")
    with pytest.raises(SettingError, match="HASH_KEY is not set"):
        import_snapshot(tables, ROW, columns=HASH)
    assert tables.columns(ORDERS) is None


def test_the_duckdb_file_has_no_trace_of_excluded_or_hashed_values(
    tables: DuckDBWarehouse, tmp_path: Path
) -> None:
    columns = {**HASH, "exclude": ["customer.email"]}
    bad = {**ROW, "no": {"ada@example.org": "555-0199"}}
    types = {"no": "INTEGER"}
    import_snapshot(tables, ROW, bad, max_bad_lines=1, types=types, columns=columns)
    found = (tmp_path / "warehouse.duckdb").read_bytes()
    assert b"ada@example.org" not in found
    assert b"555-0199" not in found
