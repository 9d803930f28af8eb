"""Parse the attribute `types` of a feed: a type for each path, perhaps with a format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from feed_assets.errors import SettingError
from feed_assets.schema.datatypes import BY_NAME, find_datatype, parents, type_schema
from feed_assets.schema.time_formats import EPOCHS, FORMATTED, TimeFormat, parse_format

Declared = str | Mapping[str, str]
"""A type as declared: DATETIME, or {type: DATETIME, format: "%d.%m.%Y"}."""
_KEYS = {"type", "format"}


def parse_types(types: Mapping[str, Declared]) -> Mapping[str, Declared]:
    """Return `types` with canonical names. Raise SettingError for an invalid path, name or format.

    Paths have dots and pass through arrays of objects: `items.price`. Names can be BigQuery's
    legacy or SQL ones, in any case.
    """
    parsed = {}
    for path, declared in types.items():
        if not isinstance(path, str) or not path.strip():
            raise SettingError(f"types declares {declared} for an empty path; name a column")
        parsed[path] = _parse(path, declared)
    for path in parsed:
        for parent in parents(path):
            if parent in parsed:
                raise SettingError(
                    f"types declares {parent} and also {path}, which is inside it; keep one of them"
                )
    return parsed


def declared_name(declared: Declared) -> str:
    """Return the type's name."""
    return declared if isinstance(declared, str) else declared["type"]


def declared_format(declared: Declared) -> TimeFormat | None:
    """Return the format of a parsed declaration, if it has one."""
    if isinstance(declared, str):
        return None
    return parse_format(declared["type"], declared["format"])


def _parse(path: str, declared: Any) -> Declared:
    if not isinstance(declared, Mapping):
        return _canonical_name(path, declared)
    if extra := [str(key) for key in declared if key not in _KEYS]:
        raise SettingError(
            f"types declares {path} with {extra[0]}, which is unknown; write type and format"
        )
    name = _canonical_name(path, declared.get("type"))
    text = declared.get("format")
    if text is None:
        return name
    if not isinstance(text, str):
        raise SettingError(f"types declares {path} with a format that is not text; quote it")
    try:
        parse_format(name, text)
    except SettingError as mistake:
        raise SettingError(f"types declares that {path} {mistake}") from None
    return {"type": name, "format": text}


def _canonical_name(path: str, name: Any) -> str:
    found = find_datatype(name) if isinstance(name, str) else None
    if found is None:
        raise SettingError(
            f"types declares {path} as {name}, which is not a type; use one of {', '.join(BY_NAME)}"
        )
    return found.name


def declaration_schema() -> dict[str, Any]:
    """Return the JSON schema of a declaration: a name, or a name with a format."""
    formats = {"type": "string", "examples": ["%d.%m.%Y", *EPOCHS]}
    with_format = {
        "type": "object",
        "properties": {"type": type_schema(), "format": formats},
        "required": ["type"],
        "additionalProperties": False,
        "description": f"A type with the format of its values: {', '.join(FORMATTED)}.",
    }
    return {"anyOf": [*type_schema()["anyOf"], with_format]}
