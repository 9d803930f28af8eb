"""Writes docs/attributes.md from the models: `make docs`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from feed_assets.alerts.config import Alerts
from feed_assets.config.feed import Feed
from feed_assets_tests.system.docs.pages import DOCS

PAGE = DOCS / "attributes.md"
NAMES = {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}
HEAD = """\
# Attributes

<!-- Written by `make docs` from the models in feed_assets; edit those. -->

All that may stand under `attributes:` in a `defs.yaml`. A name that is not here is refused when the
definitions load, by file and line.
"""
FEED = """
## A feed

`type: feed_assets.JsonFeed`. `.venv/bin/dg scaffold defs feed_assets.JsonFeed NAME` writes one with
all of them.
"""
ALERTS = """
## Alerts

`type: feed_assets.ImportAlerts`. See [alerts.md](alerts.md).
"""


def written() -> str:
    """The page."""
    parts = [HEAD, FEED, *_table(Feed)]
    for name, field in Feed.model_fields.items():
        for model in _models(field.annotation):
            parts += [f"\n### {name}\n\n{(model.__doc__ or '').strip()}\n", *_table(model)]
    return "".join([*parts, ALERTS, *_table(Alerts)])


def _table(model: type[BaseModel]) -> Iterator[str]:
    yield "\n| attribute | type | default | what it is | example |\n|---|---|---|---|---|\n"
    for name, field in model.model_fields.items():
        shown = f"`{name}: {_yaml(field.examples[0])}`" if field.examples else ""
        said = (field.description or "").replace("<", "&lt;")  # else GitHub takes it for HTML
        cells = [f"`{name}`", _kind(field), _default(field), said, shown]
        yield f"| {' | '.join(_escaped(cell) for cell in cells)} |\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    default = field.get_default(call_default_factory=True)
    return "none" if default in (None, "", (), {}) else f"`{_yaml(default)}`"


def _kind(field: FieldInfo) -> str:
    kind = _name(field.annotation)
    bounds = [
        f"{sign} {getattr(each, at)}"
        for each in field.metadata
        for at, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if hasattr(each, at) and getattr(each, at) < 1 << 32  # beyond, nobody gets there
    ]
    return f"{kind}, {', '.join(bounds)}" if bounds else kind


def _name(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(_name(each) for each in inner if each is not type(None))
    if origin is tuple:
        return f"list of {_name(inner[0])}"
    if origin is not None and inner and isinstance(inner[0], str):
        return " or ".join(f"`{each}`" for each in inner)
    if origin is not None:
        return f"{_name(inner[0])} to {_name(inner[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping, see below"
    return NAMES.get(name := str(annotation.__name__), name)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            yield each


def _yaml(value: Any) -> str:
    """On one line, as a person writes it: without quotes where none are needed."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][\w./:-]*", value):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
