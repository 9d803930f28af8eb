"""The emulator does what BigQuery documents, as Google's own client sees it."""

import io
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField
from google.cloud.bigquery.schema import PolicyTagList

from feed_assets_tests.support.bigquery.emulator import Emulator

Rows = list[dict[str, object]]


@pytest.fixture(scope="session")
def running(request: pytest.FixtureRequest) -> Emulator:
    found: Emulator = request.getfixturevalue("bigquery")
    return found


@pytest.fixture(scope="session")
def client(running: Emulator) -> bigquery.Client:
    return running.client()


@pytest.fixture
def dataset(client: bigquery.Client) -> str:
    name = f"d{uuid4().hex[:8]}"
    created = bigquery.Dataset(f"{client.project}.{name}")
    created.location = "EU"
    client.create_dataset(created)
    return name


def parquet(table: pa.Table) -> io.BytesIO:
    file = io.BytesIO()
    pq.write_table(table, file)
    file.seek(0)
    return file


def load(
    client: bigquery.Client,
    table: str,
    data: pa.Table | bytes,
    schema: list[SchemaField],
    job_id: str | None = None,
    **options: object,
) -> bigquery.LoadJob:
    lists = bigquery.ParquetOptions()  # type: ignore[no-untyped-call]
    lists.enable_list_inference = True
    config = bigquery.LoadJobConfig(
        source_format="PARQUET",
        schema=schema,
        write_disposition="WRITE_TRUNCATE",
        create_disposition="CREATE_IF_NEEDED",
        parquet_options=lists,
        labels={"feed": "orders"},
    )
    config.column_name_character_map = "STRICT"
    for name, value in options.items():
        setattr(config, name, value)
    file = io.BytesIO(data) if isinstance(data, bytes) else parquet(data)
    job = client.load_table_from_file(file, table, job_id=job_id, job_config=config)
    job.result()
    return job


def shard(client: bigquery.Client, table: str, rows: Rows, **columns: str) -> bigquery.LoadJob:
    """Load rows into a table of scalar columns."""
    kinds = {"INTEGER": pa.int64(), "STRING": pa.string(), "FLOAT": pa.float64()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    data = pa.Table.from_pylist(rows, schema)
    return load(client, table, data, [SchemaField(*column) for column in columns.items()])


def query(client: bigquery.Client, sql: str) -> Rows:
    rows: Rows = client.query(sql).to_arrow().to_pylist()
    return rows


def read(client: bigquery.Client, table: str) -> Rows:
    rows: Rows = client.list_rows(table).to_arrow().to_pylist()
    return rows


def types(fields: list[SchemaField] | tuple[SchemaField, ...]) -> dict[str, object]:
    return {f.name: types(f.fields) if f.fields else f"{f.field_type} {f.mode}" for f in fields}


# --- loads


ITEM = SchemaField(
    "items",
    "RECORD",
    "REPEATED",
    fields=[
        SchemaField("sku", "STRING"),
        SchemaField("sizes", "INTEGER", "REPEATED"),
        SchemaField(
            "parts",
            "RECORD",
            "REPEATED",
            fields=[SchemaField("made", "RECORD", fields=[SchemaField("on", "DATE")])],
        ),
    ],
)
EVERYTHING = [
    SchemaField("text", "STRING"),
    SchemaField("whole", "INTEGER"),
    SchemaField("real", "FLOAT"),
    SchemaField("truth", "BOOLEAN"),
    SchemaField("local", "DATETIME"),
    SchemaField("instant", "TIMESTAMP"),
    SchemaField("price", "NUMERIC"),
    SchemaField("day", "DATE"),
    SchemaField("tags", "STRING", "REPEATED"),
    SchemaField("times", "TIMESTAMP", "REPEATED"),
    SchemaField(
        "one",
        "RECORD",
        fields=[
            SchemaField("a", "INTEGER"),
            SchemaField("b", "RECORD", fields=[SchemaField("c", "DATETIME")]),
        ],
    ),
    ITEM,
    SchemaField("Straße & Nr-1", "STRING"),
]
MICROSECONDS = pa.timestamp("us")
INSTANT = pa.timestamp("us", "UTC")
WIDE = pa.decimal256(76, 38)
ARROW = pa.schema(
    [
        ("text", pa.string()),
        ("whole", pa.int64()),
        ("real", pa.float64()),
        ("truth", pa.bool_()),
        ("local", MICROSECONDS),
        ("instant", INSTANT),
        ("price", pa.decimal128(38, 9)),
        ("day", pa.date32()),
        ("tags", pa.list_(pa.string())),
        ("times", pa.list_(INSTANT)),
        ("one", pa.struct([("a", pa.int64()), ("b", pa.struct([("c", MICROSECONDS)]))])),
        (
            "items",
            pa.list_(
                pa.struct(
                    [
                        ("sku", pa.string()),
                        ("sizes", pa.list_(pa.int64())),
                        (
                            "parts",
                            pa.list_(pa.struct([("made", pa.struct([("on", pa.date32())]))])),
                        ),
                    ]
                )
            ),
        ),
        ("Straße & Nr-1", pa.string()),
    ]
)
FULL: dict[str, object] = {
    "text": "Zoë, 'quoted' \"\n",
    "whole": 2**63 - 1,
    "real": 0.1,
    "truth": False,
    "local": datetime(2024, 5, 1, 23, 59, 59, 999999),
    "instant": datetime(2024, 5, 1, 12, 0, 0, 1, tzinfo=UTC),
    "price": Decimal("12345678901234567890123456789.123456789"),
    "day": date(1, 1, 1),
    "tags": ["a", ""],
    "times": [datetime(1969, 12, 31, tzinfo=UTC)],
    "one": {"a": -1, "b": {"c": datetime(9999, 12, 31)}},
    "items": [
        {"sku": "s", "sizes": [1, 2], "parts": [{"made": {"on": date(2024, 2, 29)}}]},
        {"sku": None, "sizes": [], "parts": []},
    ],
    "Straße & Nr-1": "Hauptstraße 1",
}
NOTHING: dict[str, object] = {
    name: [] if name in {"tags", "times", "items"} else None for name in FULL
}


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


def test_json_lines_load_as_json_which_is_not_kept_as_text(
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
    """Only the rows are damaged, so that the footer still promises a good file."""
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


# --- tables


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


def test_an_update_from_an_old_reading_is_refused(client: bigquery.Client, dataset: str) -> None:
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
    ("names", "value"), [("STRICT", "x"), ("V2", "x"), ("V1", None), ("", None)]
)
def test_a_flexible_name_is_null_where_a_load_or_its_project_renames_it(
    client: bigquery.Client, dataset: str, names: str, value: str | None
) -> None:
    table = f"{client.project}.{dataset}.t"
    fields = [SchemaField("a b-c", "STRING"), SchemaField("d", "STRING")]

    data = pa.table({"a b-c": ["x"], "d": ["y"]})
    load(client, table, data, fields, column_name_character_map=names)

    assert read(client, table) == [{"a b-c": value, "d": "y"}]


# --- what a truncating write removes

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


# --- ALTER TABLE


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


def test_a_query_at_once_fails_at_once(client: bigquery.Client, dataset: str) -> None:
    shard(client, f"{dataset}.t", [{"a": 1.5}], a="FLOAT")
    with pytest.raises(exceptions.BadRequest):
        client.query_and_wait(f"ALTER TABLE {dataset}.t ALTER COLUMN a SET DATA TYPE INT64")
    with pytest.raises(exceptions.NotFound):
        client.query_and_wait(f"SELECT * FROM {dataset}.missing")
    assert [row["a"] for row in client.query_and_wait(f"SELECT a FROM {dataset}.t")] == [1.5]


# --- wildcard tables


def test_a_wildcard_has_the_columns_of_the_table_made_last(
    client: bigquery.Client, dataset: str
) -> None:
    """Also where that is an older day; what it lacks is not seen, what others lack is NULL."""
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
    for options, kept in (({}, False), (keyed, True)):
        load(client, name, pa.table({"a": [1]}), made.schema, **options)
        assert bool(client.get_table(name).encryption_configuration) == kept
    config = bigquery.QueryJobConfig(destination=name, write_disposition="WRITE_TRUNCATE")
    client.query_and_wait(f"SELECT * FROM `{name}`", job_config=config)
    assert client.get_table(name).encryption_configuration is None


def test_a_wildcard_that_matches_nothing_fails(client: bigquery.Client, dataset: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="does not match any table"):
        query(client, f"SELECT * FROM `{dataset}.t_*`")


# --- views


def latest(source: str) -> str:
    return f"""
        SELECT * EXCEPT (rank_of_row) FROM (
            SELECT *, ROW_NUMBER() OVER (
                PARTITION BY id ORDER BY updated DESC, _TABLE_SUFFIX DESC
            ) AS rank_of_row
            FROM `{source}`
        ) WHERE rank_of_row = 1
    """


def qualified(source: str) -> str:
    return f"""
        SELECT * FROM `{source}`
        QUALIFY ROW_NUMBER() OVER (
            PARTITION BY id ORDER BY updated DESC, _TABLE_SUFFIX DESC
        ) = 1
    """


COLUMNS = {"id": "INTEGER", "updated": "INTEGER", "state": "STRING"}


def order(number: int, updated: int, state: str) -> dict[str, object]:
    return {"id": number, "updated": updated, "state": state}


@pytest.mark.parametrize("text", [latest, qualified])
@pytest.mark.parametrize("by_sql", [True, False])
def test_a_view_shows_shards_that_come_later(
    client: bigquery.Client, dataset: str, text: object, by_sql: bool
) -> None:
    assert callable(text)
    source, name = f"{client.project}.{dataset}.orders_*", f"{client.project}.{dataset}.orders"
    first = [order(1, 1, "new"), order(2, 1, "new")]
    shard(client, f"{dataset}.orders_20240101", [*first], **COLUMNS)
    if by_sql:
        query(client, f"CREATE OR REPLACE VIEW `{name}` AS {text(source)}")
    else:
        view = bigquery.Table(name)
        view.view_query = text(source)
        client.create_table(view)
    made = client.get_table(name)
    assert (made.table_type, list(types(made.schema))) == ("VIEW", list(COLUMNS))
    assert made.view_query.strip() == text(source).strip()
    assert query(client, f"SELECT * FROM `{name}` ORDER BY id") == first
    second = [order(1, 2, "paid"), order(2, 1, "same time")]
    shard(client, f"{dataset}.orders_20240102", [*second], **COLUMNS)
    assert query(client, f"SELECT * FROM {dataset}.orders ORDER BY id") == second
    wider = {**COLUMNS, "extra": "STRING"}
    shard(client, f"{dataset}.orders_20240103", [order(3, 3, "x") | {"extra": "y"}], **wider)
    sql = f"SELECT o.extra, COUNT(*) AS n FROM `{name}` AS o GROUP BY extra ORDER BY n"
    assert query(client, sql) == [{"extra": "y", "n": 1}, {"extra": None, "n": 2}]


def test_a_view_is_replaced_and_deleted(client: bigquery.Client, dataset: str) -> None:
    query(client, f"CREATE VIEW {dataset}.v OPTIONS (description = 'as one') AS SELECT 1 AS a")
    assert client.get_table(f"{dataset}.v").description == "as one"
    with pytest.raises(exceptions.Conflict):
        query(client, f"CREATE VIEW {dataset}.v AS SELECT 2 AS b")
    query(client, f"CREATE OR REPLACE VIEW {dataset}.v AS SELECT 2 AS b")
    assert query(client, f"SELECT * FROM {dataset}.v") == [{"b": 2}]
    view = client.get_table(f"{dataset}.v")
    view.view_query = "SELECT 3 AS c"
    client.update_table(view, ["view_query"])
    assert query(client, f"SELECT * FROM {dataset}.v") == [{"c": 3}]
    client.delete_table(f"{dataset}.v")
    query(client, f"DROP VIEW IF EXISTS {dataset}.v")
    with pytest.raises(exceptions.NotFound):
        client.get_table(f"{dataset}.v")


def test_a_views_columns_are_described_by_an_update(client: bigquery.Client, dataset: str) -> None:
    query(client, f"CREATE VIEW {dataset}.v AS SELECT 1 AS a")
    view = client.get_table(f"{dataset}.v")
    view.schema = [SchemaField("a", "INTEGER", description="the first")]
    client.update_table(view, ["schema"])
    assert client.get_table(f"{dataset}.v").schema[0].description == "the first"
    assert query(client, f"SELECT * FROM {dataset}.v") == [{"a": 1}]


def test_a_view_reports_the_columns_of_the_last_change_of_its_query(
    client: bigquery.Client, dataset: str
) -> None:
    shard(client, f"{dataset}.t", [{"a": 1}], a="INTEGER")
    query(client, f"CREATE VIEW {dataset}.v AS SELECT * FROM {dataset}.t")
    query(client, f"ALTER TABLE {dataset}.t ADD COLUMN b STRING")
    assert query(client, f"SELECT * FROM {dataset}.v") == [{"a": 1, "b": None}]
    view = client.update_table(client.get_table(f"{dataset}.v"), ["view_query"])
    assert list(types(view.schema)) == ["a"]
    view.view_query += " -- changed"
    assert list(types(client.update_table(view, ["view_query"]).schema)) == ["a", "b"]


def test_a_view_has_no_rows_of_its_own(client: bigquery.Client, dataset: str) -> None:
    query(client, f"CREATE VIEW {dataset}.v AS SELECT 1 AS a")
    with pytest.raises(exceptions.BadRequest, match="Cannot list a table of type VIEW"):
        read(client, f"{dataset}.v")


def test_a_script_cannot_change_columns(client: bigquery.Client, dataset: str) -> None:
    """BigQuery can; the emulator says so, and does nothing by halves."""
    shard(client, f"{dataset}.t", [{"a": 1}], a="INTEGER")
    add = f"ALTER TABLE {dataset}.t ADD COLUMN"
    with pytest.raises(exceptions.BadRequest, match="not emulated"):
        query(client, f"{add} b STRING; {add} c STRING;")
    assert list(types(client.get_table(f"{dataset}.t").schema)) == ["a"]


def test_a_view_of_nothing_is_refused(client: bigquery.Client, dataset: str) -> None:
    with pytest.raises(exceptions.ClientError):
        query(client, f"CREATE VIEW {dataset}.v AS SELECT * FROM {dataset}.missing")


# --- datasets and INFORMATION_SCHEMA


def test_the_information_schema_lists_tables_and_columns(
    client: bigquery.Client, dataset: str
) -> None:
    load(client, f"{dataset}.t_2", ARROW.empty_table(), EVERYTHING)
    shard(client, f"{dataset}.t_1", [], a="INTEGER")
    query(client, f"CREATE VIEW {dataset}.v AS SELECT 1 AS a")
    tables = query(
        client,
        "SELECT table_name, table_type, creation_time "
        f"FROM `{client.project}.{dataset}`.INFORMATION_SCHEMA.TABLES ORDER BY creation_time",
    )
    assert [(t["table_name"], t["table_type"]) for t in tables] == [
        ("t_2", "BASE TABLE"),
        ("t_1", "BASE TABLE"),
        ("v", "VIEW"),
    ]
    assert tables[0]["creation_time"] <= datetime.now(UTC)  # type: ignore[operator]
    columns = query(
        client,
        f"SELECT column_name, data_type FROM {dataset}.INFORMATION_SCHEMA.COLUMNS "
        "WHERE table_name = 't_2' ORDER BY ordinal_position",
    )
    kinds = {str(c["column_name"]): c["data_type"] for c in columns}
    assert list(kinds) == ARROW.names
    assert (kinds["whole"], kinds["real"], kinds["truth"]) == ("INT64", "FLOAT64", "BOOL")
    assert kinds["tags"] == "ARRAY<STRING>"
    assert kinds["one"] == "STRUCT<a INT64, b STRUCT<c DATETIME>>"


def test_a_dataset_is_made_once_in_its_location(client: bigquery.Client) -> None:
    dataset = bigquery.Dataset(f"{client.project}.located")
    dataset.location = "europe-west3"
    client.create_dataset(dataset)
    with pytest.raises(exceptions.Conflict):
        client.create_dataset(dataset)
    client.create_dataset(dataset, exists_ok=True)
    assert client.get_dataset("located").location == "europe-west3"
    with pytest.raises(exceptions.NotFound):
        client.get_dataset("elsewhere")


def test_a_job_is_found_in_its_location(running: Emulator) -> None:
    """A client without a location loads where the dataset is, and does not find the job."""
    client = running.client(location=None)
    dataset = bigquery.Dataset(f"{client.project}.zurich")
    dataset.location = "europe-west6"
    client.create_dataset(dataset)
    job = shard(client, "zurich.t", [], a="INTEGER")
    assert job.location == "europe-west6"
    assert client.get_job(job.job_id, location="europe-west6").job_id == job.job_id
    with pytest.raises(exceptions.NotFound):
        client.get_job(job.job_id)


def test_a_load_in_another_location_finds_no_dataset(running: Emulator, dataset: str) -> None:
    with pytest.raises(exceptions.NotFound, match="location US"):
        shard(running.client(location="US"), f"{dataset}.t", [], a="INTEGER")


def test_rows_come_in_pages(client: bigquery.Client, dataset: str) -> None:
    rows: Rows = [{"a": i} for i in range(25_000)]
    shard(client, f"{dataset}.t", rows, a="INTEGER")
    assert read(client, f"{dataset}.t") == rows
    assert query(client, f"SELECT * FROM {dataset}.t ORDER BY a") == rows
