"""Loads do what BigQuery documents, as Google's own client sees it."""

from datetime import UTC, datetime, time
from decimal import Decimal
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField

from feed_assets_tests.support.bigquery.client_calls import Rows, load, parquet, read, shard, types
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.warehouses.emulator.every_type import (
    ARROW,
    EVERYTHING,
    FULL,
    INSTANT,
    MICROSECONDS,
    NOTHING,
    WIDE,
)


@pytest.fixture(scope="session")
def everything(client: bigquery.Client) -> str:
    client.create_dataset("everything")
    load(client, "everything.t", pa.Table.from_pylist([FULL, NOTHING], ARROW), EVERYTHING)
    return "everything.t"


def test_a_load_keeps_every_type(client: bigquery.Client, everything: str) -> None:
    assert types(client.get_table(everything).schema) == types(EVERYTHING)
    assert read(client, everything) == [FULL, NOTHING]


def test_rows_come_as_arrow_of_the_same_types(client: bigquery.Client, everything: str) -> None:
    arrow = client.list_rows(everything).to_arrow()
    assert [field.name for field in arrow.schema] == ARROW.names
    for field in arrow.schema:
        if not pa.types.is_nested(field.type):
            assert field.type == ARROW.field(field.name).type
    assert arrow.schema.field("one").type.field("b").type.field("c").type == MICROSECONDS


def test_a_query_reads_every_type(client: bigquery.Client, everything: str) -> None:
    result = client.query(f"SELECT * FROM `{everything}`").to_arrow()
    assert result.to_pylist() == [FULL, NOTHING]
    assert result.schema.field("local").type == MICROSECONDS
    assert result.schema.field("instant").type == INSTANT
    assert result.schema.field("price").type == pa.decimal128(38, 9)


def test_some_fields_of_a_table_can_be_read(client: bigquery.Client, everything: str) -> None:
    table = client.get_table(everything)
    fields = [f for f in table.schema if f.name in {"whole", "items", "Straße & Nr-1"}]
    assert client.list_rows(table, selected_fields=fields).to_arrow().to_pylist() == [
        {f.name: row[f.name] for f in fields} for row in (FULL, NOTHING)
    ]


def test_columns_are_found_by_name(client: bigquery.Client, dataset: str) -> None:
    inner = pa.array([{"y": 2, "x": "one"}])
    data = pa.table({"b": ["text"], "r": inner, "a": pa.array([1])})
    parts = [SchemaField("x", "STRING"), SchemaField("y", "INTEGER")]
    schema = [
        SchemaField("a", "INTEGER"),
        SchemaField("missing", "FLOAT"),
        SchemaField("b", "STRING"),
        SchemaField("r", "RECORD", fields=parts),
    ]
    load(client, f"{dataset}.t", data, schema)
    expected = {"a": 1, "missing": None, "b": "text", "r": {"x": "one", "y": 2}}
    assert read(client, f"{dataset}.t") == [expected]


TEXTS = pa.table({"g": ["POINT (1 2)", None], "b": pa.array([Decimal("1e-38"), None], WIDE)})
TEXT_FIELDS = [SchemaField("g", "GEOGRAPHY"), SchemaField("b", "BIGNUMERIC")]
BOTH = ["NUMERIC", "BIGNUMERIC"]


def test_strings_load_as_geographies_and_wide_decimals_as_bignumeric(
    client: bigquery.Client, dataset: str
) -> None:
    load(client, f"{dataset}.t", TEXTS, TEXT_FIELDS, decimal_target_types=BOTH)
    client.query(f"CREATE VIEW `{dataset}.v` AS SELECT * FROM `{dataset}.t`").result()

    for rows in (client.list_rows(f"{dataset}.t"), client.query(f"SELECT * FROM `{dataset}.v`")):
        arrow = rows.to_arrow()
        assert [field.type for field in arrow.schema] == [pa.string(), WIDE]
        assert arrow.to_pylist()[0] == {"g": "POINT(1 2)", "b": Decimal("1e-38")}
    assert types(client.query(f"SELECT * FROM `{dataset}.v`").result().schema) == types(TEXT_FIELDS)


@pytest.mark.parametrize(
    ("data", "fields", "targets", "message"),
    [
        (TEXTS, TEXT_FIELDS, None, "none of the decimal target types"),
        (pa.table({"g": ["POINT(1)"]}), TEXT_FIELDS[:1], BOTH, "POINT"),
        (pa.table({"j": ["1"]}), [SchemaField("j", "JSON")], BOTH, "Unsupported field type: JSON"),
    ],
)
def test_a_type_that_parquet_cannot_load_changes_nothing(
    client: bigquery.Client,
    dataset: str,
    data: pa.Table,
    fields: list[SchemaField],
    targets: list[str] | None,
    message: str,
) -> None:
    shard(client, f"{dataset}.t", [{"a": 1}], a="INTEGER")
    with pytest.raises(exceptions.BadRequest, match=message):
        load(client, f"{dataset}.t", data, fields, decimal_target_types=targets)
    assert read(client, f"{dataset}.t") == [{"a": 1}]


JSON_LINES = rb"""{"j":{"b" : 1.50,"a":"\u00e4"},"r":[{"j":[18446744073709551616]}],"at":"01:02:03","raw":"AP8="}
{"j":"text","r":[],"n":"9007199254740993","x":"NaN","g":"{\"type\":\"Point\",\"coordinates\":[1,2]}"}
"""  # noqa: E501  (a row is a line)
JSON_FIELDS = [
    SchemaField("j", "JSON"),
    SchemaField("r", "RECORD", "REPEATED", fields=[SchemaField("j", "JSON")]),
    SchemaField("at", "TIME"),
    SchemaField("raw", "BYTES"),
    SchemaField("n", "INTEGER"),
    SchemaField("x", "FLOAT"),
    SchemaField("g", "GEOGRAPHY"),
]


def test_json_lines_load_as_json_and_not_as_the_same_text(
    client: bigquery.Client, dataset: str
) -> None:
    lists = {"source_format": "NEWLINE_DELIMITED_JSON", "parquet_options": None}
    job = load(client, f"{dataset}.t", JSON_LINES, JSON_FIELDS, **lists)

    one, other = read(client, f"{dataset}.t")
    assert job.output_rows == 2
    assert types(client.get_table(f"{dataset}.t").schema) == types(JSON_FIELDS)
    assert (one["j"], one["r"]) == ('{"a":"ä","b":1.5}', [{"j": "[1.8446744073709552e+19]"}])
    assert (one["at"], one["raw"]) == (time(1, 2, 3), b"\x00\xff")
    assert (other["j"], other["n"], str(other["x"])) == ('"text"', 2**53 + 1, "nan")
    assert other["g"] == "POINT(1 2)"


@pytest.mark.parametrize("line", [b"{", b'{"unknown":1}', b'{"n":"x"}', b'{"g":"POINT(1"}'])
def test_a_line_that_cannot_be_read_changes_nothing(
    client: bigquery.Client, dataset: str, line: bytes
) -> None:
    shard(client, f"{dataset}.t", [{"a": 1}], a="INTEGER")
    lists = {"source_format": "NEWLINE_DELIMITED_JSON", "parquet_options": None}
    with pytest.raises(exceptions.BadRequest, match="Error while reading data"):
        load(client, f"{dataset}.t", JSON_LINES + line, JSON_FIELDS, **lists)
    assert read(client, f"{dataset}.t") == [{"a": 1}]


def test_no_rows_make_an_empty_table(client: bigquery.Client, dataset: str) -> None:
    job = load(client, f"{dataset}.t", ARROW.empty_table(), EVERYTHING)
    assert job.output_rows == 0
    assert types(client.get_table(f"{dataset}.t").schema) == types(EVERYTHING)
    assert read(client, f"{dataset}.t") == []


def test_a_file_of_known_size_loads_too(client: bigquery.Client, dataset: str) -> None:
    """The client then sends one multipart request, as `load_table_from_dataframe` does."""
    file = parquet(pa.table({"a": list(range(1000))}))
    config = bigquery.LoadJobConfig(source_format="PARQUET", schema=[SchemaField("a", "INTEGER")])
    size = file.getbuffer().nbytes
    job = client.load_table_from_file(file, f"{dataset}.t", size=size, job_config=config)
    job.result()
    assert job.output_rows == 1000


def test_a_load_replaces_rows_and_columns_and_keeps_the_table(
    client: bigquery.Client, dataset: str
) -> None:
    table = bigquery.Table(f"{client.project}.{dataset}.t", [SchemaField("old", "STRING")])
    table.description = "orders"
    table.labels = {"team": "crm"}
    table.expires = datetime(2100, 1, 1, tzinfo=UTC)
    created = client.create_table(table)
    shard(client, f"{dataset}.t", [{"new": 1}, {"new": 2}], new="INTEGER")
    loaded = client.get_table(table)
    assert types(loaded.schema) == {"new": "INTEGER NULLABLE"}
    assert loaded.num_rows == 2
    assert loaded.created == created.created
    assert (loaded.description, loaded.labels) == ("orders", {"team": "crm"})
    assert loaded.expires == table.expires
    assert loaded.location == "EU"
    assert loaded.etag != created.etag


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"PAR1 but not Parquet PAR1", id="corrupt"),
        pytest.param(b"", id="empty"),
        pytest.param(pa.table({"a": ["text"]}), id="another type"),
        pytest.param(pa.table({"a": [[1]]}), id="a list"),
        pytest.param(pa.table({"a": [1], "b": [1]}), id="an unknown column"),
    ],
)
def test_a_failed_load_changes_nothing(
    client: bigquery.Client, dataset: str, data: pa.Table | bytes
) -> None:
    shard(client, f"{dataset}.t", [{"a": 1}], a="INTEGER")
    before = client.get_table(f"{dataset}.t")
    with pytest.raises(exceptions.BadRequest):
        load(client, f"{dataset}.t", data, [SchemaField("a", "INTEGER")])
    assert client.get_table(before).to_api_repr() == before.to_api_repr()
    assert read(client, f"{dataset}.t") == [{"a": 1}]


def test_a_file_cut_short_changes_nothing(client: bigquery.Client, dataset: str) -> None:
    """Only the rows are damaged; the footer of the file is intact."""
    data = bytearray(parquet(pa.table({"a": list(range(10_000))})).getvalue())
    data[1000:9000] = bytes(8000)
    shard(client, f"{dataset}.t", [{"a": 1}], a="INTEGER")
    with pytest.raises(exceptions.BadRequest):
        load(client, f"{dataset}.t", bytes(data), [SchemaField("a", "INTEGER")])
    assert read(client, f"{dataset}.t") == [{"a": 1}]


def test_lists_need_list_inference(client: bigquery.Client, dataset: str) -> None:
    schema = [SchemaField("a", "INTEGER", "REPEATED")]
    with pytest.raises(exceptions.BadRequest):
        load(client, f"{dataset}.t", pa.table({"a": [[1]]}), schema, parquet_options=None)


@pytest.mark.parametrize("name", ["a.b", "a(b)", "a,b", "_TABLE_x", "x" * 301])
def test_some_names_cannot_be_columns(client: bigquery.Client, dataset: str, name: str) -> None:
    with pytest.raises(exceptions.BadRequest):
        load(client, f"{dataset}.t", pa.table({name: ["a"]}), [SchemaField(name, "STRING")])


def test_a_description_has_at_most_1024_characters(client: bigquery.Client, dataset: str) -> None:
    for name, length in (("short", 1024), ("long", 1025)):
        inner = SchemaField("a", "STRING", description="x" * length)
        table = bigquery.Table(
            f"{client.project}.{dataset}.{name}", [SchemaField("r", "RECORD", fields=[inner])]
        )
        if length > 1024:
            with pytest.raises(exceptions.BadRequest, match="too long"):
                client.create_table(table)
        else:
            assert client.create_table(table).schema == table.schema


def test_a_load_can_append(client: bigquery.Client, dataset: str) -> None:
    shard(client, f"{dataset}.t", [{"a": 1}], a="INTEGER")
    job = load(
        client,
        f"{dataset}.t",
        pa.table({"b": ["x"], "a": [2]}),
        [SchemaField("a", "INTEGER"), SchemaField("b", "STRING")],
        write_disposition="WRITE_APPEND",
        schema_update_options=["ALLOW_FIELD_ADDITION"],
    )
    assert job.output_rows == 1
    assert read(client, f"{dataset}.t") == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]


def test_a_load_reads_buckets(running: Emulator, client: bigquery.Client, dataset: str) -> None:
    (running.buckets / dataset).mkdir()
    file = pa.table({"a": pa.array(["x"]).dictionary_encode()})
    pq.write_table(file, running.buckets / dataset / "1")
    config = bigquery.LoadJobConfig(source_format="PARQUET", schema=[SchemaField("a", "STRING")])
    client.load_table_from_uri(f"gs://{dataset}/1", f"{dataset}.t", job_config=config).result()
    assert read(client, f"{dataset}.t") == [{"a": "x"}]


def test_a_load_needs_a_dataset(client: bigquery.Client) -> None:
    with pytest.raises(exceptions.NotFound):
        load(client, "nowhere.t", pa.table({"a": [1]}), [SchemaField("a", "INTEGER")])


def test_a_job_reports_its_number_of_rows(client: bigquery.Client, dataset: str) -> None:
    rows: Rows = [{"a": i} for i in range(7)]
    assert shard(client, f"{dataset}.t", rows, a="INTEGER").output_rows == 7


def test_a_job_id_names_one_job(client: bigquery.Client, dataset: str) -> None:
    job_id = f"orders-{uuid4().hex}"
    schema = [SchemaField("a", "INTEGER")]
    load(client, f"{dataset}.t", pa.table({"a": [1]}), schema, job_id)
    with pytest.raises(exceptions.Conflict):
        load(client, f"{dataset}.t", pa.table({"a": [2, 3]}), schema, job_id)
    with pytest.raises(exceptions.Conflict):
        client.query("SELECT 1", job_id=job_id, job_retry=None).result()
    found = client.get_job(job_id)
    assert isinstance(found, bigquery.LoadJob)
    assert (found.state, found.output_rows, found.error_result) == ("DONE", 1, None)
    assert (found.location, found.labels) == ("EU", {"feed": "orders"})
    assert found.destination.table_id == "t"


def test_a_failed_job_is_found_with_its_error(client: bigquery.Client, dataset: str) -> None:
    job_id = f"orders-{uuid4().hex}"
    with pytest.raises(exceptions.BadRequest):
        load(client, f"{dataset}.t", b"corrupt", [SchemaField("a", "INTEGER")], job_id)
    assert client.get_job(job_id).error_result["reason"] == "invalid"
    with pytest.raises(exceptions.NotFound):
        client.get_table(f"{dataset}.t")


def test_an_unknown_job_is_not_found(client: bigquery.Client) -> None:
    with pytest.raises(exceptions.NotFound):
        client.get_job("no-such-job")
