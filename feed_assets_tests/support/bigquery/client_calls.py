"""Loads and queries by Google's client, for tests of the emulator."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField

Rows = list[dict[str, object]]


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
