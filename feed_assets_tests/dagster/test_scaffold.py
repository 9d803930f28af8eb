"""The YAML that `dg scaffold defs` writes, and the JSON schema that editors use."""

from __future__ import annotations

import contextlib
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result
from dagster.components.component_scaffolding import scaffold_object
from dagster_dg_cli.cli import create_dg_cli
from pydantic import BaseModel

from feed_assets.alerts.config import Alerts
from feed_assets.config.auth import BasicAuth, BearerAuth, OAuth2, Sftp
from feed_assets.config.pages import Pages
from feed_assets.config.partition import PartitionByDate
from feed_assets.orchestration.alert_sensor import AlertAttributes
from feed_assets.orchestration.feed_attributes import FeedAttributes
from feed_assets.orchestration.scaffold import alerts_yaml, feed_yaml

PROJECT = Path(__file__).parents[2]
JSON_FEED, ALERTS = "feed_assets.JsonFeed", "feed_assets.ImportAlerts"
MODELS = (FeedAttributes, PartitionByDate, BasicAuth, BearerAuth, OAuth2, Pages, AlertAttributes)
NEEDED = {"url": "https://example.com/f", "dataset": "crm"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, without its feeds."""
    here = tmp_path_factory.mktemp("scaffold")
    shutil.copy(PROJECT / "pyproject.toml", here)
    ignored = shutil.ignore_patterns("__pycache__", "crm_orders*", "alerts.yaml")
    shutil.copytree(PROJECT / "feed_assets", here / "feed_assets", ignore=ignored)
    return here


def dg(project: Path, *command: str) -> Result:
    """Run dg's command in this process, where Dagster is imported once; README's tests run dg."""
    with contextlib.chdir(project), warnings.catch_warnings(action="ignore"):  # dg's own
        return CliRunner().invoke(create_dg_cli(), command)  # type: ignore[no-untyped-call]


def scaffolded(folder: Path, given: Mapping[str, Any], component: str = JSON_FEED) -> Any:
    """Read back the written file."""
    scaffold_object(folder, component, json.dumps(given), "yaml", None)
    return yaml.safe_load((folder / "defs.yaml").read_text())["attributes"]


def uncommented(text: str) -> str:
    """Return all attributes that the file has as comments, declared."""
    names = {name for model in MODELS for name in model.model_fields}
    lines = []
    for line in text.splitlines():
        plain = line.replace("  # ", "  ", 1)
        name, colon, _ = plain.strip().partition(":")
        lines.append(plain if colon and name in names else line)
    return "\n".join(lines)


@pytest.mark.parametrize("folder", ["shop_orders", "shop-orders", "2020.orders"])
def test_a_feed_is_written_valid_and_named_after_its_folder(folder: str) -> None:
    feed = FeedAttributes(**yaml.safe_load(feed_yaml(folder))["attributes"])
    assert feed.name in {"shop_orders", "_2020_orders"}


def test_each_attribute_has_an_explanation_and_a_valid_example() -> None:
    text = feed_yaml("shop_orders")
    for attribute, field in FeedAttributes.model_fields.items():
        assert f"  # {field.description}\n" in text
        assert f" {attribute}:" in text
    declared = yaml.safe_load(uncommented(text))["attributes"]
    assert declared.keys() == FeedAttributes.model_fields.keys()
    assert declared["partition_by_date"].keys() == PartitionByDate.model_fields.keys()
    assert BearerAuth(**declared.pop("bearer_auth"))  # in the place of basic_auth
    assert OAuth2(**declared.pop("oauth2"))
    assert Sftp(**declared.pop("sftp"))  # an sftp url needs it
    declared["format"] = "json"  # the default has no records
    FeedAttributes(**declared)


def test_alerts_are_written_valid_with_each_attribute() -> None:
    text = alerts_yaml("team-alerts")
    assert Alerts(**yaml.safe_load(text)["attributes"]).name == "team_alerts"
    assert yaml.safe_load(uncommented(text))["attributes"].keys() == Alerts.model_fields.keys()


def test_only_the_given_attributes_are_set(tmp_path: Path) -> None:
    given = {
        **NEEDED,
        "name": "orders",
        "partition_by_date": {"start_date": "2024-01-01"},
        "key": ["id", "it's"],
        "max_shrink": 0.25,
        "allow_empty": False,
    }
    assert scaffolded(tmp_path / "shop", given) == given


def test_required_attributes_that_are_not_given_are_there_to_fill_in(tmp_path: Path) -> None:
    assert scaffolded(tmp_path / "shop", {"key": ["id"]}) == {
        "name": "shop",
        "url": "https://example.com/feed.ndjson",
        "dataset": "crm",
        "key": ["id"],
    }


def test_two_keys_in_one_option_are_refused_with_the_two_options(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException) as refused:
        scaffolded(tmp_path / "shop", {"key": ["shopId,orderId"]})
    assert str(refused.value) == (
        "shopId,orderId is one key; for several, write --key shopId --key orderId"
    )
    assert not list(tmp_path.iterdir())


def test_second_alerts_get_a_variable_of_their_own(tmp_path: Path) -> None:
    assert scaffolded(tmp_path / "alerts", {}, ALERTS)["urls_env"] == "FEED_ASSETS_ALERTS"
    assert scaffolded(tmp_path / "team-alerts", {}, ALERTS)["urls_env"] == "TEAM_ALERTS"


def test_alerts_are_written_as_given(tmp_path: Path) -> None:
    given = {"urls_env": "TEAM_ALERTS", "late_after_hours": 12}
    expected = {**given, "name": "team"}
    assert scaffolded(tmp_path / "team", given, ALERTS) == expected


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"datset": "shop"}, "datset: is not an attribute"),
        ({"url": "ftp://x"}, "url: is not an http, https, file, sftp, gs or s3 URL"),
        ({"key": 3}, "key: must be a list"),
        ({"basic_auth": {"username_env": "A"}}, "basic_auth.password_env: Field required"),
        ({"partition_by_date": {"start_date": "soon"}}, "partition_by_date.start_date: "),
        ({"blocking_checks": ["key"]}, "the feed has key among its blocking_checks, and no key"),
        ({"owners": ["wilma"], "min_rows": -1}, "min_rows: .*; owners: 'wilma' is not an owner"),
    ],
)
def test_an_invalid_declaration_is_one_sentence_and_leaves_no_file(
    tmp_path: Path, given: Mapping[str, Any], says: str
) -> None:
    folder = tmp_path / "shop"
    with pytest.raises(click.ClickException, match=says):
        scaffolded(folder, given)
    assert not folder.exists()


def test_a_feed_in_python_is_refused_with_advice(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    with pytest.raises(click.ClickException, match="declared in YAML; leave out --format"):
        scaffold_object(folder, JSON_FEED, None, "python", None)
    assert not folder.exists()


def test_the_command_accepts_options_or_json(project: Path) -> None:
    options = dg(
        project,
        *("scaffold", "defs", JSON_FEED, "by_options", "--url", NEEDED["url"]),
        *("--dataset", "crm", "--key", "shop", "--key", "id", "--updated-at", "at"),
        *("--partition-by-date", '{"start_date": "2024-01-01"}', "--max-bad-lines", "3"),
    )
    assert options.exit_code == 0, options.stderr
    given = {
        **NEEDED,
        "key": ["shop", "id"],
        "updated_at": "at",
        "partition_by_date": {"start_date": "2024-01-01"},
        "max_bad_lines": 3,
    }
    as_json = dg(
        project, "scaffold", "defs", JSON_FEED, "by_json", "--json-params", json.dumps(given)
    )
    assert as_json.exit_code == 0, as_json.stderr

    defs = project / "feed_assets" / "defs"
    one, other = (
        yaml.safe_load((defs / name / "defs.yaml").read_text())["attributes"]
        for name in ("by_options", "by_json")
    )
    assert {**one, "name": ""} == {**other, "name": ""} == {**given, "name": ""}

    mistaken = dg(project, "scaffold", "defs", JSON_FEED, "no", "--url", "x", "--dataset", "a b")
    assert mistaken.exit_code == 1
    assert mistaken.stderr.strip() == (
        "Error: url: is not an http, https, file, sftp, gs or s3 URL; write "
        "https://example.com/feed.ndjson, and credentials by basic_auth; dataset: 'a b' must "
        "consist of letters, digits and _, and not start with a digit"
    )


# --- the schema that editors read


@pytest.fixture(scope="module")
def schema(project: Path) -> Mapping[str, Any]:
    made = dg(project, "utils", "generate-component-schema", "--output-path", "schema.json")
    assert made.exit_code == 0, made.stderr
    found: Mapping[str, Any] = json.loads((project / "schema.json").read_text())
    return found


@pytest.mark.parametrize("model", MODELS)
def test_the_schema_has_meaning_and_values_of_each_attribute(
    schema: Mapping[str, Any], model: type[BaseModel]
) -> None:
    described = schema["$defs"][model.__name__]
    assert described["additionalProperties"] is False
    assert described["properties"].keys() == model.model_fields.keys()
    for name, attribute in described["properties"].items():
        assert attribute["description"], name
        assert attribute["examples"], name
        assert attribute.keys() & {"type", "anyOf", "$ref"}, name


def test_the_examples_are_valid(schema: Mapping[str, Any]) -> None:
    base: dict[str, Any] = {"name": "orders", **NEEDED, "key": ["id"], "updated_at": "at"}
    base |= {"partition_by_date": {"start_date": "2020-01-01"}, "format": "json"}
    for name, field in FeedAttributes.model_fields.items():
        for example in field.examples or ():
            url = {"url": "sftp://example.com/{date}.ndjson"} if name == "sftp" else {}
            FeedAttributes(**{**base, **url, name: example})
            refusals(schema, {**base, name: example}, [])


def refusals(schema: Mapping[str, Any], attributes: Mapping[str, Any], expected: list[str]) -> None:
    only = {"$defs": schema["$defs"], "$ref": "#/$defs/JsonFeed"}
    document = {"type": JSON_FEED, "attributes": attributes}
    found = jsonschema.Draft202012Validator(only).iter_errors(document)
    assert [error.message for error in flattened(found)] == expected


def flattened(errors: Any) -> Iterator[Any]:
    for error in errors:
        yield from flattened(error.context) if error.context else [error]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"types": {"total": "NUMERIC", "a.b": "int64"}}, []),
        ({"datset": "crm"}, ["Additional properties are not allowed ('datset' was unexpected)"]),
        ({"max_bad_lines": -1}, ["-1 is less than the minimum of 0"]),
        ({"key": "id"}, ["'id' is not of type 'array'"]),
        ({"blocking_checks": ["rows"]}, ["'rows' is not one of ['key', 'updated_at']"]),
        ({"name": None}, ["None is not of type 'string'"]),
    ],
    ids=str,
)
def test_an_editor_accepts_valid_attributes_and_marks_mistakes(
    schema: Mapping[str, Any], attributes: Mapping[str, Any], expected: list[str]
) -> None:
    refusals(schema, {"name": "orders", **NEEDED, **attributes}, expected)


def test_an_editor_marks_an_unknown_type(schema: Mapping[str, Any]) -> None:
    with pytest.raises(AssertionError, match=r"'NUMERC' is not one of .*'NUMERIC'"):
        refusals(schema, {"name": "orders", **NEEDED, "types": {"total": "NUMERC"}}, [])


@pytest.mark.parametrize("path", sorted((PROJECT / "feed_assets" / "defs").glob("*/defs.yaml")))
def test_the_examples_files_are_valid(schema: Mapping[str, Any], path: Path) -> None:
    jsonschema.validate(
        json.loads(json.dumps(yaml.safe_load(path.read_text()), default=str)), schema
    )
