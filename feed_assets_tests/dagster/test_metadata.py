"""Metadata of a feed and its imports, under Dagster's standard keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.metadata.metadata_set import TableMetadataSet, UriMetadataSet

from feed_assets.config.feed import Feed
from feed_assets.orchestration.assets import feed_asset
from feed_assets.orchestration.feed_attributes import FeedAttributes
from feed_assets.orchestration.latest_asset import latest_asset
from feed_assets_tests.support.dagster.project import Project, metadata_of
from feed_assets_tests.support.servers.feed import lines

NAMED = {"name": "orders", "url": "https://example.com/feed?token=hunter2", "dataset": "crm"}
BY_DATE = {"partition_by_date": {"start_date": "2020-01-01"}}
LATEST = {**BY_DATE, "key": ["order-id"], "updated_at": "at"}
WAREHOUSE = "FEED_ASSETS_WAREHOUSE"


def specs(**attributes: Any) -> list[dg.AssetSpec]:
    feed = FeedAttributes.model_validate({**NAMED, **attributes})
    assets = [feed_asset(feed), *([latest_asset(feed)] if feed.has_latest else [])]
    return [spec for asset in assets for spec in asset.specs]


def version(**attributes: Any) -> tuple[str | None, ...]:
    return tuple(spec.code_version for spec in specs(**{**LATEST, **attributes}))


def test_both_assets_of_a_feed_have_its_owners_group_and_tags() -> None:
    owners, tags = ["data@example.com", "team:crm"], {"domain": "sales", "acme/tier": "1"}
    for spec in specs(**LATEST, owners=owners, group="sales/orders", tags=tags):
        assert list(spec.owners) == owners
        assert spec.group_name == "sales/orders"
        assert tags.items() <= spec.tags.items()
    assert [spec.group_name for spec in specs(**LATEST)] == ["crm", "crm"]


@pytest.mark.parametrize(
    ("warehouse", "storage", "uri"),
    [
        ("duckdb:///var/warehouse.duckdb", "duckdb", None),
        (
            "bigquery://my-project?location=EU",
            "bigquery",
            "https://console.cloud.google.com/bigquery?p=my-project&d=crm&t=orders&page=table",
        ),
        ("nonsense", None, None),
    ],
)
def test_kinds_and_location_are_those_of_the_configured_warehouse(
    monkeypatch: pytest.MonkeyPatch, warehouse: str, storage: str | None, uri: str | None
) -> None:
    monkeypatch.setenv(WAREHOUSE, warehouse)
    orders, latest = specs(**LATEST)
    assert orders.kinds == {"ndjson", *filter(None, [storage])}
    assert latest.kinds == {"table", *filter(None, [storage])}
    for spec in (orders, latest):
        found = TableMetadataSet.extract(spec.metadata)
        assert (found.table_name, found.storage_kind) == ("crm.orders", storage)
        assert UriMetadataSet.extract(spec.metadata).uri == uri


def test_an_asset_shows_its_url_without_secrets() -> None:
    for spec in specs(**LATEST):
        assert "hunter2" not in str(spec)
    assert specs()[0].metadata["feed"] == "https://example.com/feed?token=***"


def test_an_asset_without_a_description_gets_a_default() -> None:
    assert specs()[0].description == ("The feed's rows in crm.orders, replaced by each import.")
    orders, latest = specs(**LATEST)
    assert orders.description == "The feed's rows of each day in crm.orders_YYYYMMDD."
    assert latest.description == "Of each order-id, the row with the newest at."
    orders, latest = specs(**LATEST, description="Orders of the shop.")
    assert orders.description == "Orders of the shop."
    assert latest.description == (
        "Of each order-id, the row with the newest at.\n\nOrders of the shop."
    )


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        (
            {"owners": ["wilma"]},
            "owners\n.*'wilma' is not an owner; write an e-mail address, or a team",
        ),
        ({"owners": ["team:"]}, "'team:' is not an owner"),
        ({"group": "sales orders"}, "group\n.*'sales orders' is not a group name; write letters"),
        (
            {"tags": {"a domain": "x"}},
            "tags\n.*a domain: x is not a valid tag; use up to 63 letters",
        ),
        ({"tags": {"domain": "a" * 64}}, "is not a valid tag"),
        ({"tags": {"dagster/kind/x": ""}}, "dagster/kind/x is reserved for Dagster"),
        ({"tags": {"tier": 1}}, "tags.tier\n.*Input should be a valid string"),
        (
            {"column_descriptions": {"id": "x" * 1025}},
            "the description of id is 1,025 characters",
        ),
        ({"column_descriptions": {"id": {"a": 1}}}, "Input should be a valid string"),
    ],
)
def test_a_value_that_the_ui_cannot_show_is_refused_with_its_field(
    attributes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        FeedAttributes.model_validate({**NAMED, **attributes})


@pytest.mark.parametrize(
    ("attributes", "which"),
    [
        ({"url": "https://example.com/other"}, "orders"),
        ({"dataset": "shop"}, "both"),
        ({"table": "other"}, "both"),
        ({"types": {"total": "NUMERIC"}}, "orders"),
        ({"null_values": ["-"]}, "orders"),
        ({"max_bad_lines": 1}, "orders"),
        ({"max_line_bytes": 1000}, "orders"),
        ({"headers": {"X-Shop": "eu"}}, "orders"),
        ({"empty_statuses": [404]}, "orders"),
        ({"format": "json"}, "orders"),
        ({"format": "json", "records": "data.items"}, "orders"),
        ({"pages": {"link_header": True}}, "orders"),
        ({"key": ["id"]}, "latest"),
        ({"updated_at": "changed"}, "latest"),
        ({"deleted": {"column": "status", "values": ["deleted"]}}, "latest"),
        ({"table": "orders"}, "none"),  # as it is called anyway
        ({"partition_by_date": {"start_date": "2020-01-01", "refetch_days": 3}}, "none"),
        ({"partition_by_date": {"start_date": "2019-01-01"}}, "none"),
        ({"schedule": "0 7 * * *"}, "none"),
        ({"owners": ["team:crm"], "tags": {"a": "b"}, "group": "sales"}, "none"),
        ({"description": "Orders.", "column_descriptions": {"id": "x"}}, "none"),
        ({"labels": {"team": "crm"}, "min_rows": 1, "max_attempts": 9}, "none"),
        ({"quote_rows": True}, "none"),
        ({"basic_auth": {"username_env": "A", "password_env": "B"}}, "none"),
    ],
    ids=str,
)
def test_the_code_version_changes_with_attributes_that_decide_the_rows(
    attributes: dict[str, Any], which: str
) -> None:
    before, after = version(), version(**attributes)
    changed = {"both": (True, True), "orders": (True, False), "latest": (False, True)}
    found = tuple(old != new for old, new in zip(before, after, strict=True))
    assert found == changed.get(which, (False, False))


def test_the_code_version_changes_with_partitioning_but_not_with_the_order_of_types() -> None:
    assert specs()[0].code_version != specs(**BY_DATE)[0].code_version
    one, other = {"a": "NUMERIC", "b": "DATE"}, {"b": "DATE", "a": "NUMERIC"}
    assert version(types=one) == version(types=other)


def test_each_attribute_is_listed_as_deciding_the_rows_or_not() -> None:
    """A new attribute wants a line in the table above."""
    described = {
        *{
            "name",
            "url",
            "dataset",
            "table",
            "partition_by_date",
            "types",
            "null_values",
            "columns",
        },
        *{"max_bad_lines", "max_line_bytes", "key", "updated_at", "headers"},
        *{"empty_statuses", "deleted", "format", "records", "pages"},
    }
    others = {
        *{"basic_auth", "bearer_auth", "headers_env", "allow_insecure", "schedule", "quote_rows"},
        *{"oauth2", "query_env", "client_certificate_env", "sftp"},
        *{"column_descriptions", "max_feed_bytes", "allow_empty", "min_rows", "max_shrink"},
        *{"blocking_checks", "connect_timeout", "read_timeout", "download_timeout"},
        *{"max_attempts", "retry_wait", "max_retry_wait", "conditional_requests"},
        *{
            "parallel_requests",
            "parallel_loads",
            "days_per_run",
            "run_retries",
            "run_retry_wait",
            "labels",
        },
        *{"description", "group", "owners", "tags"},
    }
    assert set(Feed.model_fields) == described | others


def columns(schema: dg.TableSchema) -> Mapping[str, tuple[str, str | None]]:
    return {column.name: (column.type, column.description) for column in schema.columns}


def test_the_schema_of_an_import_has_the_columns_descriptions(
    project: Callable[..., Project],
) -> None:
    descriptions = {
        "order-id": "Its number.",
        "customer.id": "Whose.",
        "totl": "Mistyped.",
        "at": "",
    }
    orders = project(**LATEST, column_descriptions=descriptions)
    row = {"order-id": "N1", "at": "2020-01-20", "customer": {"id": 1}}
    orders.server.answer = lambda path: lines(row)

    run = orders.run("2020-01-20")
    latest = orders.run(asset="orders_latest")

    (day,) = metadata_of(run).values()
    shown = {
        "order_id": ("STRING", "Its number."),
        "at": ("DATETIME", None),
        "customer": ("RECORD", None),
        "customer.id": ("INTEGER", "Whose."),
    }
    assert columns(day["dagster/column_schema"]) == shown
    assert day["described, but not in the feed so far"] == ["totl"]
    assert columns(metadata_of(latest)[""]["dagster/column_schema"]) == shown
    logged = [entry.user_message for entry in orders.instance.all_logs(run.run_id)]
    assert any(
        "columns described, but not in the feed so far totl" in message for message in logged
    )


def test_the_latest_state_has_figures_and_the_lineage_of_its_columns(
    project: Callable[..., Project],
) -> None:
    orders = project(**LATEST)
    orders.server.answer = lambda path: lines({"order-id": "N1", "at": "2020-01-20"})
    orders.run("2020-01-20")

    (shown,) = metadata_of(orders.run(asset="orders_latest")).values()
    (again,) = metadata_of(orders.run(asset="orders_latest")).values()
    refresh = {"ops": {"orders_latest": {"config": {"full_refresh": True}}}}
    (refreshed,) = metadata_of(orders.run(asset="orders_latest", config=refresh)).values()

    figures = ("dagster/row_count", "keys changed", "days applied", "days waiting")
    assert [shown[name] for name in figures] == [1, 1, 1, 0]
    assert [again[name] for name in figures] == [1, 0, 0, 0]
    assert [refreshed[name] for name in figures] == [1, 1, 1, 0]
    assert [each.get("rebuilt") for each in (shown, again, refreshed)] == [True, None, True]
    assert TableMetadataSet.extract(shown).table_name == "crm.orders"
    assert dict(shown["dagster/column_lineage"].deps_by_column) == {
        name: [dg.TableColumnDep(dg.AssetKey("orders"), name)] for name in ("order_id", "at")
    }


def test_a_snapshots_columns_are_described_by_the_keys_in_the_feed(
    project: Callable[..., Project],
) -> None:
    snapshot = project(column_descriptions={"order-id": "Its number."})
    snapshot.server.answer = lambda path: lines({"order-id": "N1", "a!": 2})

    (shown,) = metadata_of(snapshot.run()).values()

    assert [column.description for column in shown["dagster/column_schema"].columns] == [
        "Its number.",
        None,
    ]
    assert "described, but not in the feed so far" not in shown


def test_figures_are_numbers_so_that_the_ui_can_plot_them(by_date: Project) -> None:
    run = by_date.run("2020-01-20")
    (event,) = [each for each in run.all_events if each.is_step_materialization]
    plotted = {
        name
        for name, value in event.materialization.metadata.items()
        if isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue)
    }
    assert plotted == {
        "dagster/row_count",
        "bytes",
        "download seconds",
        "store seconds",
        "bad lines",
    }
