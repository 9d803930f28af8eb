"""Wildcard tables have the columns of the newest shard, and the limits that BigQuery documents."""

from typing import Any

import pyarrow as pa
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField

from feed_assets_tests.support.bigquery.client_calls import load, query, shard


def test_a_wildcard_has_the_columns_of_the_table_made_last(
    client: bigquery.Client, dataset: str
) -> None:
    """Also if that shard is an older day. Columns it lacks are invisible; others are NULL."""
    shard(client, f"{dataset}.t_20240102", [{"a": 2, "b": "x"}], a="INTEGER", b="STRING")
    shard(client, f"{dataset}.t_20240101", [{"c": 0.5, "a": 1}], c="FLOAT", a="INTEGER")
    shard(client, f"{dataset}.t_20240102", [{"a": 3, "b": "y"}], a="INTEGER", b="STRING")
    rows = query(client, f"SELECT * FROM `{dataset}.t_*` ORDER BY a")
    assert rows == [{"c": 0.5, "a": 1}, {"c": None, "a": 3}]
    with pytest.raises(exceptions.BadRequest):
        query(client, f"SELECT b FROM `{dataset}.t_*`")


def test_a_wildcard_fills_fields_of_records(client: bigquery.Client, dataset: str) -> None:
    def record(*names: str) -> list[SchemaField]:
        parts = [SchemaField(name, "INTEGER") for name in names]
        many = SchemaField("m", "RECORD", "REPEATED", fields=parts)
        return [SchemaField("r", "RECORD", fields=parts), many]

    load(client, f"{dataset}.t_1", pa.table({"r": [{"a": 1}], "m": [[{"a": 1}]]}), record("a"))
    data = pa.table({"r": [{"b": 2}], "m": [[{"b": 2}]]})
    load(client, f"{dataset}.t_2", data, record("b"))
    assert query(client, f"SELECT * FROM `{dataset}.t_*` ORDER BY _TABLE_SUFFIX") == [
        {"r": {"b": None}, "m": [{"b": None}]},
        {"r": {"b": 2}, "m": [{"b": 2}]},
    ]


def test_a_wildcard_cannot_read_flexible_names(client: bigquery.Client, dataset: str) -> None:
    """Such a column can be left out by EXCEPT, or such a table by its suffix."""
    shard(client, f"{dataset}.t_1", [{"a": 1}], a="INTEGER")
    shard(client, f"{dataset}.t_2", [{"a": 2, "Straße": "x"}], a="INTEGER", **{"Straße": "STRING"})
    with pytest.raises(exceptions.BadRequest, match="flexible column name"):
        query(client, f"SELECT * FROM `{dataset}.t_*`")
    rows = query(client, f"SELECT * EXCEPT (`Straße`) FROM `{dataset}.t_*` ORDER BY a")
    assert rows == [{"a": 1}, {"a": 2}]
    rows = query(client, f"SELECT * FROM `{dataset}.t_*` WHERE _TABLE_SUFFIX = '1'")
    assert rows == [{"a": 1, "Straße": None}]
    assert query(client, f"SELECT `Straße` FROM {dataset}.t_2") == [{"Straße": "x"}]


def test_a_wildcard_has_the_table_suffix(client: bigquery.Client, dataset: str) -> None:
    for day in ("01", "02", "03"):
        shard(client, f"{dataset}.t_202401{day}", [{"a": int(day)}], a="INTEGER")
    source = f"`{client.project}.{dataset}.t_*`"
    assert query(client, f"SELECT a, _TABLE_SUFFIX AS day FROM {source} WHERE a = 2") == [
        {"a": 2, "day": "20240102"}
    ]
    between = "WHERE _TABLE_SUFFIX BETWEEN '20240102' AND '20240103'"
    assert query(client, f"SELECT SUM(t.a) AS s FROM {source} AS t {between}") == [{"s": 5}]
    narrower = f"SELECT * FROM `{dataset}.t_2024010*` WHERE _TABLE_SUFFIX = '3'"
    assert query(client, narrower) == [{"a": 3}]


def test_a_wildcard_over_conflicting_types_fails(client: bigquery.Client, dataset: str) -> None:
    shard(client, f"{dataset}.t_1", [{"a": 1}], a="INTEGER")
    shard(client, f"{dataset}.t_2", [{"a": "x"}], a="STRING")
    with pytest.raises(exceptions.BadRequest, match="INTEGER as STRING"):
        query(client, f"SELECT * FROM `{dataset}.t_*`")


def test_a_view_under_a_wildcard_fails_the_query(client: bigquery.Client, dataset: str) -> None:
    shard(client, f"{dataset}.t_1", [{"a": 1}], a="INTEGER")
    query(client, f"CREATE VIEW {dataset}.t_latest AS SELECT 1 AS a")
    with pytest.raises(exceptions.BadRequest, match="t_latest"):
        query(client, f"SELECT * FROM `{dataset}.t_*` WHERE _TABLE_SUFFIX = '1'")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"encryptionConfiguration": {"kmsKeyName": "k"}}, "customer-managed encryption key"),
        ({"resourceTags": {"p/env": "prod"}}, "the same tags"),
    ],
)
def test_a_wildcard_cannot_read_a_table_with_a_key_or_tag_of_its_own(
    client: bigquery.Client, dataset: str, body: dict[str, object], message: str
) -> None:
    shard(client, f"{dataset}.t_1", [{"a": 1}], a="INTEGER")
    shard(client, f"{dataset}.t_2", [{"a": 1}], a="INTEGER")
    path = f"/projects/{client.project}/datasets/{dataset}/tables/"
    connection: Any = client._connection
    assert connection.api_request("PATCH", f"{path}t_1", data=body).items() >= body.items()
    with pytest.raises(exceptions.BadRequest, match=message):
        query(client, f"SELECT * FROM `{dataset}.t_*`")
    if "resourceTags" in body:  # all have the same
        connection.api_request("PATCH", f"{path}t_2", data=body)
        assert len(query(client, f"SELECT * FROM `{dataset}.t_*`")) == 2


def test_a_wildcard_cannot_read_a_table_with_row_access_policies(
    client: bigquery.Client, dataset: str
) -> None:
    shard(client, f"{dataset}.t_1", [{"a": 1}], a="INTEGER")
    client.query_and_wait(
        f"CREATE ROW ACCESS POLICY mine ON `{dataset}.t_1` "
        f"GRANT TO ('user:test@example.com') FILTER USING (TRUE)"
    )
    with pytest.raises(exceptions.BadRequest, match="row access policies"):
        query(client, f"SELECT * FROM `{dataset}.t_*`")


def test_a_wildcard_cannot_read_a_table_with_a_renamed_column(
    client: bigquery.Client, dataset: str
) -> None:
    shard(client, f"{dataset}.t_1", [{"a": 1}], a="INTEGER")
    query(client, f"ALTER TABLE {dataset}.t_1 RENAME COLUMN a TO b")
    assert query(client, f"SELECT * FROM {dataset}.t_1") == [{"b": 1}]
    with pytest.raises(exceptions.BadRequest, match="a renamed column"):
        query(client, f"SELECT * FROM `{dataset}.t_*`")


def test_a_truncating_job_without_a_key_removes_the_tables_key(
    client: bigquery.Client, dataset: str
) -> None:
    name = f"{client.project}.{dataset}.t"
    made = bigquery.Table(name, [SchemaField("a", "INTEGER")])
    made.encryption_configuration = bigquery.EncryptionConfiguration("k")
    assert client.create_table(made).encryption_configuration == made.encryption_configuration
    keyed = {"destination_encryption_configuration": made.encryption_configuration}
    for options, has_key in (({}, False), (keyed, True)):
        load(client, name, pa.table({"a": [1]}), made.schema, **options)
        assert bool(client.get_table(name).encryption_configuration) == has_key
    config = bigquery.QueryJobConfig(destination=name, write_disposition="WRITE_TRUNCATE")
    client.query_and_wait(f"SELECT * FROM `{name}`", job_config=config)
    assert client.get_table(name).encryption_configuration is None


def test_a_wildcard_that_matches_nothing_fails(client: bigquery.Client, dataset: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="does not match any table"):
        query(client, f"SELECT * FROM `{dataset}.t_*`")
