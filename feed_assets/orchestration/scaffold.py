"""`dg scaffold defs`: write the YAML of a feed or of alerts, every attribute with a comment."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from types import UnionType
from typing import Annotated, Any, get_args, get_origin

import click
import dagster as dg
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, WithJsonSchema, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from feed_assets.alerts.config import Alerts
from feed_assets.config.feed import Feed
from feed_assets.config.yaml_writer import flow, yaml_line
from feed_assets.orchestration.feed_attributes import FeedAttributes

SET: Mapping[str, Any] = {
    "url": "https://example.com/feed.ndjson",
    "basic_auth": {"username_env": "CRM_FEED_USERNAME", "password_env": "CRM_FEED_PASSWORD"},
    "dataset": "crm",
}
"""Attributes written if the command gives none; for the user to change."""

SECTIONS: Mapping[str, str] = {
    "basic_auth": "Access: names of environment variables, which hold what is secret",
    "partition_by_date": "Days, and when to import them",
    "key": "Rows",
    "allow_empty": "Checks before the table is changed",
    "connect_timeout": "The download",
    "parallel_requests": "Dagster's runs",
    "labels": "How it is shown",
}
"""Headings, by the first attribute of each section."""

OPTIONS = {str: "string", int: "integer", float: "number", bool: "boolean"}


def _params(name: str, model: type[BaseModel]) -> type[BaseModel]:
    """Make the attributes options of the command, unchecked; the whole feed is checked later.

    Extra names of `--json-params` are allowed here, so that the check reports them as well.
    """
    fields: dict[str, Any] = {
        attribute: (Annotated[Any, WithJsonSchema(_option(field.annotation))], None)
        for attribute, field in model.model_fields.items()
    }
    return create_model(name, __config__=ConfigDict(extra="allow"), **fields)


def _option(annotation: Any) -> dict[str, Any]:
    """Return the JSON schema type of an option: a scalar, a list of strings, or an object."""
    if get_origin(annotation) is UnionType:
        (annotation,) = (each for each in get_args(annotation) if each is not type(None))
    if get_origin(annotation) is tuple:
        return {"type": "array", "items": {"type": "string"}}
    return {"type": OPTIONS.get(annotation, "object")}


FeedParams = _params("FeedParams", Feed)
AlertsParams = _params("AlertsParams", Alerts)


class FeedScaffolder(dg.Scaffolder[Any]):
    """Write a valid defs.yaml for a feed."""

    @classmethod
    def get_scaffold_params(cls) -> type[BaseModel]:
        return FeedParams

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        _write(request, feed_yaml, FeedAttributes)


class AlertsScaffolder(dg.Scaffolder[Any]):
    """Write a valid defs.yaml for alerts."""

    @classmethod
    def get_scaffold_params(cls) -> type[BaseModel]:
        return AlertsParams

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        has_others = any(
            re.search(r"^type: feed_assets\.ImportAlerts\b", file.read_text("utf-8"), re.MULTILINE)
            for file in request.target_path.parent.glob("*/defs.yaml")
        )
        _write(request, partial(alerts_yaml, has_others=has_others), Alerts)


def _write(
    request: dg.ScaffoldRequest[Any], text: Callable[..., str], model: type[BaseModel]
) -> None:
    """Write defs.yaml. On an error, remove the folder and raise ClickException for `dg` to show."""
    given = {name: value for name, value in request.params if value is not None}
    written = text(request.target_path.name, given)
    try:
        for key in given["key"] if isinstance(given.get("key"), list) else ():
            if "," in str(key):
                options = " ".join(f"--key {each.strip()}" for each in str(key).split(","))
                raise click.ClickException(f"{key} is one key; for several, write {options}")
        if request.scaffold_format != "yaml":
            raise click.ClickException(
                "feed_assets components are declared in YAML; leave out --format"
            )
        model.model_validate(yaml.safe_load(written)["attributes"])
    except (ValidationError, click.ClickException) as mistake:
        request.target_path.rmdir()
        if isinstance(mistake, click.ClickException):
            raise
        raise click.ClickException("; ".join(map(_error_text, mistake.errors()))) from None
    request.target_path.mkdir(parents=True, exist_ok=True)
    (request.target_path / "defs.yaml").write_text(written, encoding="utf-8")


def _error_text(mistake: Any) -> str:
    texts = {"extra_forbidden": "is not an attribute", "tuple_type": "must be a list"}
    text = texts.get(mistake["type"], str(mistake["msg"]).removeprefix("Value error, "))
    place = ".".join(map(str, mistake["loc"]))
    return f"{place}: {text}" if place else f"the feed {text}"


def feed_yaml(folder: str, given: Mapping[str, Any] | None = None) -> str:
    """Write a feed named after its folder: given attributes set, all others as comments.

    Without given attributes, set those of SET.
    """
    given = given or {}
    filled = {"name": _name(folder), "url": SET["url"], "dataset": SET["dataset"]}
    values = {**filled, **(given or SET)}
    lines = ["type: feed_assets.JsonFeed", "attributes:"]
    for attribute, field in Feed.model_fields.items():
        if attribute in SECTIONS:
            lines += ["", f"  # --- {SECTIONS[attribute]}", ""]
        lines.append(f"  # {field.description}")
        if attribute in values:
            lines.append(yaml_line(attribute, values[attribute]))
        elif attribute == "partition_by_date":
            lines += ["  # partition_by_date:", *map("  #   {}".format, _inner(field))]
        else:
            lines.append(f"  # {attribute}: {_shown(field)}")
    lines += [yaml_line(name, given[name]) for name in given if name not in Feed.model_fields]
    return "\n".join(lines) + "\n"


def alerts_yaml(
    folder: str, given: Mapping[str, Any] | None = None, *, has_others: bool = False
) -> str:
    """Write alerts, with all attributes and the sensor named after the folder.

    If the project has alerts already, name the variable of the URLs after the folder, too.
    """
    given = given or {}
    name = _name(folder)
    values = {"name": name, **({"urls_env": name.upper()} if has_others else {}), **given}
    lines = ["type: feed_assets.ImportAlerts", "attributes:"]
    for attribute, field in Alerts.model_fields.items():
        value = values.get(attribute, field.default)
        is_set = attribute in values or bool(value)
        unset = "" if is_set else "# "
        lines += [
            f"  # {field.description}",
            f"  {unset}{attribute}: {flow(value) if is_set else _shown(field)}",
        ]
    lines += [yaml_line(name, given[name]) for name in given if name not in Alerts.model_fields]
    return "\n".join(lines) + "\n"


def _name(folder: str) -> str:
    """Turn a folder's name into an asset name."""
    name = re.sub(r"\W", "_", folder, flags=re.ASCII)
    return f"_{name}" if name[:1].isdigit() else name


def _shown(field: FieldInfo) -> str:
    """Return the default, or an example if the default is empty."""
    default = field.get_default(call_default_factory=True)
    if default in (None, "", (), {}):
        return f"{flow((field.examples or [])[0])} # for example"
    return json.dumps(default)


def _inner(field: FieldInfo) -> list[str]:
    """Return one line for each attribute of a nested model."""
    (model,) = (part for part in get_args(field.annotation) if issubclass(part, BaseModel))
    return [
        f"{name}: {(each.examples or [''])[0]} # {each.description}"
        if each.default in (None, PydanticUndefined)
        else f"{name}: {flow(each.default)} # {each.description}"
        for name, each in model.model_fields.items()
    ]
