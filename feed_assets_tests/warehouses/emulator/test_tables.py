"""Updates only add columns, and truncating loads remove the properties that BigQuery removes."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField
from google.cloud.bigquery.schema import PolicyTagList

from feed_assets_tests.support.bigquery.client_calls import load, query, read, shard, types
from feed_assets_tests.warehouses.emulator.every_type import (
    EVERYTHING,
)


def test_tables_are_made_and_deleted(client: bigquery.Client, dataset: str) -> None:
    name = f"{client.project}.{dataset}.t"
    with pytest.raises(exceptions.NotFound):
        client.get_table(name)
    client.create_table(bigquery.Table(name, EVERYTHING))
    with pytest.raises(exceptions.Conflict):
        client.create_table(bigquery.Table(name, EVERYTHING))
    assert types(client.create_table(name, exists_ok=True).schema) == types(EVERYTHING)
    assert [t.table_id for t in client.list_tables(dataset)] == ["t"]
    client.delete_table(name)
    with pytest.raises(exceptions.NotFound):
        client.delete_table(name)
    client.delete_table(name, not_found_ok=True)


def test_an_update_adds_columns_and_keeps_the_rows(client: bigquery.Client, dataset: str) -> None:
    record = SchemaField("r", "RECORD", fields=[SchemaField("x", "INTEGER")])
    many = SchemaField("m", "RECORD", "REPEATED", fields=[SchemaField("x", "INTEGER")])
    data = pa.table({"r": [{"x": 1}, None], "m": [[{"x": 2}], []]})
    load(client, f"{dataset}.t", data, [record, many])
    table = client.get_table(f"{dataset}.t")
    added = [SchemaField("x", "INTEGER"), SchemaField("y y", "STRING")]
    table.schema = [
        SchemaField("r", "RECORD", fields=added),
        SchemaField("m", "RECORD", "REPEATED", fields=added),
        SchemaField("new", "NUMERIC", description="the newest"),
        SchemaField("list", "STRING", "REPEATED"),
    ]
    updated = client.update_table(table, ["schema"])
    assert types(updated.schema) == types(table.schema)
    assert updated.schema[2].description == "the newest"
    assert read(client, f"{dataset}.t") == [
        {"r": {"x": 1, "y y": None}, "m": [{"x": 2, "y y": None}], "new": None, "list": []},
        {"r": None, "m": [], "new": None, "list": []},
    ]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ([SchemaField("b", "STRING")], "Field a is missing in new schema"),
        ([SchemaField("a", "FLOAT")], "Field a has changed type from INTEGER to FLOAT"),
        ([SchemaField("a", "INTEGER", "REPEATED")], "Field a has changed mode"),
        ([SchemaField("a", "INTEGER"), SchemaField("b", "DATE", "REQUIRED")], "required"),
    ],
)
def test_an_update_only_adds(
    client: bigquery.Client, dataset: str, fields: list[SchemaField], complaint: str
) -> None:
    shard(client, f"{dataset}.t", [{"a": 1}], a="INTEGER")
    table = client.get_table(f"{dataset}.t")
    table.schema = fields
    with pytest.raises(exceptions.BadRequest, match=complaint):
        client.update_table(table, ["schema"])
    assert types(client.get_table(table).schema) == {"a": "INTEGER NULLABLE"}


def test_new_columns_come_last(client: bigquery.Client, dataset: str) -> None:
    shard(client, f"{dataset}.t", [{"a": 1, "b": 2}], a="INTEGER", b="INTEGER")
    table = client.get_table(f"{dataset}.t")
    a, b = table.schema
    table.schema = [SchemaField("c", "STRING"), a, b]
    with pytest.raises(exceptions.PreconditionFailed):
        client.update_table(table, ["schema"])
    table.schema = [b, a, SchemaField("c", "STRING")]
    assert list(types(client.update_table(table, ["schema"]).schema)) == ["a", "b", "c"]


def test_an_update_with_an_outdated_etag_is_refused(client: bigquery.Client, dataset: str) -> None:
    shard(client, f"{dataset}.t", [], a="INTEGER")
    first, second = client.get_table(f"{dataset}.t"), client.get_table(f"{dataset}.t")
    first.schema = [*first.schema, SchemaField("b", "STRING")]
    second.schema = [*second.schema, SchemaField("c", "STRING")]
    updated = client.update_table(first, ["schema"])
    assert updated.etag != first.etag
    with pytest.raises(exceptions.PreconditionFailed):
        client.update_table(second, ["schema"])
    assert list(types(client.get_table(first).schema)) == ["a", "b"]
    updated.description = "still fresh"
    client.update_table(updated, ["description"])


def test_an_update_changes_description_labels_and_expiration(
    client: bigquery.Client, dataset: str
) -> None:
    table = client.create_table(bigquery.Table(f"{client.project}.{dataset}.t"))
    table.description = "orders"
    table.labels = {"a": "1", "b": "2"}
    table.expires = datetime(2100, 1, 1, tzinfo=UTC)
    table = client.update_table(table, ["description", "labels", "expires"])
    assert (table.description, table.labels) == ("orders", {"a": "1", "b": "2"})
    assert table.expires == datetime(2100, 1, 1, tzinfo=UTC)
    table.description = None
    table.labels["a"] = None
    table.expires = None
    table = client.update_table(table, ["description", "labels", "expires"])
    assert (table.description, table.labels, table.expires) == (None, {"b": "2"}, None)


@pytest.mark.parametrize(
    ("names", "value"),
    [
        ("STRICT", "x"),
        ("V2", "x"),
        ("V1", None),
        ("COLUMN_NAME_CHARACTER_MAP_UNSPECIFIED", None),
    ],
)
def test_a_flexible_name_is_null_where_a_load_or_its_project_renames_it(
    client: bigquery.Client, dataset: str, names: str, value: str | None
) -> None:
    table = f"{client.project}.{dataset}.t"
    fields = [SchemaField("a b-c", "STRING"), SchemaField("d", "STRING")]

    data = pa.table({"a b-c": ["x"], "d": ["y"]})
    load(client, table, data, fields, column_name_character_map=names)

    assert read(client, table) == [{"a b-c": value, "d": "y"}]


TAGGED = SchemaField("a", "STRING", description="Tagged.", policy_tags=PolicyTagList(["p/1"]))


def protected_table(client: bigquery.Client, dataset: str) -> str:
    """A table with a policy tag, a primary key and a row access policy."""
    name = f"{client.project}.{dataset}.t"
    made = bigquery.Table(name, [TAGGED])
    made._properties["tableConstraints"] = {"primaryKey": {"columns": ["a"]}}
    client.create_table(made)
    grant = "GRANT TO ('user:test@example.com') FILTER USING (TRUE)"
    query(client, f"CREATE ROW ACCESS POLICY mine ON `{name}` {grant}")
    return name


def protections(client: bigquery.Client, table: str) -> list[object]:
    found = client.get_table(table)
    job = client.query(f"SELECT 1 FROM `{table}` LIMIT 1")
    job.result()
    applied = job._properties["statistics"].get("rowLevelSecurityStatistics")
    return [found.schema[0].policy_tags, found.table_constraints is not None, bool(applied)]


def test_truncating_removes_properties_that_the_load_does_not_repeat(
    client: bigquery.Client, dataset: str
) -> None:
    table = protected_table(client, dataset)
    assert protections(client, table) == [PolicyTagList(["p/1"]), True, True]

    load(client, table, pa.table({"a": ["x"]}), [SchemaField("a", "STRING")])

    assert protections(client, table) == [None, False, False]
    assert client.get_table(table).schema[0].description is None

    load(client, table, pa.table({"a": ["x"]}), [TAGGED])
    assert protections(client, table) == [PolicyTagList(["p/1"]), False, False]


def test_truncating_only_data_keeps_the_schema_keys_and_row_access_policies(
    client: bigquery.Client, dataset: str
) -> None:
    table = protected_table(client, dataset)
    plain = SchemaField("a", "STRING", description="Other.")
    keeps = {"write_disposition": "WRITE_TRUNCATE_DATA"}

    load(client, table, pa.table({"a": ["y"]}), [plain], **keeps)

    assert read(client, table) == [{"a": "y"}]
    assert client.get_table(table).schema[0].description == "Tagged."
    assert protections(client, table) == [PolicyTagList(["p/1"]), True, True]


def test_truncating_only_data_refuses_columns_that_do_not_fit(
    client: bigquery.Client, dataset: str
) -> None:
    table = protected_table(client, dataset)
    keeps = {"write_disposition": "WRITE_TRUNCATE_DATA"}
    more = [SchemaField("a", "STRING"), SchemaField("b", "INTEGER")]
    data = pa.table({"a": ["x"], "b": [1]})

    with pytest.raises(exceptions.BadRequest, match="does not match Table"):
        load(client, table, data, more, **keeps)
    with pytest.raises(exceptions.BadRequest, match="changed type from STRING to INTEGER"):
        load(client, table, pa.table({"a": [1]}), [SchemaField("a", "INTEGER")], **keeps)

    load(client, table, data, more, **keeps, schema_update_options=["ALLOW_FIELD_ADDITION"])
    assert read(client, table) == [{"a": "x", "b": 1}]
    assert protections(client, table) == [PolicyTagList(["p/1"]), True, True]


def test_a_query_that_overwrites_a_table_removes_its_protections(
    client: bigquery.Client, dataset: str
) -> None:
    table = protected_table(client, dataset)
    config = bigquery.QueryJobConfig(destination=table, write_disposition="WRITE_TRUNCATE")

    client.query_and_wait(f"SELECT * FROM `{table}`", job_config=config)

    assert protections(client, table) == [None, False, False]
