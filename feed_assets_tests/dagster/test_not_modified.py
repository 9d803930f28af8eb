"""A snapshot that the server reports as unchanged is not loaded again if its table is unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pytest

from feed_assets.download import Validators
from feed_assets.schema.table import Table
from feed_assets.warehouse.store import store_snapshot
from feed_assets_tests.support.bigquery.emulator import Emulator
from feed_assets_tests.support.dagster.project import Project, metadata_of
from feed_assets_tests.support.servers.feed import Answer, FeedServer, lines

ROWS = lines({"id": "N1", "total": 1.5}, {"id": "N2", "total": 2.5})
STORED_ROWS = [{"id": "N1", "total": 1.5}, {"id": "N2", "total": 2.5}]


class VersionedFeed:
    """A feed with an entity tag; the server answers 304 to a request that repeats the tag."""

    def __init__(
        self, server: FeedServer, answer: Answer = ROWS, headers: dict[str, str] | None = None
    ) -> None:
        self.server, self.headers = server, headers or {"ETag": '"1"'}
        self.body = answer.body
        server.answer = self.answer

    def answer(self, path: str) -> Answer:
        asked = self.server.requests[-1][1]
        tag = self.headers.get("ETag")
        if tag and asked.get("If-None-Match") == tag:
            return Answer(status=304, headers=self.headers)
        if not tag and asked.get("If-Modified-Since") == self.headers["Last-Modified"]:
            return Answer(status=304, headers=self.headers)
        return Answer(self.body, headers=self.headers)

    @property
    def conditional(self) -> list[bool]:
        """List for each request whether it was conditional."""
        return [bool({"If-None-Match", "If-Modified-Since"} & set(h)) for _, h in self.requests]

    @property
    def requests(self) -> list[tuple[str, dict[str, str]]]:
        return self.server.requests


@pytest.fixture(params=["duckdb", "bigquery"])
def made(
    request: pytest.FixtureRequest,
    project: Callable[..., Project],
    dataset: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Project]:
    """A project on each warehouse in turn, with a dataset of its own."""
    if request.param == "duckdb":
        return project
    running: Emulator = request.getfixturevalue("bigquery")
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", running.url)
    return lambda **attributes: project(bigquery=running, dataset=dataset, **attributes)


def rows(project: Project) -> list[dict[str, Any]]:
    return sorted(project.rows(project.feed.destination), key=lambda row: str(row["id"]))


def version(project: Project) -> str:
    event = project.instance.get_latest_materialization_event(dg.AssetKey("orders"))
    assert event is not None
    assert event.asset_materialization is not None
    return (event.asset_materialization.tags or {})["dagster/data_version"]


def test_every_import_of_an_unchanged_snapshot_records_it_as_unchanged(
    made: Callable[..., Project], server: FeedServer
) -> None:
    known, project = VersionedFeed(server), made()
    loaded = metadata_of(project.run())[""]
    first, token = version(project), project.tables.content_token(project.feed.destination)

    runs = [project.run(), project.run()]

    assert known.conditional == [False, True, True]
    assert project.tables.content_token(project.feed.destination) == token
    for run in runs:
        metadata = metadata_of(run)[""]
        assert metadata["unchanged"] is True
        for name in ("dagster/row_count", "dagster/table_name", "content hash"):
            assert metadata[name] == loaded[name]
        assert "is unchanged; nothing to load" in log(project, run)
    assert version(project) == first


def log(project: Project, run: dg.ExecuteInProcessResult) -> str:
    return "\n".join(entry.user_message for entry in project.instance.all_logs(run.run_id))


def test_a_changed_snapshot_is_loaded(made: Callable[..., Project], server: FeedServer) -> None:
    known, project = VersionedFeed(server), made()
    project.run()
    known.body, known.headers = lines({"id": "N3", "total": 3.5}).body, {"ETag": '"2"'}

    assert "unchanged" not in metadata_of(project.run())[""]
    assert rows(project) == [{"id": "N3", "total": 3.5}]
    assert metadata_of(project.run())[""]["unchanged"] is True


def drop(project: Project, table: Table) -> None:
    sql(project, f"DROP TABLE {table}")


def delete(project: Project, table: Table) -> None:
    sql(project, f"DELETE FROM {table} WHERE id = 'N1'")


def update(project: Project, table: Table) -> None:
    sql(project, f"UPDATE {table} SET total = 9 WHERE id = 'N1'")


def alter(project: Project, table: Table) -> None:
    sql(project, f"ALTER TABLE {table} DROP COLUMN total")


def replace(project: Project, table: Table) -> None:
    rows = pa.table({"id": ["N1", "N9"], "total": [1.5, 2.5]})
    store_snapshot(project.tables, table, rows, attempt="by another project")


def sql(project: Project, statement: str) -> None:
    if project.url.startswith("duckdb://"):
        with duckdb.connect(project.url.removeprefix("duckdb://")) as connection:
            connection.execute(statement)
        return
    client = project.tables._client  # type: ignore[attr-defined]  # as its user would, beside us
    client.query_and_wait(statement)


@pytest.mark.parametrize("done", [drop, delete, update, alter, replace])
def test_a_table_that_others_have_changed_is_loaded_again(
    made: Callable[..., Project], server: FeedServer, done: Callable[[Project, Table], None]
) -> None:
    known, project = VersionedFeed(server), made()
    project.run()
    done(project, project.feed.destination)

    assert project.run().success

    assert known.conditional == [False, False]
    assert rows(project) == STORED_ROWS


@pytest.mark.parametrize(
    "attributes", [{"types": {"total": "NUMERIC"}}, {"null_values": ["-"]}, {"table": "orders2"}]
)
def test_a_feed_with_a_changed_declaration_is_loaded_again(
    project: Callable[..., Project], server: FeedServer, attributes: dict[str, Any]
) -> None:
    known = VersionedFeed(server)
    project().run()

    assert project(**attributes).run().success

    assert known.conditional == [False, False]


def test_accepted_bad_lines_are_shown_by_each_run(
    project: Callable[..., Project], server: FeedServer
) -> None:
    known, declared = VersionedFeed(server, lines({"id": "N1"}, "{oops")), project(max_bad_lines=1)
    shown = [metadata_of(declared.run())[""]["bad lines"] for _ in range(2)]

    assert shown == [1, 1]
    assert known.conditional == [False, False]


@pytest.mark.parametrize(
    "attributes",
    [{"conditional_requests": False}, {"partition_by_date": {"start_date": "2020-01-01"}}],
    ids=["switched off", "by date"],
)
def test_some_attributes_make_every_request_unconditional(
    project: Callable[..., Project], server: FeedServer, attributes: dict[str, Any]
) -> None:
    known, declared = VersionedFeed(server), project(**attributes)
    days = ["2020-01-01"] if declared.feed.partition_by_date else []
    declared.run(*days)
    declared.run(*days)

    assert known.conditional == [False, False]


def test_last_modified_is_used_without_an_etag(snapshot: Project, server: FeedServer) -> None:
    known = VersionedFeed(server, headers={"Last-Modified": "Mon, 20 Jan 2020 10:00:00 GMT"})
    snapshot.run()

    assert metadata_of(snapshot.run())[""]["unchanged"] is True
    assert known.conditional == [False, True]


@pytest.mark.parametrize(
    ("headers", "validators"),
    [
        ({}, Validators()),
        ({"ETag": '"1"'}, Validators('"1"')),
        ({"ETag": 'W/"1"'}, Validators('W/"1"')),
        (
            {
                "Last-Modified": "Mon, 20 Jan 2020 10:00:00 GMT",
                "Date": "Mon, 20 Jan 2020 10:00:02 GMT",
            },
            Validators(None, "Mon, 20 Jan 2020 10:00:00 GMT"),
        ),
        (  # it could change once more within that second
            {
                "Last-Modified": "Mon, 20 Jan 2020 10:00:00 GMT",
                "Date": "Mon, 20 Jan 2020 10:00:01 GMT",
            },
            Validators(),
        ),
        ({"Last-Modified": "Mon, 20 Jan 2020 10:00:00 GMT"}, Validators()),
        ({"Last-Modified": "yesterday", "Date": "today"}, Validators()),
    ],
    ids=str,
)
def test_only_validators_that_can_be_trusted_are_stored(
    headers: dict[str, str], validators: Validators
) -> None:
    assert Validators.from_headers(headers) == validators


@pytest.mark.parametrize(
    ("validators", "strong"),
    [(Validators('"1"'), '"1"'), (Validators('W/"1"'), None), (Validators(None, "now"), None)],
)
def test_a_transfer_is_resumed_only_with_a_strong_tag(
    validators: Validators, strong: str | None
) -> None:
    assert validators.strong == strong


def test_a_moved_file_counts_as_a_changed_table(snapshot: Project, server: FeedServer) -> None:
    known = VersionedFeed(server)
    snapshot.run()
    Path(snapshot.url.removeprefix("duckdb://")).unlink()

    assert snapshot.run().success
    assert known.conditional == [False, False]
