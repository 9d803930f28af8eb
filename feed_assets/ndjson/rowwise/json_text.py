"""Keep the raw JSON text of values that a column stores as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from feed_assets.ndjson.datatypes.kinds import JSON, is_empty
from feed_assets.ndjson.inference.infer import Column
from feed_assets.ndjson.inference.observed import Observed, ValueKind
from feed_assets.ndjson.strict_json import Row, after_comma, decode_value, skip_space


@dataclass(frozen=True)
class RawTextPaths:
    """Tree of paths whose raw text is kept: here, in fields, in elements.

    Applies to objects and arrays; with `strings` also to strings, quotes included, for a JSON
    column; to empty objects and arrays only if their type is in `empty`.
    """

    here: bool = False
    strings: bool = False
    empty: tuple[type, ...] = ()
    fields: Mapping[str, RawTextPaths] = field(default_factory=dict)
    elements: RawTextPaths | None = None


def find_raw_text_paths(columns: Sequence[Column]) -> RawTextPaths | None:
    """Return the paths in objects with these columns that need raw text; None if none do."""
    found = {column.key: _in_value(column, column.type, column.observed) for column in columns}
    fields = {key: paths for key, paths in found.items() if paths is not None}
    return RawTextPaths(fields=fields) if fields else None


def keep_raw_text(text: str, row: Row, paths: RawTextPaths) -> None:
    """Replace each such value in `row` by its raw text."""
    if any(_may_hold_text(row.get(key), inside) for key, inside in paths.fields.items()):
        _keep_fields(text, 0, row, paths)


def _in_value(column: Column, to: pa.DataType | None, observed: Observed) -> RawTextPaths | None:
    if to is None:
        return None
    if column.declared is JSON:
        return RawTextPaths(here=True, strings=True, empty=(dict, list))
    if to == pa.string():
        empty = (dict, list) if column.declared and column.declared.keeps_empty else ()
        holds_some = observed.kinds.keys() & {ValueKind.OBJECT, ValueKind.ARRAY}
        return RawTextPaths(here=True, empty=empty) if holds_some else None
    if pa.types.is_struct(to):
        return find_raw_text_paths(column.fields)
    if pa.types.is_list(to) and observed.elements is not None:
        elements = _in_value(column, to.value_type, observed.elements)
        if elements and elements.here and observed.elements.kinds.keys() == {ValueKind.ARRAY}:
            elements = replace(elements, empty=(list,))
        return RawTextPaths(elements=elements) if elements else None
    return None


def _keep_value(text: str, start: int, value: Any, paths: RawTextPaths | None) -> tuple[Any, int]:
    """Return the value to store for the one that starts at `start`, and its end."""
    if paths is None or not _may_hold_text(value, paths):
        return value, decode_value(text, start)[1]
    if paths.here:
        end = decode_value(text, start)[1]
        return text[start:end], end
    if type(value) is dict:
        return value, _keep_fields(text, start, value, paths)
    return value, _keep_elements(text, start, value, paths.elements)


def _keep_fields(text: str, start: int, row: Row, paths: RawTextPaths) -> int:
    at = skip_space(text, start + 1)
    while text[at] != "}":
        key, at = decode_value(text, at)
        at = skip_space(text, skip_space(text, at) + 1)  # past the colon
        row[key], at = _keep_value(text, at, row[key], paths.fields.get(key))
        at = after_comma(text, at)
    return at + 1


def _keep_elements(text: str, start: int, array: list[Any], paths: RawTextPaths | None) -> int:
    at = skip_space(text, start + 1)
    for index, value in enumerate(array):
        array[index], at = _keep_value(text, at, value, paths)
        at = after_comma(text, at)
    return at + 1


def _may_hold_text(value: Any, paths: RawTextPaths) -> bool:
    if is_empty(value):
        return type(value) in paths.empty
    return type(value) is dict or type(value) is list or (paths.strings and type(value) is str)
