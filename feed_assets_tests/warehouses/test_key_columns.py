"""A declared `key` or `updated_at` that cannot be used is refused before any change."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from feed_assets.byte_source import GrowingByteSource, unnamed_temp_file
from feed_assets.config.feed import Feed
from feed_assets.download import Download, Validators
from feed_assets.download.body_file import BodyInfo
from feed_assets.download.prefetch import PendingDay
from feed_assets.errors import ContentError, TypeConflict, full_text
from feed_assets.importing.import_feed import Import, store
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Warehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.read import read_table
from feed_assets_tests.warehouses.test_keys import import_day

Row = Mapping[str, Any]
FIRST, SECOND = date(2020, 1, 1), date(2020, 1, 2)
ORDERS = Table("crm", "orders")
ERROR = {"success": False, "code": 500, "message": "maintenance"}


@pytest.fixture
def tables(duckdb_file: Path) -> DuckDBWarehouse:
    return DuckDBWarehouse(duckdb_file)


def import_snapshot(warehouse: Warehouse, *rows: Row, **attributes: Any) -> Import:
    feed = Feed(name="orders", url="https://example.com/feed", dataset="crm", **attributes)
    with unnamed_temp_file() as file:
        source = GrowingByteSource(file)
        source.write("".join(f"{json.dumps(row)}\n" for row in rows).encode())
        source.end()
        download = Download(feed.url, source)
        download.info.set_result(BodyInfo(0, "", 0.0, Validators(), end_is_marked=True))
        return store(PendingDay(feed, None, download), warehouse, attempt=str(rows))


def latest(**attributes: Any) -> dict[str, Any]:
    return {"key": ["id"], "updated_at": "at", **attributes}


# --- a declared column that the feed does not name

MISSING: Sequence[tuple[str, Row, dict[str, Any], str | None]] = [
    ("an error object", ERROR, {"key": ["id"]}, "no id in them, which is declared as key"),
    ("no updated_at", {"id": 1}, latest(), "no at in them, which is declared as updated_at"),
    ("one of two keys", {"id": 1}, {"key": ["id", "shop"]}, "no shop"),
    ("another case", {"ID": 1}, {"key": ["id"]}, "no id in them"),
    ("declared, and in no row", {"a": 1}, {"key": ["id"], "types": {"id": "STRING"}}, "no id in"),
    ("no field", {"c": {"no": 1}}, {"key": ["c.id"]}, "no c.id in them"),
    ("null beside another field", {"c": {"id": None, "no": 1}}, {"key": ["c.id"]}, None),
    ("no field, all null", {"c": {"no": None}, "a": 1}, {"key": ["c.id"]}, "no c.id in them"),
    ("no record", {"c": "x"}, {"key": ["c.id"]}, "no c.id in them"),
    ("a record of null", {"c": None, "a": 1}, {"key": ["c.id"]}, None),
    ("an empty record", {"c": {}, "a": 1}, {"key": ["c.id"]}, None),
    ("null", {"id": None, "a": 1}, {"key": ["id"]}, None),
    ("null, read by row", {"id": None, "a": 2**70}, {"key": ["id"]}, None),
    ("missing, read by row", {"c": {"no": 2**70}}, {"key": ["c.id"]}, "no c.id in them"),
    ("renamed, by the name in the feed", {"order-id": 1}, {"key": ["order-id"]}, None),
    ("renamed, by the name in the table", {"order.id": 1}, {"key": ["order_id"]}, None),
    ("a key with a dot", {"c.id": 1}, {"key": ["c.id"]}, None),
    ("a field of a key with a dot", {"a.b": {"c": 1}}, {"key": ["a.b.c"]}, None),
]


@pytest.mark.parametrize(
    ("row", "attributes", "refused"), [case[1:] for case in MISSING], ids=[c[0] for c in MISSING]
)
def test_rows_without_a_declared_column_replace_no_snapshot(
    tables: DuckDBWarehouse, row: Row, attributes: dict[str, Any], refused: str | None
) -> None:
    import_snapshot(tables, {"good": "before"})
    if refused is None:
        import_snapshot(tables, row, **attributes)
        return
    with pytest.raises(ContentError, match=refused):
        import_snapshot(tables, row, row, **attributes)
    assert read_table(tables, ORDERS).to_pylist() == [{"good": "before"}]


def test_an_error_object_adds_no_column_to_the_shards(warehouse: Warehouse, dataset: str) -> None:
    table = Table(dataset, "orders")
    import_day(warehouse, table, FIRST, {"id": 1, "at": "2020-01-01"}, **latest())

    with pytest.raises(ContentError) as refused:
        import_day(warehouse, table, SECOND, ERROR, **latest(max_bad_lines=1))

    assert str(refused.value) == (
        "https://example.com/feed has 1 rows and no id in them, which is declared as key; it has "
        "success, code, message. Look at what the server answered: it may be an error. If the feed "
        "has another name for it now, correct key in its YAML"
    )
    assert [column.name for column in warehouse.known(table).columns] == ["id", "at"]
    assert warehouse.columns(table.shard(SECOND)) is None


def test_the_error_names_only_the_first_columns_of_many(tables: DuckDBWarehouse) -> None:
    row = {f"c{number}": 1 for number in range(8)}
    with pytest.raises(ContentError, match=r"it has c0, c1, c2, c3, c4 and 3 more\. Look"):
        import_snapshot(tables, row, key=["id"])


def test_a_day_without_rows_needs_no_key(tables: DuckDBWarehouse) -> None:
    assert import_day(tables, ORDERS, FIRST, **latest()).stored.rows == 0


def test_a_day_whose_key_is_null_keeps_the_known_column(tables: DuckDBWarehouse) -> None:
    import_day(tables, ORDERS, FIRST, {"id": 1, "at": "2020-01-01"}, **latest())
    imported = import_day(tables, ORDERS, SECOND, {"id": None, "at": None, "a": 1}, **latest())
    assert [str(column) for column in imported.stored.columns] == ["INTEGER", "DATETIME", "INTEGER"]
    assert [check.name for check in imported.checks if not check.passed and check.is_error] == [
        "key"
    ]


# --- what may be a key


@pytest.mark.parametrize(
    ("before", "today", "key", "says"),
    [
        ({"id": 1}, {"id": 1.0}, "id", "(types: {id: INTEGER}), or fix the feed"),
        ({"c": {"id": 1}}, {"c": {"id": 1.0}}, "c.id", "(types: {c.id: INTEGER}), or fix"),
        ({"c-1": 1}, {"c-1": 1.0}, "c_1", "(types: {c_1: INTEGER}), or fix the feed"),
        ({"id": 1}, {"id": 1.5}, "id", "(types: {id: STRING}) and backfill the days before"),
    ],
    ids=str,
)
def test_an_integer_key_never_becomes_float(
    warehouse: Warehouse, dataset: str, before: Row, today: Row, key: str, says: str
) -> None:
    table = Table(dataset, "orders")
    rest = {"shop": "eu", "at": "2020-01-01"}
    declared: dict[str, Any] = {"key": ["shop", key], "updated_at": "at"}
    import_day(warehouse, table, FIRST, {**before, **rest}, **declared)
    known = warehouse.known(table).columns

    with pytest.raises(TypeConflict) as refused:
        import_day(warehouse, table, SECOND, {**before, **rest}, {**today, **rest}, **declared)

    assert "is INTEGER in the shards so far and FLOAT today (first at line 2)" in str(refused.value)
    assert "It is in the key, which never becomes FLOAT: " in str(refused.value)
    assert says in str(refused.value)
    assert warehouse.known(table).columns == known
    assert warehouse.columns(table.shard(SECOND)) is None


def test_the_advice_for_an_integer_key_written_as_a_fraction_works(
    warehouse: Warehouse, dataset: str
) -> None:
    table, declared = Table(dataset, "orders"), latest(types={"id": "INTEGER"})
    import_day(warehouse, table, FIRST, {"id": 1, "at": "2020-01-01"}, **latest())
    import_day(warehouse, table, SECOND, {"id": 1.0, "at": "2020-01-02"}, **declared)

    assert warehouse.update_latest(table, ["id"], "at")
    (row,) = read_table(warehouse, table).to_pylist()
    assert (row["id"], row["at"].day) == (1, 2)


@pytest.mark.parametrize(
    ("row", "key", "says"),
    [
        ({"id": 1.5}, "id", "id is in the key and is FLOAT in the feed, which cannot be a key"),
        ({"id": 1.0}, "id", "(types: {id: INTEGER})"),
        ({"id": 1.5}, "id", "have the feed send it as text, or declare its type"),
        ({"c": {"id": 0.5}}, "c.id", "(types: {c.id: STRING})"),
        ({"id": {"a": 1}}, "id", "id is in the key and is RECORD in the feed"),
        ({"id": [1]}, "id", "id is in the key and is REPEATED INTEGER in the feed"),
        ({"id": [{"a": 1}]}, "id.a", "id.a is in the key and is REPEATED RECORD in the feed"),
    ],
    ids=str,
)
def test_a_type_that_bigquery_cannot_partition_by_is_refused_as_key_from_the_first_day(
    warehouse: Warehouse, dataset: str, row: Row, key: str, says: str
) -> None:
    table = Table(dataset, "orders")
    with pytest.raises(ContentError) as refused:
        import_day(warehouse, table, FIRST, {"shop": "eu", **row}, key=["shop", key])
    assert says in str(refused.value)
    assert warehouse.known(table).etag is None


def test_a_key_declared_as_json_by_the_name_it_is_stored_under_is_refused(
    tables: DuckDBWarehouse,
) -> None:
    with pytest.raises(ContentError, match="a_b is in the key and is JSON in the feed"):
        import_day(tables, ORDERS, FIRST, {"a-b": 1}, key=["a_b"], types={"a-b": "JSON"})


def test_shards_whose_key_is_already_float_refuse_further_days(
    tables: DuckDBWarehouse,
) -> None:
    import_day(tables, ORDERS, FIRST, {"id": 1.5})
    with pytest.raises(ContentError, match=r"is FLOAT in the shards of crm\.orders so far"):
        import_day(tables, ORDERS, SECOND, {"id": 1}, key=["id"])


def test_a_snapshots_key_may_be_a_fraction_because_it_has_no_view(
    tables: DuckDBWarehouse,
) -> None:
    assert import_snapshot(tables, {"id": 1.5}, key=["id"]).stored.rows == 1


# --- text as updated_at

ISO_ADVICE = "have the feed send ISO 8601 (2020-01-31T10:00:00Z), all with a UTC offset or all"
TEXTS: Sequence[tuple[Sequence[Any], str, str, dict[str, Any] | None]] = [
    (
        ["31.01.2020", "05.02.2020", "00.00.0000"],
        '(line 1: "31.01.2020")',
        '(types: {at: {type: DATETIME, format: "%d.%m.%Y"}}) and null_values: ["00.00.0000"], '
        'which reads "00.00.0000" as null',
        {
            "types": {"at": {"type": "DATETIME", "format": "%d.%m.%Y"}},
            "null_values": ["00.00.0000"],
        },
    ),
    (
        ["01/02/2020 10:00 +0100"],
        '(line 1: "01/02/2020 10:00 +0100")',
        '{type: TIMESTAMP, format: "%m/%d/%Y %H:%M %z"} fits all values as well, so ask which one',
        {"types": {"at": {"type": "TIMESTAMP", "format": "%d/%m/%Y %H:%M %z"}}},
    ),
    (["2020-01-31", "05.02.2020"], '(line 2: "05.02.2020")', ISO_ADVICE, None),
    (["2020-01-31 10:00 CET"], '(line 1: "2020-01-31 10:00 CET")', ISO_ADVICE, None),
    (["2020-W05-5"], '(line 1: "2020-W05-5")', "types: {at: STRING}", {"types": {"at": "STRING"}}),
    (
        ["2020-01-31", ""],
        '(line 2: "")',
        'set null_values: [""] in the feed\'s YAML, which reads "" as null',
        {"null_values": [""]},
    ),
    (
        ["2020-01-31T10:00:00Z", "N/A", None],
        '(line 2: "N/A")',
        'set null_values: ["N/A"]',
        {"null_values": ["N/A"]},
    ),
    (
        ["2020-01-31", "2020-01-31T10:00:00Z"],
        "(line 1 has no UTC offset, line 2 has one)",
        ISO_ADVICE,
        None,
    ),
    (["9", "10"], '(line 1: "9")', "(types: {at: INTEGER})", {"types": {"at": "INTEGER"}}),
    (["9.5", 10], '(line 1: "9.5")', "(types: {at: NUMERIC})", {"types": {"at": "NUMERIC"}}),
    (
        ["9", ""],
        '(line 1: "9")',
        '(types: {at: INTEGER}) and null_values: [""], which reads "" as null',
        {"types": {"at": "INTEGER"}, "null_values": [""]},
    ),
    (["", ""], '(line 1: "")', ISO_ADVICE, None),
    (["2020-02-30"], '(line 1: "2020-02-30")', ISO_ADVICE, None),
]


@pytest.mark.parametrize(("values", "where", "advice", "declared"), TEXTS, ids=str)
@pytest.mark.parametrize("path", ["at", "r.at"])
def test_text_without_a_time_has_no_latest_state_and_the_advice_works(
    tables: DuckDBWarehouse,
    path: str,
    values: Sequence[Any],
    where: str,
    advice: str,
    declared: dict[str, Any] | None,
) -> None:
    rows = [{"id": 1, **({"at": at} if path == "at" else {"r": {"at": at}})} for at in values]
    attributes: dict[str, Any] = {"key": ["id"], "updated_at": path}
    with pytest.raises(ContentError) as refused:
        import_day(tables, ORDERS, FIRST, *rows, **attributes)
    sentence = f"{path} is updated_at and is text {where}, so the latest state"
    assert sentence in full_text(refused.value.sentence)
    assert re.sub(": .*?\\)", ")", sentence, count=1) in str(refused.value)
    assert advice.replace("{at:", f"{{{path}:") in str(refused.value)
    assert tables.known(ORDERS).etag is None

    if declared is not None:
        if "types" in declared:
            declared = {**declared, "types": {path: declared["types"]["at"]}}
        import_day(tables, ORDERS, FIRST, *rows, **attributes, **declared)
        assert tables.update_latest(ORDERS, ["id"], path)


def test_text_in_older_shards_requires_a_backfill(tables: DuckDBWarehouse) -> None:
    import_day(tables, ORDERS, FIRST, {"id": 1, "at": "31.01.2020"})
    with pytest.raises(ContentError) as refused:
        import_day(tables, ORDERS, SECOND, {"id": 1, "at": "2020-01-31"}, **latest())
    assert "(types: {at: DATETIME}) and backfill the days before" in str(refused.value)


@pytest.mark.parametrize(("at", "kind"), [([1], "REPEATED INTEGER"), ({"a": 1}, "RECORD")])
def test_a_type_without_an_order_is_refused_as_updated_at(
    tables: DuckDBWarehouse, at: Any, kind: str
) -> None:
    with pytest.raises(ContentError, match=f"at is updated_at and is {kind} in the feed"):
        import_day(tables, ORDERS, FIRST, {"id": 1, "at": at}, **latest())


def test_text_is_accepted_as_updated_at_without_a_latest_state(tables: DuckDBWarehouse) -> None:
    row = {"id": 1, "at": "31.01.2020"}
    assert import_snapshot(tables, row, **latest()).stored.rows == 1
    imported = import_day(tables, Table("crm", "days"), FIRST, row, updated_at="at")
    (check,) = (check for check in imported.checks if check.name == "updated_at")
    assert check.summary == (
        "at is STRING, which has no day; declare its type in the feed's YAML "
        '(types: {at: {type: DATETIME, format: "%d.%m.%Y"}})'
    )
