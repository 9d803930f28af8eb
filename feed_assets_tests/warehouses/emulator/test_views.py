"""Views report the columns of their last change; scripts change none."""

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField

from feed_assets_tests.support.bigquery.client_calls import query, read, shard, types


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
    """BigQuery can do it; the emulator refuses the whole script."""
    shard(client, f"{dataset}.t", [{"a": 1}], a="INTEGER")
    add = f"ALTER TABLE {dataset}.t ADD COLUMN"
    with pytest.raises(exceptions.BadRequest, match="not emulated"):
        query(client, f"{add} b STRING; {add} c STRING;")
    assert list(types(client.get_table(f"{dataset}.t").schema)) == ["a"]


def test_a_view_of_a_missing_table_is_refused(client: bigquery.Client, dataset: str) -> None:
    with pytest.raises(exceptions.ClientError):
        query(client, f"CREATE VIEW {dataset}.v AS SELECT * FROM {dataset}.missing")
