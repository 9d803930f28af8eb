"""Write attributes as lines of YAML, for the scaffold and the preview."""

from __future__ import annotations

import re
from typing import Any

import yaml

_BREAK = re.compile("[\n\r\x85\u2028\u2029\ufeff]")


def yaml_line(name: str, value: Any, comment: str = "") -> str:
    """Return the line of an attribute of a component, with a comment if one is given."""
    return f"  {name}: {flow(value)}{f'  # {comment}' if comment else ''}"


def flow(value: Any) -> str:
    """Return a value as one line of YAML."""
    text = _dump(value)
    if _BREAK.search(text):  # YAML would read a line break as a space
        text = _dump(value, '"')
    return text


def _dump(value: Any, style: str | None = None) -> str:
    text: str = yaml.safe_dump(
        value,
        default_flow_style=True,
        width=float("inf"),
        allow_unicode=True,
        sort_keys=False,
        default_style=style,
    )
    return text.removesuffix("\n").removesuffix("\n...")
