"""Where declared types apply: the paths of `types`, followed down into a row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from feed_assets.ndjson.datatypes.kinds import BY_NAME, Declared, Unfit, is_empty
from feed_assets.ndjson.strict_json import FloatText, IntText, Refused, Row, naming
from feed_assets.schema.datatypes import check_types, parents

_QUOTED_IN_REASON = 40


@dataclass(frozen=True)
class Scope:
    """What is declared from one object on down: for its own keys, and inside its keys.

    `flexible_names` is the same on all levels: whether columns may have BigQuery's flexible names.

    A key may itself have dots, so `a.b` is looked up both as a key and as `b` inside `a`.
    """

    types: Mapping[str, Declared] = field(default_factory=dict)
    inside: Mapping[str, Scope] = field(default_factory=dict)
    flexible_names: bool = True

    def within(self, key: str) -> Scope:
        """The scope of the objects under a key."""
        return self.inside.get(key) or Scope(flexible_names=self.flexible_names)

    def check(self, row: Row) -> None:
        """Raises Refused at a value that its declared type cannot hold."""
        for path, declared, value in self.values_of(row, ""):
            try:
                declared.convert(value)
            except Unfit as unfit:
                shown = _shown(unfit.args[0] if unfit.args else value)
                raise Refused(f"has {shown} in column {path}, declared {declared.name}") from None

    def values_of(self, row: Row, path: str) -> Iterator[tuple[str, Declared, Any]]:
        """Path, type and value wherever a type is declared; `path` is the row's, with its dot."""
        for key, declared in self.types.items():
            value = row.get(key)
            if value is not None and (declared.keeps_empty or not is_empty(value)):
                yield path + key, declared, value
        for key, scope in self.inside.items():
            value = row.get(key)
            for each in value if type(value) is list else (value,):
                if type(each) is dict:
                    yield from scope.values_of(each, f"{path}{key}.")


NOTHING_DECLARED = Scope()


def scope_of(types: Mapping[str, str], *, flexible_names: bool = True) -> Scope:
    """The scope of a whole row; raises SettingError as `check_types` does."""
    declared = {path: BY_NAME[name] for path, name in check_types(types).items()}
    return _scope(declared, flexible_names)


def _scope(types: Mapping[str, Declared], flexible_names: bool) -> Scope:
    inside: dict[str, dict[str, Declared]] = {}
    for path, declared in types.items():
        for parent in parents(path):
            inside.setdefault(parent, {})[path[len(parent) + 1 :]] = declared
    scopes = {key: _scope(below, flexible_names) for key, below in inside.items()}
    return Scope(types, scopes, flexible_names)


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return naming(value)
    shown = str(value) if isinstance(value, IntText | FloatText) else json.dumps(value)
    return shown if len(shown) <= _QUOTED_IN_REASON else f"{shown[:_QUOTED_IN_REASON]}..."
