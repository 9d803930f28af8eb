"""What `dg scaffold defs` writes of a feed, or of alerts: every attribute, each explained."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg
from pydantic import BaseModel

from feed_assets.alerts.declared import Alerts
from feed_assets.feed import Feed

SET: dict[str, str] = {
    "url": "https://example.com/feed.ndjson",
    "basic_auth": "{username_env: CRM_FEED_USERNAME, password_env: CRM_FEED_PASSWORD}",
    "dataset": "crm",
}
"""Attributes to be filled in at once; the others stand as comments, with their defaults."""

EXAMPLES: dict[str, str] = {
    "partition_by_date": "{start_date: 2020-01-01, timezone: Europe/Berlin}",
    "key": "[orderId]",
    "updated_at": "updatedAt",
    "types": "{total: NUMERIC}",
    "description": "Orders of the shop.",
}


class FeedScaffolder(dg.Scaffolder[Any]):
    """Writes a feed's defs.yaml, valid as it stands."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        request.target_path.mkdir(parents=True, exist_ok=True)
        text = feed_yaml(request.target_path.name)
        (request.target_path / "defs.yaml").write_text(text, encoding="utf-8")


def feed_yaml(name: str) -> str:
    """A feed with all attributes of the model: the needed ones set, the others as comments."""
    lines = ["type: feed_assets.JsonFeed", "attributes:", f"  name: {name}"]
    for attribute, field in Feed.model_fields.items():
        if attribute == "name":
            continue
        lines.append(f"  # {field.description}")
        if attribute in SET:
            lines.append(f"  {attribute}: {SET[attribute]}")
        else:
            default = field.get_default(call_default_factory=True)
            lines.append(f"  # {attribute}: {EXAMPLES.get(attribute, json.dumps(default))}")
        lines.extend(_inner(field.annotation) if attribute == "partition_by_date" else ())
    return "\n".join(lines) + "\n"


class AlertsScaffolder(dg.Scaffolder[Any]):
    """Writes the defs.yaml of alerts, valid as it stands."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        request.target_path.mkdir(parents=True, exist_ok=True)
        text = alerts_yaml(request.target_path.name)
        (request.target_path / "defs.yaml").write_text(text, encoding="utf-8")


def alerts_yaml(name: str) -> str:
    """Alerts with all attributes of the model, their sensor named."""
    lines = ["type: feed_assets.ImportAlerts", "attributes:"]
    for attribute, field in Alerts.model_fields.items():
        value = {"name": name, "ui_url": "https://dagster.example.com"}.get(attribute)
        if value is None:
            value = field.default
        unset = "# " if attribute == "ui_url" else ""
        lines += [f"  # {field.description}", f"  {unset}{attribute}: {value}"]
    return "\n".join(lines) + "\n"


def _inner(annotation: Any) -> list[str]:
    (model,) = (part for part in annotation.__args__ if issubclass(part, BaseModel))
    return [f"  #   {name}: {field.description}" for name, field in model.model_fields.items()]
