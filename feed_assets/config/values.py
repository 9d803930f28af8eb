"""How a feed declares the values of its columns: types with formats, and null values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator

from feed_assets.errors import SettingError
from feed_assets.schema.type_declarations import Declared, parse_types

NO_EMPTY_AS_NULL = 'has empty_as_null, which is now null_values; write null_values: [""]'


def _canonical_types(types: Any) -> Mapping[str, Declared]:
    if not isinstance(types, Mapping):
        raise ValueError("is not a mapping of columns to types; write {total: NUMERIC}")
    try:
        return parse_types(types)
    except SettingError as mistake:
        raise ValueError(str(mistake)) from None


def _are_texts(values: Any) -> Any:
    for value in values if isinstance(values, Sequence) and not isinstance(values, str) else ():
        if value is None:
            raise ValueError("has null, which is null always; leave it out, or quote it")
        if not isinstance(value, str):
            raise ValueError(
                f'has {value}, which is not text; null values are strings of the feed: "{value}"'
            )
    return values


Types = Annotated[
    Mapping[str, Declared],
    PlainValidator(_canonical_types, json_schema_input_type=Mapping[str, Any]),
]
NullValues = Annotated[tuple[str, ...], BeforeValidator(_are_texts)]
