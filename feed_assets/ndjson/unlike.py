"""Which line of a feed was the first not to fit a type that a column had before."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from feed_assets.ndjson.names import folded
from feed_assets.ndjson.resolve import Column, columns
from feed_assets.ndjson.scope import Scope
from feed_assets.ndjson.seen import Kind, Seen

_FITTING: dict[pa.DataType, set[Kind]] = {
    pa.bool_(): {Kind.BOOLEAN},
    pa.int64(): {Kind.INTEGER, Kind.LONG},
    pa.float64(): {Kind.INTEGER, Kind.FRACTION},
    pa.timestamp("us"): {Kind.DATETIME},
    pa.timestamp("us", "UTC"): {Kind.TIMESTAMP},
    pa.string(): set(Kind),
}


def first_line_unlike(seen: Seen, scope: Scope, path: str, known: pa.DataType) -> int | None:
    """The first line whose value at the stored path does not fit `known`; None if all do."""
    for name in path.split("."):  # stored names hold no dots themselves
        holder = seen.elements if seen.elements and not seen.fields else seen
        column = _by_name(holder, scope).get(folded(name))
        if column is None:
            return None
        seen, scope = column.seen, column.scope
    return min(_unlike(seen, scope, known), default=None)


def _by_name(seen: Seen, scope: Scope) -> dict[str, Column]:
    return {folded(column.name): column for column in columns(seen, scope)}


def _unlike(seen: Seen, scope: Scope, known: pa.DataType) -> Iterator[int]:
    if pa.types.is_struct(known):
        fitting = {Kind.OBJECT}
        by_name = _by_name(seen, scope)
        for part in known:
            if column := by_name.get(folded(part.name)):
                yield from _unlike(column.seen, column.scope, part.type)
    elif pa.types.is_list(known):
        fitting = {Kind.ARRAY}
        if seen.elements is not None:
            yield from _unlike(seen.elements, scope, known.value_type)
    else:
        fitting = _FITTING.get(known, set())  # a declared type: no value says that it would fit
    yield from (line for kind, line in seen.kinds.items() if kind not in fitting)
