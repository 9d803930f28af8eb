"""Datasets have a location, INFORMATION_SCHEMA lists them, rows come in pages."""

from datetime import UTC, datetime

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from feed_assets_tests.support.bigquery.client_calls import Rows, load, query, read, shard
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.warehouses.emulator.every_type import (
    ARROW,
    EVERYTHING,
)


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
