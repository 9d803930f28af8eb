"""The code location: definitions that load, that are refused, or that only fail in a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import dagster as dg
import pytest
import yaml
from dagster.components.component_scaffolding import scaffold_object
from dagster.components.core.component_tree import ComponentTreeException
from dagster.components.core.load_defs import PLUGIN_COMPONENT_TYPES_JSON_METADATA_KEY
from dagster.components.testing import create_defs_folder_sandbox
from pydantic import BaseModel, ValidationError

from feed_assets.alerts.config import Alerts
from feed_assets.config.partition import PartitionByDate
from feed_assets.definitions import defs
from feed_assets.demo.definitions import defs as example
from feed_assets.errors import SettingError
from feed_assets.orchestration.alert_sensor import AlertAttributes
from feed_assets.orchestration.assets import IO_MANAGER, feed_asset
from feed_assets.orchestration.code_location import code_location
from feed_assets.orchestration.feed_attributes import FeedAttributes
from feed_assets.orchestration.io_manager import WarehouseIOManager
from feed_assets.orchestration.resources import WarehouseResource
from feed_assets.orchestration.schedules import feed_schedule
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets_tests.support.project_copy import EXAMPLE, copy_tree

ALERTS = "FEED_ASSETS_ALERTS"
VARIABLE = "FEED_ASSETS_WAREHOUSE"
RESOURCES = {IO_MANAGER: WarehouseIOManager(warehouse=WarehouseResource())}


@pytest.mark.parametrize("warehouse", ["", "bigquery://my-project?location=EU"])
def test_the_examples_feeds_become_assets_and_schedules_on_both_warehouses(
    warehouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, warehouse)
    monkeypatch.delenv("CRM_FEED_PASSWORD", raising=False)  # only a run needs it

    loaded = example()

    keys = {spec.key.to_user_string() for spec in loaded.resolve_all_asset_specs()}
    assert keys == {"crm_orders", "crm_orders_latest", "crm_orders_snapshot"}
    assert {schedule.name for schedule in loaded.schedules or ()} == {
        "crm_orders_schedule",
        "crm_orders_snapshot_schedule",
    }
    daily = loaded.resolve_assets_def("crm_orders")
    assert isinstance(daily.partitions_def, dg.DailyPartitionsDefinition)
    days = daily.partitions_def.get_partition_keys()
    assert (days[0], days[-1], len(days)) == ("2020-01-10", "2020-01-20", 11)
    assert loaded.resolve_assets_def("crm_orders_snapshot").partitions_def is None


@pytest.mark.parametrize("warehouse", ["", "bigquery://my-project?location=EU"])
def test_a_new_project_has_alerts_and_no_feed(
    warehouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, warehouse)
    loaded = defs()
    assert list(loaded.resolve_all_asset_specs()) == []
    assert "import_alerts" in {sensor.name for sensor in loaded.sensors or ()}


def test_alerts_are_on_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALERTS, raising=False)
    sensor = defs().get_repository_def().get_sensor_def("import_alerts")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING


def test_an_alert_url_that_apprise_does_not_know_is_refused_by_component_and_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(ALERTS, "json://localhost slak://hunter2/x")
    with pytest.raises(ComponentTreeException) as refused:
        defs()
    printed = "".join(traceback.format_exception(refused.value))
    assert "attributes.urls_env at" in printed
    assert "defs/alerts/defs.yaml" in printed
    assert (
        f"{ALERTS} holds URL 2 of 2 that Apprise does not recognize (it begins with slak://)"
        in printed
    )
    assert "hunter2" not in printed


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "scheme": ({"url": "ftp://example.com/f?token=hunter2"}, "url"),
    "password": ({"url": "https://me:hunter2@example.com/f"}, "url"),
    "port": ({"url": "https://example.com:99999/f?token=hunter2"}, "url"),
    "port that is a password": ({"url": "https://me:hunter2/f"}, "url"),
    "space": ({"url": "https://example.com/f ?token=hunter2"}, "url"),
    "template": ({"url": "https://example.com/{{ env.X }}?token=hunter2"}, "url"),
    "template that is none": ({"url": "https://example.com/{{ ?token=hunter2"}, "url"),
    "list": ({"url": ["https://example.com/f?token=hunter2"]}, "url"),
    "object": ({"url": {"token": "hunter2"}}, "url"),
    "blank date": (
        {
            "url": "https://example.com/f?date=&token=hunter2",
            "partition_by_date": {"start_date": "2020-01-01"},
        },
        "has a date in its url",
    ),
    "plain http": (
        {"url": "http://example.com/?t=hunter2", "bearer_auth": {"token_env": "T"}},
        "over plain http",
    ),
    "nothing else": ({"url": "https://e.com/?t=hunter2", "dataset": None}, "dataset"),
    "unknown": ({"password": "hunter2"}, "password"),
    "token": ({"bearer_auth": {"token": "hunter2"}}, "bearer_auth.token"),
    "token alone": ({"bearer_auth": "hunter2"}, "bearer_auth"),
    "token as a variable": ({"bearer_auth": {"token_env": "ey.hunter2"}}, "bearer_auth.token_env"),
    "password beside": (
        {"basic_auth": {"username_env": "U", "password": "hunter2"}},
        "basic_auth.password",
    ),
    "password as a variable": (
        {"basic_auth": {"username_env": "U", "password_env": "hunter2!"}},
        "basic_auth.password_env",
    ),
    "header": ({"headers_env": {"X-Api-Key": "Token hunter2"}}, "headers_env"),
    "header in its name": ({"headers_env": {"X-Api-Key: hunter2": "KEY"}}, "headers_env"),
    "headers": ({"headers_env": "X-Api-Key: hunter2"}, "headers_env"),
    "number": ({"max_bad_lines": "hunter2"}, "max_bad_lines"),
    "text": ({"description": ["hunter2"]}, "description"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_yaml_is_named_by_file_and_attribute_and_not_quoted(mistake: str) -> None:
    """Return the error as `dg check defs` and the UI show it: Dagster rebuilds pydantic's."""
    attributes, where = MISTAKES[mistake]
    declared = {"name": "bad", "url": "https://example.com/f", "dataset": "crm", **attributes}
    written = {"type": "feed_assets.JsonFeed", "attributes": declared}
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.defs_folder_path / "bad"
        folder.mkdir()
        (folder / "defs.yaml").write_text(yaml.safe_dump(written, width=10**6), encoding="utf-8")
        with pytest.raises(Exception) as refused, sandbox.load_component_and_build_defs(folder):  # noqa: PT011
            pass
    printed = "".join(traceback.format_exception(refused.value))
    assert "bad/defs.yaml:" in printed
    assert where in printed
    assert "hunter2" not in printed


@pytest.mark.parametrize("mistake", sorted(MISTAKES.keys() - {"nothing else"}))
def test_the_scaffold_does_not_quote_a_mistake(mistake: str, tmp_path: Path) -> None:
    attributes, where = MISTAKES[mistake]
    given = {"url": "https://example.com/f", "dataset": "crm", **attributes}
    with pytest.raises(click.ClickException) as refused:
        scaffold_object(tmp_path / "bad", "feed_assets.JsonFeed", json.dumps(given), "yaml", None)
    assert where in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"urls_env": "slack://hunter2/b"}, "is not the name of an environment variable"),
        ({"urls_env": "{{ env.SLACK }}"}, "is not the name of an environment variable"),
        ({"ui_url": "dagster.example.com"}, "is not an http or https URL of a Dagster UI"),
        ({"ui_url": "https://me:hunter2@/"}, "is not an http or https URL of a Dagster UI"),
        ({"late_after_hours": 0}, "late_after_hours"),
        ({"name": "my alerts"}, "must consist of letters, digits and _"),
        ({"url": "x"}, "Extra inputs are not permitted"),
    ],
)
def test_alerts_declared_wrongly_are_refused(attributes: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says) as refused:
        Alerts.model_validate(attributes)
    assert "hunter2" not in str(refused.value)


def test_templates_take_values_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEED_HOST", "crm.example.com")
    feed = FeedAttributes.model_validate(
        {
            "name": "orders",
            "url": "https://{{ env.FEED_HOST }}/orders?date={date}",
            "dataset": "{{ env('DATASET', 'crm') }}",
            "partition_by_date": {"start_date": "{{ env('START', '2020-01-01') }}"},
            "key": ["{{ 'id' }}"],
        }
    )
    assert str(feed.address).startswith("https://crm.example.com/orders")
    assert (feed.dataset, feed.key) == ("crm", ("id",))
    alerts = AlertAttributes.model_validate({"ui_url": "https://{{ env.FEED_HOST }}"})
    assert alerts.ui_url == "https://crm.example.com"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ env.FEED_HOST }}", "needs FEED_HOST, which is not set in the environment"),
        ("{{ env('FEED_HOST') }}", "needs FEED_HOST, which is not set in the environment"),
        ("{{ secret.X }}", "cannot be evaluated; write a variable as {{ env.NAME }}"),
        ("{{ env.X", "cannot be evaluated; write a variable as {{ env.NAME }}"),
    ],
)
def test_a_template_without_a_value_fails_with_one_sentence(
    template: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEED_HOST", raising=False)
    with pytest.raises(ValidationError) as refused:
        FeedAttributes.model_validate({**BASE, "url": f"https://{template}/feed"})
    (mistake,) = refused.value.errors()
    assert mistake["loc"] == ("url",)
    assert says in mistake["msg"]


BY_DATE = {"start_date": "2020-01-01"}
BASE = {"name": "orders", "url": "https://example.com/feed", "dataset": "crm"}
HUGE: tuple[float, ...] = (float("inf"), float("-inf"), float("nan"), 10**30, -1)
"""YAML writes the first three as `.inf`, `-.inf` and `.nan`."""


def numbers_of(model: type[BaseModel]) -> list[str]:
    """The attributes of a model that are numbers."""
    kinds = (int, float, int | None, float | None)
    return [name for name, field in model.model_fields.items() if field.annotation in kinds]


@pytest.mark.parametrize("value", HUGE, ids=str)
def test_numbers_so_large_or_small_that_every_run_would_fail_are_refused(value: float) -> None:
    """Every attribute is covered, also one that is added later."""
    for model, base in (
        (FeedAttributes, BASE),
        (PartitionByDate, BY_DATE),
        (Alerts, {}),
    ):
        names = numbers_of(model)
        assert names
        for name in names:
            with pytest.raises(ValidationError, match=name):
                model.model_validate({**base, name: value})


@pytest.mark.parametrize(
    "attributes",
    [
        {"max_line_bytes": 1 << 30, "max_feed_bytes": 10**15, "min_rows": 10**12},
        {"connect_timeout": 0.001, "read_timeout": 86_400, "download_timeout": 7 * 86_400},
        {"labels": {f"label{number}": "" for number in range(61)}},
        {"description": "x" * 16_384},
        {"partition_by_date": {"start_date": "1900-01-01", "end_date": "2199-12-31"}},
        {"key": ["a b", "customer.id"], "updated_at": "meta.updated at"},
    ],
    ids=lambda attributes: min(attributes),
)
def test_attributes_that_runs_can_use_are_accepted(attributes: dict[str, Any]) -> None:
    feed = FeedAttributes.model_validate({**BASE, **attributes})
    dg.Definitions.validate_loadable(
        dg.Definitions([feed_asset(feed)], resources=RESOURCES, schedules=[feed_schedule(feed)])
    )


@pytest.mark.parametrize(
    ("attribute", "value", "says"),
    [
        ("max_line_bytes", (1 << 30) + 1, "less than or equal to 1073741824"),
        ("connect_timeout", 1e-300, "greater than or equal to 0.001"),
        ("partition_by_date", {"start_date": "0001-01-01"}, "start_date .* is before 1900-01-01"),
        (
            "partition_by_date",
            {**BY_DATE, "end_date": "9999-12-31"},
            "leave it out if the feed continues",
        ),
        ("partition_by_date", {**BY_DATE, "timezone": ""}, "there is no time zone ''"),
        ("partition_by_date", {**BY_DATE, "timezone": "Asia"}, "there is no time zone 'Asia'"),
        ("partition_by_date", {**BY_DATE, "timezone": "../UTC"}, "there is no time zone"),
        ("schedule", "R 5 * * *", "is not a cron expression"),
        ("key", [""], "'' is not a column"),
        ("key", ["id", " "], "' ' is not a column"),
        ("key", ["customer."], "'customer.' is not a column"),
        ("key", ["customer..id"], "is not a column"),
        ("key", ["id", "id"], "names a column twice"),
        ("updated_at", "", "'' is not a column"),
        ("labels", {f"label{number}": "" for number in range(62)}, "has 62 labels"),
        ("description", "x" * 16_385, "at most 16384 characters"),
        ("headers_env", {"X-Api-Key": ""}, "is not the name of an environment variable"),
        ("headers_env", {"X-Api-Key": "hunter2 "}, "is not the name of an environment variable"),
        ("headers_env", {"X-Key": "A", "x-key": "B"}, "has a header twice"),
        ("bearer_auth", {"token_env": "hunter2="}, "is not the name of an environment variable"),
        (
            "basic_auth",
            {"username_env": "A", "password_env": "hunter2!"},
            "is not the name of an environment variable",
        ),
    ],
    ids=str,
)
def test_a_value_with_which_every_run_would_fail_is_refused_by_attribute(
    attribute: str, value: object, says: str
) -> None:
    with pytest.raises(ValidationError, match=says) as refused:
        FeedAttributes.model_validate({**BASE, attribute: value})
    assert refused.value.errors()[0]["loc"][0] == attribute
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"key": ["customer", "customer.id"]}, "has customer in its key and also customer.id"),
        ({"key": ["id"], "types": {"id": "float64"}}, "has id in its key, which is FLOAT"),
        ({"updated_at": "at", "types": {"at": "BOOLEAN"}}, "at as updated_at, which is BOOLEAN"),
        ({"updated_at": "at", "types": {"at": "BYTES"}}, "at as updated_at, which is BYTES"),
    ],
    ids=str,
)
def test_a_key_and_an_updated_at_that_cannot_give_the_latest_state_are_refused(
    attributes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValidationError, match=says):
        FeedAttributes.model_validate({**BASE, "partition_by_date": BY_DATE, **attributes})


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        (
            {"one": BASE, "two": BASE},
            "two feeds are named orders, in acme/defs/one/defs.yaml and acme/defs/two/defs.yaml",
        ),
        (
            {"one": {"late_after_hours": 3}, "two": {"late_after_hours": 6}},
            "two alerts are named import_alerts, in acme/defs/one/defs.yaml and "
            "acme/defs/two/defs.yaml",
        ),
    ],
    ids=["feeds", "alerts"],
)
def test_two_feeds_with_one_name_are_refused_with_their_files(
    folders: dict[str, dict[str, Any]],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = tmp_path / "acme"
    for folder, attributes in folders.items():
        file = package / "defs" / folder / "defs.yaml"
        file.parent.mkdir(parents=True)
        kind = "JsonFeed" if "url" in attributes else "ImportAlerts"
        file.write_text(yaml.safe_dump({"type": f"feed_assets.{kind}", "attributes": attributes}))
    (package / "__init__.py").touch()
    (package / "defs/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "acme", raising=False)
    monkeypatch.delitem(sys.modules, "acme.defs", raising=False)
    tree = dg.ComponentTree(defs_module=import_module("acme.defs"), project_root=tmp_path)
    with pytest.raises(SettingError) as refused:
        code_location(tree)
    assert str(refused.value) == f"{says}; rename one"


def test_an_invalid_warehouse_does_not_stop_the_code_location(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "postgres://localhost")
    defs()


def test_on_bigquery_a_table_among_the_shards_is_refused_with_both_feeds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copy_tree(EXAMPLE, tmp_path / "colliding" / "defs")
    snapshot = tmp_path / "colliding" / "defs" / "crm_orders_snapshot" / "defs.yaml"
    snapshot.write_text(snapshot.read_text().replace("current_orders", "orders_snapshot"))
    monkeypatch.syspath_prepend(tmp_path)
    tree = dg.ComponentTree(
        defs_module=import_module("colliding.defs"), project_root=tmp_path / "colliding"
    )
    code_location(tree)
    monkeypatch.setenv(VARIABLE, "bigquery://my-project")
    with pytest.raises(SettingError, match="crm_orders and crm_orders_snapshot would collide"):
        code_location(tree)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgres://localhost/crm", "is not a warehouse; write duckdb:///path"),
        ("duckdb://", "is not a warehouse"),
        ("duckdb://relative.duckdb", "is not a warehouse"),
        ("bigquery://", "is not a warehouse"),
        ("bigquery://p?region=EU", "region is not an option"),
        ("nonsense", "is not a warehouse"),
        ("duckdb:///:memory:", "is not a warehouse"),
        ("postgres://me:hunter2@host/db", r"'postgres://\*\*\*@host/db', which is not a warehouse"),
    ],
)
def test_the_error_of_an_invalid_warehouse_shows_a_valid_one(url: str, says: str) -> None:
    with pytest.raises(SettingError, match=says), WarehouseResource(url=url).open():
        pass


def test_a_duckdb_file_is_named_by_its_path(tmp_path: Path) -> None:
    with WarehouseResource(url=f"duckdb://{tmp_path}/a%20file.duckdb").open() as warehouse:
        assert repr(warehouse) == f"DuckDB file {tmp_path}/a file.duckdb"
        assert isinstance(warehouse, DuckDBWarehouse)


def test_bigquery_without_credentials_fails_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BIGQUERY_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with (
        pytest.raises(SettingError, match="cannot be used without Google's credentials"),
        WarehouseResource(url="bigquery://my-project").open(),
    ):
        pass


def test_an_emulator_needs_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    with WarehouseResource(url="bigquery://my-project?location=EU").open() as warehouse:
        assert repr(warehouse) == "BigQuery project my-project"
        assert warehouse.wildcards


def test_the_ui_documents_the_components_with_an_example_that_loads() -> None:
    """Dagster's own way to do so imports all packages that have components."""
    documents: Any = defs().metadata[PLUGIN_COMPONENT_TYPES_JSON_METADATA_KEY]
    ((name, components),) = ((each["name"], each["componentTypes"]) for each in documents.value)
    models: dict[str, type[BaseModel]] = {
        "feed_assets.ImportAlerts": Alerts,
        "feed_assets.JsonFeed": FeedAttributes,
    }
    assert name == "feed_assets"
    assert {each["name"] for each in components} == models.keys()
    for each in components:
        assert each["description"].count("\n") > 1
        models[each["name"]](**yaml.safe_load(each["example"])["attributes"])


def test_loading_definitions_imports_no_heavy_package() -> None:
    """Dagster itself loads dagster_gcp, when its UI asks for the documentation of components."""
    code = (
        "import sys; from feed_assets.definitions import defs; defs().get_repository_def(); "
        "heavy = 'pandas', 'pyarrow', 'numpy', 'duckdb', 'google.cloud', 'requests', 'apprise'; "
        "print([module for module in heavy if module in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={name: value for name, value in os.environ.items() if name != ALERTS},
    )
    assert done.stdout.strip() == "[]"
