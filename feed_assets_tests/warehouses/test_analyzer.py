"""Google's SQL analyzer and reference engine, as used by the tests."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest

from feed_assets_tests.support.bigquery.analyzer import (
    Fields,
    Row,
    SqlRefused,
    TableMissing,
    check_sql,
    evaluate,
    output_fields,
)
from feed_assets_tests.support.bigquery.emulator import Emulator

ORDERS: Fields = [
    {"name": "id", "type": "STRING"},
    {"name": "total", "type": "FLOAT"},
    {"name": "amount", "type": "INTEGER"},
    {"name": "updated", "type": "DATETIME"},
    {
        "name": "items",
        "type": "RECORD",
        "mode": "REPEATED",
        "fields": [{"name": "price", "type": "NUMERIC"}],
    },
]


def tables(name: str) -> Fields | None:
    return ORDERS if name in {"p-1.crm.orders", "p-1.crm.orders_*"} else None


SCRIPT = """
DECLARE least, most INT64;
DECLARE day STRING DEFAULT '2020-01-01; or later';
SET least = 1;
CREATE TEMP TABLE newest AS SELECT id, least AS amount FROM crm.orders;
BEGIN
  BEGIN TRANSACTION;
  IF least > 0 THEN
    DELETE FROM crm.orders WHERE amount = most AND id = day;
  END IF;
  MERGE crm.orders AS o USING newest AS n ON o.id = n.id
    WHEN MATCHED THEN UPDATE SET amount = n.amount;
  COMMIT TRANSACTION;
EXCEPTION WHEN ERROR THEN
  ROLLBACK TRANSACTION;
  RAISE;
END;
"""


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM `p-1.crm.orders`",
        "SELECT id, _TABLE_SUFFIX FROM `crm.orders_*` WHERE _TABLE_SUFFIX > '2020'",
        "SELECT price FROM p-1.crm.orders, UNNEST(items)",
        "SELECT table_name FROM `p-1.crm.INFORMATION_SCHEMA.TABLES` ORDER BY creation_time",
        "ALTER TABLE `crm.orders` ALTER COLUMN amount SET DATA TYPE FLOAT64",
        "CREATE OR REPLACE VIEW crm.latest OPTIONS (description = 'x') AS SELECT * FROM crm.orders",
        "CREATE TABLE crm.new (a INT64) CLUSTER BY a; INSERT crm.new SELECT 1",
        "INSERT INTO crm.orders (id) VALUES ('N1')",
        "SELECT id FROM crm.orders WHERE amount > ? AND id = ?",
        SCRIPT,
    ],
)
def test_a_statement_that_bigquery_accepts_passes(sql: str) -> None:
    check_sql(sql, tables, "p-1")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT FROM crm.orders", "SELECT list must not be empty"),
        ("SELECT nothing FROM crm.orders", "Unrecognized name: nothing"),
        (
            "SELECT ROW_NUMBER() OVER (PARTITION BY total) FROM crm.orders",
            "Partitioning by expressions of type FLOAT64 is not allowed",
        ),
        ("SELECT items = items FROM crm.orders", "Equality is not defined for arguments of type"),
        (
            "ALTER TABLE crm.orders ALTER COLUMN amount SET DATA TYPE STRING",
            "requires that the existing column type",
        ),
        ("CREATE VIEW crm.v AS SELECT nothing FROM crm.orders", "Unrecognized name: nothing"),
        ("INSERT crm.orders (id) VALUES (1)", "Value has type INT64 which cannot be inserted"),
        (SCRIPT.replace("n.amount", "n.total"), "Name total not found inside n"),
        (SCRIPT.replace("o.id = n.id", "o.id = least"), "No matching signature for operator ="),
        (SCRIPT.replace("SET least = 1", "SET least = one"), "Unrecognized name: one"),
        (SCRIPT.replace("END IF;", ""), "Syntax error"),
    ],
)
def test_a_statement_that_bigquery_refuses_is_refused(sql: str, message: str) -> None:
    with pytest.raises(SqlRefused, match=message):
        check_sql(sql, tables, "p-1")


def test_a_statement_that_is_refused_once_is_refused_again_with_its_own_text() -> None:
    for table in ("crm", "other"):
        with pytest.raises(SqlRefused, match=f"SELECT a FROM {table}.t"):
            check_sql(f"SELECT a FROM {table}.t", lambda name: ORDERS, "p-1")


def test_a_table_that_does_not_exist_is_named() -> None:
    for sql in ("SELECT * FROM crm.leads", "ALTER TABLE crm.leads ADD COLUMN a INT64"):
        with pytest.raises(TableMissing, match=r"p-1\.crm\.leads"):
            check_sql(sql, tables, "p-1")


def test_the_columns_of_a_query_are_known() -> None:
    found = output_fields("SELECT items, [amount] AS a FROM crm.orders", tables, "p-1")
    assert found == [ORDERS[-1], {"name": "a", "type": "INTEGER", "mode": "REPEATED"}]


def test_each_value_passes_through_the_reference_engine_unchanged() -> None:
    row: dict[str, Any] = {
        "INTEGER": -(2**63),
        "FLOAT": -0.1,
        "BOOLEAN": False,
        "NUMERIC": Decimal("-1.500000001"),
        "BIGNUMERIC": Decimal(
            "12345678901234567890123456789012345.0000000000000000000000000000001"
        ),
        "STRING": "é\0",
        "BYTES": b"\0\xff",
        "DATE": date(1, 1, 1),
        "TIME": time(23, 59, 59, 999999),
        "DATETIME": datetime(9999, 12, 31, 23, 59, 59, 999999),
        "TIMESTAMP": datetime(1969, 12, 31, 23, 59, 59, 1, UTC),
        "JSON": '{"a":[1,null]}',
        "RECORD": {"a": [{"b": Decimal("1")}, {"b": None}], "c": None},
    }
    inside: Fields = [{"name": "b", "type": "NUMERIC"}]
    fields: list[dict[str, Any]] = [{"name": kind, "type": kind} for kind in row]
    fields[-1]["fields"] = [
        {"name": "a", "type": "RECORD", "mode": "REPEATED", "fields": inside},
        {"name": "c", "type": "DATE"},
    ]
    nothing = dict.fromkeys(row)
    found = evaluate("SELECT * FROM `crm.t`", {"crm.t": (fields, [row, nothing])})
    assert found == [row, nothing]


def test_a_wildcard_reads_the_shards_under_the_columns_of_the_last() -> None:
    old: Fields = [{"name": "id", "type": "STRING"}]
    contents: dict[str, tuple[Fields, list[Row]]] = {
        "crm.t_2": (old, [{"id": "N1"}]),
        "crm.t_1": (ORDERS, [{"id": "N1", "amount": 5, "items": []}]),
    }
    newest = (
        "SELECT id, amount, _TABLE_SUFFIX AS shard FROM `crm.t_*` WHERE TRUE "
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY id ORDER BY _TABLE_SUFFIX DESC) = 1"
    )
    assert evaluate(newest, contents) == [{"id": "N1", "amount": None, "shard": "2"}]
    with pytest.raises(TableMissing):
        evaluate("SELECT * FROM `crm.other_*`", contents)


def test_the_emulator_refuses_what_the_analyzer_refuses(bigquery: Emulator, dataset: str) -> None:
    client = bigquery.client()
    client.create_dataset(dataset)
    client.query_and_wait(f"CREATE TABLE {dataset}.t (total FLOAT64)")
    numbered = f"SELECT ROW_NUMBER() OVER (PARTITION BY total) AS n FROM `{dataset}.t`"
    for sql in (numbered, f"CREATE VIEW `{dataset}.v` AS {numbered}"):
        with pytest.raises(BadRequest, match="Partitioning by expressions of type FLOAT64"):
            client.query_and_wait(sql)
        with pytest.raises(BadRequest, match="Partitioning by expressions of type FLOAT64"):
            client.query(sql).result()
