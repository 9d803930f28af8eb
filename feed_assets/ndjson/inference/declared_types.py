"""Declared types as a tree: the dotted paths of `types`, looked up key by key in a row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from feed_assets.errors import Redacted
from feed_assets.ndjson.datatypes.kinds import (
    DeclaredType,
    DoesNotFit,
    declared_type,
    is_empty,
)
from feed_assets.ndjson.strict_json import FloatText, IntText, InvalidLine, Row, json_type_name
from feed_assets.schema.datatypes import parents
from feed_assets.schema.type_declarations import Declared, parse_types

_QUOTED_IN_REASON = 40  # characters


@dataclass(frozen=True)
class DeclaredTypes:
    """Types declared for the keys of one object, and for the objects nested in it.

    A key can contain dots, so `a.b` is looked up both as a key and as `b` in the object `a`.
    """

    by_key: Mapping[str, DeclaredType] = field(default_factory=dict)
    nested: Mapping[str, DeclaredTypes] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    """Declared names of the keys of this object."""
    flexible_names: bool = True
    """Allow BigQuery's flexible column names. The same on all levels."""

    def for_key(self, key: str) -> DeclaredTypes:
        """Return the types declared inside the objects under a key."""
        return self.nested.get(key) or DeclaredTypes(flexible_names=self.flexible_names)

    def check(self, row: Row) -> None:
        """Raise InvalidLine at the first value that does not fit its declared type."""
        for path, declared, value in self._declared_values(row, ""):
            try:
                declared.convert(value)
            except DoesNotFit as misfit:
                text = _quote(misfit.args[0] if misfit.args else value)
                raise InvalidLine(
                    Redacted(
                        f"has a value in column {path} that is not {declared.label}",
                        f"has {text} in column {path}, declared {declared.label}",
                    )
                ) from None

    def _declared_values(self, row: Row, prefix: str) -> Iterator[tuple[str, DeclaredType, Any]]:
        """Yield path, type and value of each declared column. `prefix` starts each path."""
        for key, declared in self.by_key.items():
            value = row.get(key)
            if value is not None and (declared.keeps_empty or not is_empty(value)):
                yield prefix + key, declared, value
        for key, types in self.nested.items():
            value = row.get(key)
            for each in value if type(value) is list else (value,):
                if type(each) is dict:
                    yield from types._declared_values(each, f"{prefix}{key}.")


NO_DECLARED_TYPES = DeclaredTypes()


def parse_declared_types(
    types: Mapping[str, Declared],
    names: Mapping[str, str] = MappingProxyType({}),
    *,
    flexible_names: bool = True,
) -> DeclaredTypes:
    """Build the tree for a whole row from types and new names by path. Raise SettingError."""
    by_path = {path: declared_type(declared) for path, declared in parse_types(types).items()}
    return _build_tree(by_path, names, flexible_names)


def _build_tree(
    types: Mapping[str, DeclaredType], names: Mapping[str, str], flexible_names: bool
) -> DeclaredTypes:
    below: dict[str, tuple[dict[str, DeclaredType], dict[str, str]]] = {}
    for path, declared in types.items():
        for parent in parents(path):
            below.setdefault(parent, ({}, {}))[0][path[len(parent) + 1 :]] = declared
    for path, name in names.items():
        for parent in parents(path):
            below.setdefault(parent, ({}, {}))[1][path[len(parent) + 1 :]] = name
    nested = {key: _build_tree(*inside, flexible_names) for key, inside in below.items()}
    return DeclaredTypes(types, nested, names, flexible_names)


def _quote(value: Any) -> str:
    if isinstance(value, list | dict):
        return json_type_name(value)
    text = str(value) if isinstance(value, IntText | FloatText) else json.dumps(value)
    return text if len(text) <= _QUOTED_IN_REASON else f"{text[:_QUOTED_IN_REASON]}..."
