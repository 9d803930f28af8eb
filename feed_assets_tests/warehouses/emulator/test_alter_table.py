"""ALTER TABLE widens types; queries rewrite tables."""

import pyarrow as pa
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField

from feed_assets_tests.support.bigquery.client_calls import load, query, read, shard, types


def test_an_integer_column_becomes_float(client: bigquery.Client, dataset: str) -> None:
    shard(client, f"{dataset}.t_1", [{"price": 3}], price="INTEGER")
    shard(client, f"{dataset}.t_2", [{"price": 0.5}], price="FLOAT")
    with pytest.raises(exceptions.BadRequest):
        query(client, f"SELECT * FROM `{dataset}.t_*`")
    before = client.get_table(f"{dataset}.t_1")
    sql = f"ALTER TABLE `{before.full_table_id.replace(':', '.')}` "
    assert query(client, sql + "ALTER COLUMN price SET DATA TYPE FLOAT64") == []
    after = client.get_table(before)
    assert types(after.schema) == {"price": "FLOAT NULLABLE"}
    assert after.etag != before.etag
    assert after.created == before.created
    rows = query(client, f"SELECT * FROM `{dataset}.t_*` ORDER BY _TABLE_SUFFIX")
    assert rows == [{"price": 3.0}, {"price": 0.5}]
    shard(client, f"{dataset}.t_1", [{"price": 4.5}], price="FLOAT")
    assert read(client, f"{dataset}.t_1") == [{"price": 4.5}]


NESTED = SchemaField(
    "r",
    "RECORD",
    fields=[
        SchemaField("a", "INTEGER"),
        SchemaField("b", "RECORD", "REPEATED", fields=[SchemaField("c", "INTEGER")]),
    ],
)


def test_integers_in_a_record_become_float(client: bigquery.Client, dataset: str) -> None:
    load(client, f"{dataset}.t", pa.table({"r": [{"a": 1, "b": [{"c": 2}]}]}), [NESTED])
    kind = "STRUCT<a FLOAT64, b ARRAY<STRUCT<c INT64>>>"
    query(client, f"ALTER TABLE {dataset}.t ALTER COLUMN r SET DATA TYPE {kind}")
    assert types(client.get_table(f"{dataset}.t").schema) == {
        "r": {"a": "FLOAT NULLABLE", "b": {"c": "INTEGER NULLABLE"}}
    }
    assert read(client, f"{dataset}.t") == [{"r": {"a": 1.0, "b": [{"c": 2}]}}]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("r", "STRUCT<a INT64, b ARRAY<STRUCT<c FLOAT64>>>"),
        ("r", "STRUCT<a FLOAT64>"),
        ("r", "STRUCT<a INT64, b ARRAY<STRUCT<c INT64>>, d STRING>"),
        ("many", "ARRAY<FLOAT64>"),
    ],
)
def test_arrays_and_the_number_of_fields_stay(
    client: bigquery.Client, dataset: str, column: str, kind: str
) -> None:
    schema = [NESTED, SchemaField("many", "INTEGER", "REPEATED")]
    load(
        client, f"{dataset}.t", pa.table({"r": [{"a": 1, "b": [{"c": 2}]}], "many": [[3]]}), schema
    )
    with pytest.raises(exceptions.BadRequest, match="assignable"):
        query(client, f"ALTER TABLE {dataset}.t ALTER COLUMN {column} SET DATA TYPE {kind}")
    assert types(client.get_table(f"{dataset}.t").schema) == types(schema)


@pytest.mark.parametrize("kind", ["INT64", "STRING", "ARRAY<FLOAT64>"])
def test_a_type_only_widens(client: bigquery.Client, dataset: str, kind: str) -> None:
    shard(client, f"{dataset}.t", [{"a": 1.5}], a="FLOAT")
    with pytest.raises(exceptions.BadRequest):
        query(client, f"ALTER TABLE {dataset}.t ALTER COLUMN a SET DATA TYPE {kind}")
    assert read(client, f"{dataset}.t") == [{"a": 1.5}]


def test_an_update_remembers_columns_that_sql_added(client: bigquery.Client, dataset: str) -> None:
    shard(client, f"{dataset}.t", [{"a": 1}], a="INTEGER")
    query(client, f"ALTER TABLE {dataset}.t ADD COLUMN b ARRAY<STRING>, ADD COLUMN c NUMERIC")
    query(client, f"ALTER TABLE {dataset}.t ADD COLUMN IF NOT EXISTS b STRING")
    query(client, f"ALTER TABLE {dataset}.t SET OPTIONS (description = 'three columns')")
    table = client.get_table(f"{dataset}.t")
    assert table.description == "three columns"
    table.schema = [*table.schema, SchemaField("d", "DATE")]
    client.update_table(table, ["schema"])
    assert read(client, f"{dataset}.t") == [{"a": 1, "b": [], "c": None, "d": None}]


def test_each_statement_updates_the_time_of_modification(
    client: bigquery.Client, dataset: str
) -> None:
    orders = f"{dataset}.orders"
    client.query_and_wait(f"CREATE TABLE {orders} (id INT64, total FLOAT64)")
    changed = [client.get_table(orders).modified]
    for statement in (
        f"INSERT INTO {orders} VALUES (1, 1.5)",
        f"UPDATE {orders} SET total = 2 WHERE TRUE",
        f"DELETE FROM {orders} WHERE TRUE",
        f"ALTER TABLE {orders} DROP COLUMN total",
    ):
        client.query_and_wait(statement)
        changed.append(client.get_table(orders).modified)
    assert changed == sorted(set(changed))
    assert [field.name for field in client.get_table(orders).schema] == ["id"]


def test_a_query_rewrites_a_table_and_keeps_it(client: bigquery.Client, dataset: str) -> None:
    """The way to widen an array: the rows and columns are replaced, the table stays."""
    name = f"{client.project}.{dataset}.t"
    load(client, name, pa.table({"a": [[1, 2]]}), [SchemaField("a", "INTEGER", "REPEATED")])
    before = client.get_table(name)
    config = bigquery.QueryJobConfig(destination=name, write_disposition="WRITE_TRUNCATE")
    wider = "ARRAY(SELECT CAST(x AS FLOAT64) FROM UNNEST(a) AS x)"
    client.query(f"SELECT {wider} AS a FROM `{name}`", job_config=config).result()
    after = client.get_table(name)
    assert types(after.schema) == {"a": "FLOAT REPEATED"}
    assert after.created == before.created
    assert read(client, name) == [{"a": [1.0, 2.0]}]


def test_query_and_wait_raises_the_error_of_the_query(
    client: bigquery.Client, dataset: str
) -> None:
    shard(client, f"{dataset}.t", [{"a": 1.5}], a="FLOAT")
    with pytest.raises(exceptions.BadRequest):
        client.query_and_wait(f"ALTER TABLE {dataset}.t ALTER COLUMN a SET DATA TYPE INT64")
    with pytest.raises(exceptions.NotFound):
        client.query_and_wait(f"SELECT * FROM {dataset}.missing")
    assert [row["a"] for row in client.query_and_wait(f"SELECT a FROM {dataset}.t")] == [1.5]
