"""Rules by which a wildcard query can read all shards, as tables."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from feed_assets.errors import TableError, TypeConflict
from feed_assets.schema.columns import Column, Columns
from feed_assets.schema.datatypes import BY_NAME
from feed_assets.schema.table import Table
from feed_assets.warehouse.bigquery.schema import known_fields, known_from
from feed_assets.warehouse.schema_evolution import (
    added,
    changed,
    key_path,
    merge_schemas,
    migrated,
    order_path,
    snapshot_schema,
    with_new_columns,
    with_wider_types,
)

ORDERS = Table("crm", "orders")
SCALARS = sorted(BY_NAME)


def column(described: str) -> Column:
    """`INTEGER`, `REPEATED FLOAT`, `LONG` for an INTEGER beyond 2^53, `RECORD` of a field `a`."""
    repeated, kind = described.startswith("REPEATED "), described.rpartition(" ")[2]
    if kind == "RECORD":
        return Column("x", "RECORD", repeated, (Column("a", "INTEGER"),))
    if kind == "LONG":
        return Column("x", "INTEGER", repeated, long=True)
    return Column("x", kind, repeated)


@pytest.mark.parametrize(
    ("known", "today", "then"),
    [
        ("INTEGER", "FLOAT", "FLOAT"),
        ("FLOAT", "INTEGER", "FLOAT"),
        ("INTEGER", "LONG", "LONG"),
        ("LONG", "INTEGER", "LONG"),
        *[(kind, kind, kind) for kind in [*SCALARS, "LONG", "RECORD", "REPEATED RECORD"]],
        *[("STRING", kind, "STRING") for kind in [*SCALARS, "RECORD", "REPEATED INTEGER"]],
        ("REPEATED INTEGER", "REPEATED FLOAT", "REPEATED FLOAT"),
        ("NUMERIC", "BIGNUMERIC", "BIGNUMERIC"),
        ("BIGNUMERIC", "NUMERIC", "BIGNUMERIC"),
        ("REPEATED NUMERIC", "REPEATED BIGNUMERIC", "REPEATED BIGNUMERIC"),
        ("REPEATED STRING", "REPEATED RECORD", "REPEATED STRING"),
    ],
)
def test_the_merged_type_of_a_known_column(known: str, today: str, then: str) -> None:
    assert merge_schemas(ORDERS, (column(known),), (column(today),)) == (column(then),)


@pytest.mark.parametrize(
    ("known", "today"),
    [
        ("LONG", "FLOAT"),
        ("FLOAT", "LONG"),
        ("INTEGER", "STRING"),
        ("BOOLEAN", "INTEGER"),
        ("DATETIME", "TIMESTAMP"),
        ("TIMESTAMP", "DATETIME"),
        ("DATE", "DATETIME"),
        ("RECORD", "STRING"),
        ("INTEGER", "RECORD"),
        ("INTEGER", "BIGNUMERIC"),
        ("LONG", "NUMERIC"),
        ("BIGNUMERIC", "FLOAT"),
        ("TIME", "DATETIME"),
        ("TIME", "STRING"),
        ("JSON", "STRING"),
        ("JSON", "RECORD"),
        ("JSON", "REPEATED JSON"),
        ("RECORD", "JSON"),
        ("BYTES", "STRING"),
        ("GEOGRAPHY", "STRING"),
        ("GEOGRAPHY", "JSON"),
        ("INTEGER", "REPEATED INTEGER"),
        ("REPEATED INTEGER", "INTEGER"),
        ("REPEATED STRING", "STRING"),
    ],
)
def test_types_that_cannot_be_merged_are_refused_unless_declared(known: str, today: str) -> None:
    with pytest.raises(TypeConflict) as refused:
        merge_schemas(ORDERS, (column(known),), (column(today),))

    assert (refused.value.column, refused.value.table) == ("x", "crm.orders")
    (declared,) = merge_schemas(ORDERS, (column(known),), (column(today),), {"x"})
    assert (declared.type, declared.repeated) == (column(today).type, column(today).repeated)


@pytest.mark.parametrize(
    ("known", "today", "says"),
    [
        ("DATE", "DATETIME", "Either declare it so in the feed's YAML (types: {x: DATE}), or fix"),
        ("NUMERIC", "FLOAT", "(types: {x: NUMERIC}), or fix"),
        ("REPEATED NUMERIC", "REPEATED FLOAT", "(types: {x: NUMERIC}), or fix"),
        ("INTEGER", "STRING", "(types: {x: STRING}, say) and backfill the days before, or fix"),
        ("REPEATED DATE", "DATE", "(types: {x: STRING}, say) and backfill the days before, or fix"),
    ],
)
def test_a_type_conflict_suggests_the_declaration_that_resolves_it(
    known: str, today: str, says: str
) -> None:
    with pytest.raises(TypeConflict) as refused:
        merge_schemas(ORDERS, (column(known),), (column(today),))

    assert says in str(refused.value)


def test_integers_that_a_float_cannot_represent_are_not_widened_by_a_declaration() -> None:
    (declared,) = merge_schemas(ORDERS, (column("LONG"),), (column("FLOAT"),), {"x"})

    assert migrated((column("INTEGER"),), (declared,)) == (column("INTEGER"),)
    assert merge_schemas(ORDERS, (declared,), (column("INTEGER"),)) == (declared,)


A, B, C = Column("a", "INTEGER"), Column("b", "STRING"), Column("c", "BOOLEAN")
A_FLOAT = Column("a", "FLOAT")


def record(*fields: Column) -> Column:
    return Column("r", "RECORD", fields=fields)


@pytest.mark.parametrize(
    ("known", "today", "then"),
    [
        ((A, B), (B, C, A), (A, B, C)),  # the known order, then what is new
        ((A, B), (), (A, B)),
        ((), (C, A), (C, A)),
        ((A,), (Column("A", "INTEGER"),), (A,)),  # case does not distinguish
        ((record(A), B), (record(C, A_FLOAT),), (record(A_FLOAT, C), B)),
    ],
)
def test_columns_keep_their_order_and_new_ones_come_last(
    known: Columns, today: Columns, then: Columns
) -> None:
    assert merge_schemas(ORDERS, known, today) == then


def test_a_conflict_inside_a_record_is_named_by_its_path() -> None:
    with pytest.raises(
        TypeConflict, match=r"column r\.b of crm\.orders is INTEGER .* STRING today"
    ):
        merge_schemas(ORDERS, (record(Column("b", "INTEGER")),), (record(B),))


LINES = Column("r", "RECORD", repeated=True, fields=(A, B))
NULL = pa.null()


@pytest.mark.parametrize(
    ("known", "today", "named", "then"),
    [
        ((A, B), (A_FLOAT, C), {"a": pa.float64(), "c": pa.string()}, (A_FLOAT, C)),
        ((A, B), (A_FLOAT, C), {"a": pa.float64(), "B": NULL, "c": NULL}, (A_FLOAT, B, C)),
        ((A, B), (), {}, ()),
        ((record(A, B),), (), {"r": NULL}, (record(A, B),)),
        ((record(A, B),), (), {"r": pa.struct([("a", NULL)])}, (record(A),)),
        ((record(A, B), C), (C,), {"r": pa.struct([("x", NULL)]), "c": NULL}, (C,)),
        (
            (record(A, B),),
            (record(C),),
            {"r": pa.struct([("c", pa.string()), ("b", NULL)])},
            (record(B, C),),
        ),
        ((record(A),), (Column("r", "STRING"),), {"r": pa.string()}, (Column("r", "STRING"),)),
        ((LINES,), (), {"r": pa.list_(pa.struct([("a", NULL)]))}, (replace(LINES, fields=(A,)),)),
        ((LINES,), (), {"r": pa.list_(NULL)}, (LINES,)),
        (
            (LINES,),
            (replace(LINES, fields=(A_FLOAT,)),),
            {"r": pa.list_(pa.struct([("a", pa.float64()), ("b", NULL)]))},
            (replace(LINES, fields=(A_FLOAT, B)),),
        ),
        ((LINES,), (record(A),), {"r": pa.struct([("a", pa.int64()), ("b", NULL)])}, (record(A),)),
    ],
)
def test_a_snapshot_has_the_columns_that_its_feed_names_today(
    known: Columns, today: Columns, named: dict[str, pa.DataType], then: Columns
) -> None:
    assert snapshot_schema(known, today, pa.schema(named)) == then


def test_a_shard_gets_new_columns_wider_types_or_both() -> None:
    shard, known = (A, record(A)), (A_FLOAT, record(A_FLOAT, B), C)

    assert with_new_columns(shard, known) == (A, record(A, B), C)
    assert with_wider_types(shard, known) == (A_FLOAT, record(A_FLOAT))
    assert migrated(shard, known) == (A_FLOAT, record(A_FLOAT, B), C)


def test_a_numeric_column_of_a_shard_is_widened_to_bignumeric() -> None:
    shard = (Column("n", "NUMERIC"), record(Column("n", "NUMERIC", repeated=True)))
    known = (Column("n", "BIGNUMERIC"), record(Column("n", "BIGNUMERIC", repeated=True)))

    assert with_wider_types(shard, known) == migrated(shard, known) == known
    assert with_wider_types(known, shard) == known


def test_a_changed_declared_type_applies_when_the_day_is_imported_again() -> None:
    assert migrated((A,), (Column("a", "STRING"),)) == (A,)


def test_new_columns_and_changed_types_are_listed_by_path() -> None:
    before, after = (A, record(A)), (A_FLOAT, record(A, B), C)

    assert added(before, after) == {"r.b": B, "c": C}
    assert changed(before, after) == {"a": ("INTEGER", "FLOAT")}


@pytest.mark.parametrize(
    "key",
    [
        "order-id",
        "",
        "ü 🎉",
        "\0\n\x7f\u2028\ufffe",
        '"\\"\\',
        'Now STRING. Sent as "x".',
        "x" * 898,
    ],
    ids=ascii,
)
def test_a_table_of_known_columns_records_keys_exactly(key: str) -> None:
    inner = Column("a", "INTEGER", long=True, key=key)
    before = (Column("r", "RECORD", True, (inner,), key=key), Column("t", "INTEGER", key=key))
    after = (*before[:1], Column("t", "TIMESTAMP", True, long=True, key=key), Column("b", "STRING"))

    schema = known_fields(before, [])
    assert known_from(schema) == before
    schema = known_fields(after, schema)
    assert known_from(schema) == after
    assert all(len(field["description"]) <= 1024 for field in [*schema, *schema[0]["fields"]])


def test_a_table_of_known_columns_records_type_changes_in_descriptions() -> None:
    """BigQuery does not let a column change its type, so the description records the change."""
    history: list[Columns] = [
        (A, record(A), Column("t", "INTEGER", repeated=True)),
        (A_FLOAT, record(A_FLOAT, B), Column("t", "FLOAT", repeated=True), C),
        (Column("a", "STRING"), Column("r", "STRING"), Column("t", "FLOAT", repeated=True), C),
        (Column("a", "JSON"), Column("r", "JSON"), Column("t", "GEOGRAPHY", repeated=True), C),
        (Column("a", "BIGNUMERIC"), Column("r", "BYTES"), Column("t", "TIME"), C),
        (A, record(A, B), Column("t", "INTEGER", repeated=True, long=True), C),
    ]
    schema: list[dict[str, object]] = []
    for columns in history:
        before = {field["name"]: field["type"] for field in schema}
        schema = known_fields(columns, schema)
        assert known_from(schema) == columns
        assert before.items() <= {field["name"]: field["type"] for field in schema}.items()


LATEST = (
    Column("Id", "STRING"),
    Column("total", "FLOAT"),
    record(A, Column("deep", "RECORD", fields=(B,)), Column("v1_2", "STRING", key="v1.2")),
    Column("order_id", "STRING", key="order-id"),
    Column("v1_2", "STRING", key="v1.2"),
    Column("tags", "STRING", repeated=True),
    Column("lines", "RECORD", repeated=True, fields=(B,)),
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("Id", ("Id",)),
        ("r.a", ("r", "a")),
        ("r.deep.b", ("r", "deep", "b")),
        ("order-id", ("order_id",)),
        ("order_id", ("order_id",)),
        ("v1.2", ("v1_2",)),
        ("r.v1.2", ("r", "v1_2")),
    ],
)
def test_a_path_finds_a_column_or_field_by_its_name_in_the_feed_or_in_the_table(
    path: str, found: tuple[str, ...]
) -> None:
    assert key_path(ORDERS, LATEST, path) == order_path(ORDERS, LATEST, path) == found


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nope", "no column nope, .*; it has Id, total, r, order_id, v1_2, tags, lines"),
        ("r.nope", r"no column r\.nope, .*; it has r\.a, r\.deep, r\.v1_2"),
        ("Id.a", r"no column Id\.a, .*; it has Id"),
        ("r", "use r, because r is RECORD"),
        ("r.deep", r"use r\.deep, because r\.deep is RECORD"),
        ("tags", "use tags, because tags is REPEATED STRING"),
        ("lines.b", r"use lines\.b, because lines is REPEATED RECORD"),
    ],
)
def test_a_path_to_a_column_without_an_order_is_refused(path: str, reason: str) -> None:
    for find in (key_path, order_path):
        with pytest.raises(TableError, match=reason):
            find(ORDERS, LATEST, path)


def test_a_fraction_can_order_rows_but_cannot_be_a_key() -> None:
    """BigQuery does not partition by floating point numbers."""
    assert order_path(ORDERS, LATEST, "total") == ("total",)
    with pytest.raises(TableError, match="because total is FLOAT"):
        key_path(ORDERS, LATEST, "total")
