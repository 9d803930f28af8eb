"""Types that only a declaration or a DataFrame can give, in both warehouses, at every path."""

from __future__ import annotations

import json
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from feed_assets.errors import TypeConflict, UnsupportedColumn, WarehouseFailed
from feed_assets.importing.dataframes import to_arrow, to_frame
from feed_assets.schema.columns import Column, columns_of, text_types, with_text_types
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import PendingMigration, Warehouse
from feed_assets.warehouse.conform import conform
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets.warehouse.read import read_shards, read_table
from feed_assets.warehouse.store import Stored, store_snapshot
from feed_assets_tests.support.storing import store_shard
from feed_assets_tests.warehouses.test_contract import EVERY_TYPE

DAYS = [date(2020, 1, day) for day in range(1, 8)]
WIDE = pa.decimal256(76, 38)
LEAST, GREATEST = Decimal(1).scaleb(-38), Decimal("9" * 38 + "." + "9" * 38)
GEOJSON = '{"type": "Point", "coordinates": [1.5, -2]}'
TYPES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "big": (WIDE, [LEAST, GREATEST.copy_negate(), Decimal(0), Decimal("1.50"), None]),
    "at": (pa.time64("us"), [time(0), time(23, 59, 59, 999999), time(10, 30), time(1), None]),
    "raw": (pa.binary(), [b"\x00\xff", b"", b"abc", b"\n", None]),
    "any": (
        pa.string(),
        [
            '{"a":[1,{"b":null}],"c":"\\u00e4\\n"}',
            "18446744073709551615",
            '"x, \\"y\\""',
            "[]",
            None,
        ],
    ),
    "place": (pa.string(), ["POINT(1.5 -2)", "LINESTRING(0 0, 1 1)", "POINT EMPTY", GEOJSON, None]),
}
TEXT_TYPES = {"any": "JSON", "place": "GEOGRAPHY"}


def rows_of_all_types() -> pa.Table:
    """At the top, in a RECORD, in an array, in a RECORD in an array."""
    flat = pa.table({name: pa.array(values, kind) for name, (kind, values) in TYPES.items()})
    rows = flat.to_pylist()
    record = flat.schema.remove_metadata()
    inside = pa.struct(record)
    table = flat.append_column("id", pa.array(range(5)))
    table = table.append_column("record", pa.array([*rows[:4], None], inside))
    table = table.append_column(
        "records", pa.array([rows, [], rows[2:4], [], []], pa.list_(inside))
    )
    for name, (kind, values) in TYPES.items():
        arrays = [values[:4], [], values[1:2], [], []]
        table = table.append_column(f"{name}s", pa.array(arrays, pa.list_(kind)))
    types = {
        f"{at}{name}": kind
        for name, kind in TEXT_TYPES.items()
        for at in ("", "record.", "records.")
    }
    return with_text_types(table, types | {f"{name}s": kind for name, kind in TEXT_TYPES.items()})


def store(warehouse: Warehouse, table: Table, day: date, rows: pa.Table) -> Stored:
    return store_shard(warehouse, table, day, rows, attempt=f"{day} {id(rows)}")


def canonical(rows: pa.Table) -> Any:
    """Normalize JSON and GEOGRAPHY as BigQuery returns them: not as the same text."""

    def value(of: Column, found: Any, repeated: bool) -> Any:
        if found is None:
            return None
        if repeated:
            return [value(of, each, False) for each in found]
        if of.type == "RECORD":
            return {f.name: value(f, found[f.name], f.repeated) for f in of.fields}
        if of.type == "JSON":
            return json.dumps(json.loads(found), sort_keys=True)
        if of.type == "GEOGRAPHY":
            return {GEOJSON: "POINT(1.5 -2)", "POINT EMPTY": "POINT EMPTY"}.get(found, found)
        return found

    columns = columns_of(rows.schema)
    found = rows.sort_by("id").to_pylist()
    return [{c.name: value(c, row[c.name], c.repeated) for c in columns} for row in found]


@pytest.mark.parametrize("with_json", [True, False])
def test_each_type_is_stored_and_read_back_at_every_path(
    warehouse: Warehouse, orders: Table, with_json: bool
) -> None:
    """BigQuery loads rows with JSON from NDJSON, all others from Parquet."""
    rows = rows_of_all_types()
    if not with_json:
        rows = rows.drop_columns(["any", "anys", "record", "records"])

    stored = store_snapshot(warehouse, orders, rows, attempt="1")
    read = read_table(warehouse, orders)

    assert stored.columns == columns_of(rows.schema) == warehouse.columns(orders)
    assert columns_of(read.schema) == columns_of(rows.schema)
    assert canonical(read) == canonical(rows)


def test_beside_json_every_other_type_is_as_exact_as_in_parquet(
    warehouse: Warehouse, orders: Table
) -> None:
    rows = EVERY_TYPE.append_column("any", pa.array(["1", "2", None]))
    rows = with_text_types(rows.append_column("id", pa.array([0, 1, 2])), {"any": "JSON"})

    store_snapshot(warehouse, orders, rows, attempt="1")

    read = read_table(warehouse, orders)
    assert columns_of(read.schema) == columns_of(rows.schema)
    assert [without_null_arrays(row) for row in read.sort_by("id").to_pylist()] == [
        without_null_arrays(row) for row in rows.to_pylist()
    ]


def without_null_arrays(row: dict[str, Any]) -> dict[str, Any]:
    """BigQuery returns NULL arrays as empty ones."""
    return row | {"many": row["many"] or []}


def test_the_types_are_known_across_days_and_in_the_latest_state(
    warehouse: Warehouse, orders: Table
) -> None:
    rows = rows_of_all_types()
    newer = rows.set_column(rows.column_names.index("id"), "id", pa.array([3, 4, 5, 6, 7]))
    plain = pa.table({"id": [9]})

    store(warehouse, orders, DAYS[0], rows)
    store(warehouse, orders, DAYS[1], newer)
    store(warehouse, orders, DAYS[2], plain)
    assert warehouse.update_latest(orders, ["id"], "at")

    columns = columns_of(rows.schema)
    assert warehouse.known(orders).columns == columns == warehouse.columns(orders)
    assert warehouse.columns(orders.shard(DAYS[2])) == columns
    days = read_shards(warehouse, orders, DAYS[:3], ["id", "big", "any", "place"])
    types = ("INTEGER", "BIGNUMERIC", "JSON", "GEOGRAPHY")
    assert {tuple(c.type for c in columns_of(rows.schema)) for rows in days.values()} == {types}
    assert days[DAYS[2]].to_pylist() == [{"id": 9, "big": None, "any": None, "place": None}]
    latest = read_table(warehouse, orders)
    assert columns_of(latest.schema) == columns
    want = {row["id"]: row for row in canonical(rows)[:3] + canonical(newer)}
    found = {row["id"]: row for row in canonical(latest)}
    assert found.pop(9)["big"] is None
    assert found[0] == want[0]
    assert found.keys() == want.keys()


def test_numeric_becomes_bignumeric_in_the_older_shards(
    warehouse: Warehouse, orders: Table
) -> None:
    narrow, inside = pa.decimal128(38, 9), pa.struct([("n", pa.decimal128(38, 9))])
    rows = pa.table(
        {
            "n": pa.array([Decimal("1.5"), Decimal(10), None], narrow),
            "r": pa.array([{"n": Decimal("-0.25")}, {"n": None}, None], inside),
        }
    )
    store(warehouse, orders, DAYS[0], rows)

    wide = pa.table({"n": pa.array([LEAST], WIDE), "r": pa.array([{"n": LEAST}])})
    stored = store(warehouse, orders, DAYS[1], wide.set_column(1, "r", pa.array(
        [{"n": LEAST}], pa.struct([("n", WIDE)]))))  # fmt: skip

    assert stored.changed == {"n": ("NUMERIC", "BIGNUMERIC"), "r.n": ("NUMERIC", "BIGNUMERIC")}
    before = read_table(warehouse, orders.shard(DAYS[0]))
    assert before.to_pylist() == rows.to_pylist()
    assert before.schema.field("n").type == WIDE
    store(warehouse, orders, DAYS[2], rows)
    assert warehouse.columns(orders.shard(DAYS[2])) == warehouse.columns(orders.shard(DAYS[1]))
    assert warehouse.known(orders).pending is PendingMigration.NOTHING


@pytest.mark.parametrize(
    ("values", "kind", "texts"),
    [
        ([LEAST, Decimal("1.50")], WIDE, [f"0.{'0' * 37}1", "1.5"]),
        ([time(10, 30), time(1, 2, 3, 4)], pa.time64("us"), ["10:30:00", "01:02:03.000004"]),
        ([b"\x00\xff", b""], pa.binary(), ["AP8=", ""]),
        (['{"a": 1.50}', "null"], "JSON", ['{"a": 1.50}', "null"]),
        (["POINT(1 2)", GEOJSON], "GEOGRAPHY", ["POINT(1 2)", GEOJSON]),
    ],
    ids=str,
)
def test_in_a_column_of_text_each_value_is_its_text_in_a_feed(
    warehouse: Warehouse, orders: Table, values: list[Any], kind: Any, texts: list[str]
) -> None:
    store(warehouse, orders, DAYS[0], pa.table({"c": ["x"]}))
    is_text = isinstance(kind, str)
    rows = pa.table({"c": pa.array(values, pa.string() if is_text else kind)})

    store(warehouse, orders, DAYS[1], with_text_types(rows, {"c": kind}) if is_text else rows)

    assert read_table(warehouse, orders.shard(DAYS[1])).column("c").to_pylist() == texts


def test_a_column_is_not_json_on_one_day_and_text_on_the_next(
    warehouse: Warehouse, orders: Table
) -> None:
    store(warehouse, orders, DAYS[0], with_text_types(pa.table({"c": ["1"]}), {"c": "JSON"}))

    with pytest.raises(
        TypeConflict, match=r"column c of .* is JSON in the shards so far and STRING"
    ):
        store(warehouse, orders, DAYS[1], pa.table({"c": ["x"]}))


def test_a_frame_keeps_its_text_types_through_pandas() -> None:
    rows = rows_of_all_types()

    frame = to_frame(rows)
    changed = frame[frame["id"] > 0].assign(more=1)

    assert frame.attrs["types"] == text_types(columns_of(rows.schema))
    assert frame["any"].str.len().max() > 1  # it is text, and can be shown
    assert "POINT EMPTY" in repr(frame["place"])
    assert columns_of(to_arrow(frame).schema) == columns_of(rows.schema)
    assert columns_of(to_arrow(changed).schema)[:-1] == columns_of(rows.schema)
    assert to_arrow(frame).equals(rows)


@pytest.mark.parametrize(
    ("types", "message"),
    [
        (
            {"c": "JSON"},
            r"^column c has a text in row 0 \(counted from 0\) that is not valid JSON; correct",
        ),
        (
            {"c": "GEOGRAPHY"},
            r"^column c has a text in row 0 \(counted from 0\) that is not valid GEOGRAPHY",
        ),
        (
            {"r.c": "JSON"},
            r"^column r\.c has a text in row 1 \(counted from 0\) that is not valid JSON",
        ),
        (
            {"c": "BIGNUMERIC"},
            r'^attrs\["types"\] declares column c as BIGNUMERIC; only',
        ),
    ],
)
def test_text_that_does_not_fit_its_declared_type_in_a_frame_is_refused(
    types: dict[str, str], message: str
) -> None:
    inside = [[{"c": "1"}], [{"c": "1"}, {"c": "nul"}]]
    rows = pa.table({"c": ["{", "{"], "r": pa.array(inside)})
    frame = rows.to_pandas(types_mapper=pd.ArrowDtype)
    frame.attrs["types"] = types | {"gone": "JSON"}

    with pytest.raises(UnsupportedColumn, match=message):
        to_arrow(frame)


def test_invalid_types_in_attrs_are_refused() -> None:
    frame = pd.DataFrame({"c": ["x"]})
    frame.attrs["types"] = ["JSON"]

    with pytest.raises(UnsupportedColumn, match="must map paths to JSON or GEOGRAPHY"):
        to_arrow(frame)


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        (pa.decimal128(38, 10), "BIGNUMERIC"),
        (pa.decimal128(38, 0), "BIGNUMERIC"),
        (pa.decimal256(76, 38), "BIGNUMERIC"),
        (pa.decimal256(38, 9), "NUMERIC"),
        (pa.decimal128(38, 9), "NUMERIC"),
        (pa.time32("s"), "TIME"),
        (pa.time32("ms"), "TIME"),
        (pa.time64("ns"), "TIME"),
        (pa.binary(), "BYTES"),
        (pa.large_binary(), "BYTES"),
        (pa.binary(4), "BYTES"),
        (pa.binary_view(), "BYTES"),
    ],
    ids=str,
)
def test_arrow_types_become_these_column_types(kind: pa.DataType, column: str) -> None:
    assert columns_of(pa.schema([("c", kind)])) == (Column("c", column),)


@pytest.mark.parametrize(
    "kind",
    [pa.decimal256(76, 37), pa.decimal256(76, 39), pa.decimal256(40, 0), pa.duration("s")],
    ids=str,
)
def test_arrow_types_beyond_every_column_type_are_refused(kind: pa.DataType) -> None:
    with pytest.raises(UnsupportedColumn, match=r"^column c has the type "):
        columns_of(pa.schema([("c", kind)]))


@pytest.fixture
def duckdb_tables(duckdb_file: Path) -> DuckDBWarehouse:
    return DuckDBWarehouse(duckdb_file)


def test_in_duckdb_json_can_be_queried_and_wide_numbers_are_plain_digits(
    duckdb_tables: DuckDBWarehouse, tmp_path: Path
) -> None:
    rows = {"any": ['{"a" : 1.50}'], "big": pa.array([Decimal("1e-38")], WIDE), "b": [1]}
    store_snapshot(
        duckdb_tables,
        Table("crm", "orders"),
        with_text_types(pa.table(rows), {"any": "JSON"}),
        attempt="1",
    )

    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as run:
        found = run.execute('SELECT "any", "any"->>\'a\', big FROM crm.orders').fetchone()
        comments = run.execute(
            "SELECT comment FROM duckdb_columns() WHERE comment != ''"
        ).fetchall()

    assert found == ('{"a" : 1.50}', "1.5", f"0.{'0' * 37}1")
    assert comments == [('{"": "JSON"}',), ('{"": "BIGNUMERIC"}',)]


def test_a_comment_by_others_declares_no_type(
    duckdb_tables: DuckDBWarehouse, tmp_path: Path
) -> None:
    table = Table("crm", "orders")
    store_snapshot(duckdb_tables, table, pa.table({"a": ["1"], "b": ["1"]}), attempt="1")
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as run:
        run.execute("COMMENT ON COLUMN crm.orders.a IS 'BIGNUMERIC'")
        run.execute('COMMENT ON COLUMN crm.orders.b IS \'{"": "MONEY"}\'')

    with duckdb_tables:
        assert duckdb_tables.columns(table) == (Column("a", "STRING"), Column("b", "STRING"))


def test_reading_a_view_over_a_shard_from_before_a_declaration_gives_advice(
    duckdb_tables: DuckDBWarehouse,
) -> None:
    """In BigQuery `table_*` fails then, too."""
    table = Table("crm", "orders")
    text = pa.table({"id": [1], "at": ["2020"], "c": ["n/a"]})
    store(duckdb_tables, table, DAYS[0], text)
    number = pa.table({"id": [2], "at": ["2021"], "c": pa.array([LEAST], WIDE)})
    store_shard(duckdb_tables, table, DAYS[1], number, attempt="2", declared=["c"])
    with duckdb_tables:
        duckdb_tables.update_latest(table, ["id"], "at")

    with pytest.raises(WarehouseFailed, match=r"of their column; import the days from before the"):
        read_table(duckdb_tables, table)

    store(duckdb_tables, table, DAYS[0], number.set_column(0, "id", pa.array([1])))
    duckdb_tables.update_latest(table, ["id"], "at")
    assert read_table(duckdb_tables, table).column("c").to_pylist() == [LEAST, LEAST]


def test_equal_wide_numbers_are_one_key_whichever_day_they_came(
    warehouse: Warehouse, orders: Table
) -> None:
    """One value was stored when its column was NUMERIC."""
    for day, kind in ((DAYS[0], pa.decimal128(38, 9)), (DAYS[1], WIDE)):
        rows = {"id": pa.array([Decimal("1.50"), Decimal(100)], kind), "at": [str(day)] * 2}
        store(warehouse, orders, day, pa.table(rows))
    assert warehouse.update_latest(orders, ["id"], "at")

    assert read_table(warehouse, orders).num_rows == 2


@pytest.mark.parametrize(
    "zeros",
    [[-0.0, 0.0] * 500, [-0.0, 0.0, None], [-0.0], ([-0.0] * 100 + [0.0] * 100 + [2.0] * 100) * 50],
    ids=["both", "few", "one", "runs"],
)
def test_zeros_in_duckdb_have_no_sign(duckdb_file: Path, zeros: list[float | None]) -> None:
    numbers = pa.array(zeros, pa.float64())
    rows = pa.table(
        {
            "c": numbers,
            "o": pa.array([{"c": each, "s": "x"} for each in zeros]),
            "l": pa.array([[each] if each is not None else [] for each in zeros]),
        }
    )
    warehouse = DuckDBWarehouse(duckdb_file)
    store_snapshot(warehouse, Table("crm", "orders"), rows, attempt="1")
    want = [None if each is None else abs(each) for each in zeros]
    read = read_table(warehouse, Table("crm", "orders"))
    assert repr(read.column("c").to_pylist()) == repr(want)  # repr, so that -0.0 is not 0.0
    assert repr([row["c"] for row in read.column("o").to_pylist()]) == repr(want)
    assert repr(read.column("l").to_pylist()) == repr([[] if e is None else [e] for e in want])


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("-1.5", Decimal("-1.5")),
        ("9" * 38 + "." + "9" * 38, GREATEST),
        ("9" * 39, None),
        (str(2**256 + 5), None),
        ("1." + "5" * 39, None),
        ("75.57" + "0" * 200, None),
        ("1e5", None),
        ("n/a", None),
    ],
)
def test_text_is_read_as_a_bignumeric_only_if_it_is_a_valid_one(
    text: str, number: Decimal | None
) -> None:
    rows = conform(pa.table({"c": [text, None]}), (Column("c", "BIGNUMERIC"),))
    if number is None:
        with pytest.raises(pa.ArrowInvalid, match="a text is not a valid decimal256"):
            rows.read_all()
    else:
        assert rows.read_all().column("c").to_pylist() == [number, None]


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_nanoseconds_are_truncated_also_before_1970(zone: str | None) -> None:
    nanoseconds = pa.array([-1, -1000, -1001, 0, 999, 1999, None], pa.int64())
    rows = pa.table({"at": nanoseconds.view(pa.timestamp("ns", zone))})
    cut = conform(rows, columns_of(rows.schema)).read_all().column("at").chunk(0)
    assert cut.view(pa.int64()).to_pylist() == [-1, -1, -2, 0, 0, 1, None]
    times = pa.table({"at": pa.array([999, 1999], pa.int64()).view(pa.time64("ns"))})
    cut = conform(times, columns_of(times.schema)).read_all().column("at").chunk(0)
    assert cut.view(pa.int64()).to_pylist() == [0, 1]
