"""The names of the types that a feed may declare: light, as each feed's declaration reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from feed_assets.errors import SettingError

NAMES = (
    "STRING",
    "INTEGER",
    "FLOAT",
    "BOOLEAN",
    "DATETIME",
    "TIMESTAMP",
    "NUMERIC",
    "BIGNUMERIC",
    "DATE",
    "TIME",
    "BYTES",
    "JSON",
    "GEOGRAPHY",
)
"""BigQuery's legacy names."""
STANDARD = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN"}
"""Names of the types in BigQuery's SQL."""
MAX_COLUMNS = 10_000
"""In a table, nested ones included. https://cloud.google.com/bigquery/quotas#all_tables"""
TEXTS = frozenset({"JSON", "GEOGRAPHY"})
"""Types that are text in Arrow, so that metadata beside it has to name them."""


def check_types(types: Mapping[str, str]) -> Mapping[str, str]:
    """`types` with each name as it is written in full; raises SettingError where that cannot be.

    Paths have dots and pass through arrays of objects: `items.price`. Names may be BigQuery's
    legacy or standard ones, in any case.
    """
    checked = {}
    for path, name in types.items():
        if not isinstance(path, str) or not path.strip():
            raise SettingError(f"types declares {name} for an empty path; name a column")
        full = name.strip().upper() if isinstance(name, str) else ""
        full = STANDARD.get(full, full)
        if full not in NAMES:
            raise SettingError(
                f"types declares {path} as {name}, which is no type; there are {', '.join(NAMES)}"
            )
        checked[path] = full
    for path in checked:
        for parent in parents(path):
            if parent in checked:
                raise SettingError(
                    f"types declares {parent} and also {path}, which is inside it; keep one of them"
                )
    return checked


def type_schema() -> dict[str, Any]:
    """JSON schema of a type's name: what an editor proposes, and whatever else is taken."""
    names = (*NAMES, *STANDARD)
    any_case = "|".join("".join(f"[{a}{a.lower()}]" for a in name) for name in names)
    return {"anyOf": [{"enum": list(names)}, {"type": "string", "pattern": rf"^({any_case})$"}]}


def parents(path: str) -> Iterator[str]:
    """The paths that a dotted path may lie in: `a` and `a.b` for `a.b.c`."""
    return (path[:at] for at, character in enumerate(path) if character == ".")
