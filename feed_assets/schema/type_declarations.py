"""Parse the attribute `types` of a feed: a type for each path."""

from __future__ import annotations

from collections.abc import Mapping

from feed_assets.errors import SettingError
from feed_assets.schema.datatypes import BY_NAME, find_datatype, parents


def parse_types(types: Mapping[str, str]) -> Mapping[str, str]:
    """Return `types` with canonical names. Raise SettingError for an invalid path or name.

    Paths have dots and pass through arrays of objects: `items.price`. Names can be BigQuery's
    legacy or SQL ones, in any case.
    """
    parsed = {}
    for path, name in types.items():
        if not isinstance(path, str) or not path.strip():
            raise SettingError(f"types declares {name} for an empty path; name a column")
        found = find_datatype(name) if isinstance(name, str) else None
        if found is None:
            raise SettingError(
                f"types declares {path} as {name}, which is not a type; use one of "
                f"{', '.join(BY_NAME)}"
            )
        parsed[path] = found.name
    for path in parsed:
        for parent in parents(path):
            if parent in parsed:
                raise SettingError(
                    f"types declares {parent} and also {path}, which is inside it; keep one of them"
                )
    return parsed
