"""Which line of a feed was the first not to fit a type that a column had before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from feed_assets.ndjson.inference.column_names import folded
from feed_assets.ndjson.inference.declared_types import Scope
from feed_assets.ndjson.inference.infer import Column, columns
from feed_assets.ndjson.inference.observed import Observed, ValueKind

_FITTING: dict[pa.DataType, set[ValueKind]] = {
    pa.bool_(): {ValueKind.BOOLEAN},
    pa.int64(): {ValueKind.INTEGER, ValueKind.LONG},
    pa.float64(): {ValueKind.INTEGER, ValueKind.FRACTION},
    pa.timestamp("us"): {ValueKind.DATETIME},
    pa.timestamp("us", "UTC"): {ValueKind.TIMESTAMP},
    pa.string(): set(ValueKind),
}


def first_line_unlike(
    observed: Observed, scope: Scope, path: str, known: pa.DataType, among: Iterable[pa.Field] = ()
) -> int | None:
    """The first line whose value at the stored path does not fit `known`; None if all do.

    `among` are the columns known when the names were given.
    """
    for name in path.split("."):  # stored names hold no dots themselves
        holder = observed.elements if observed.elements and not observed.fields else observed
        column = _by_name(holder, scope, among).get(folded(name))
        if column is None:
            return None
        observed, scope = column.observed, column.scope
        among = _inside(next((each.type for each in among if each.name == column.name), None))
    return min(_unlike(observed, scope, known), default=None)


def _by_name(observed: Observed, scope: Scope, among: Iterable[pa.Field]) -> dict[str, Column]:
    return {folded(column.name): column for column in columns(observed, scope, among)}


def _inside(known: pa.DataType | None) -> Iterable[pa.Field]:
    """The fields of a known record, or of the records in a known array."""
    if known is not None and pa.types.is_list(known):
        known = known.value_type
    return known if known is not None and pa.types.is_struct(known) else ()


def _unlike(observed: Observed, scope: Scope, known: pa.DataType) -> Iterator[int]:
    if pa.types.is_struct(known):
        fitting = {ValueKind.OBJECT}
        by_name = _by_name(observed, scope, known)
        for part in known:
            if column := by_name.get(folded(part.name)):
                yield from _unlike(column.observed, column.scope, part.type)
    elif pa.types.is_list(known):
        fitting = {ValueKind.ARRAY}
        if observed.elements is not None:
            yield from _unlike(observed.elements, scope, known.value_type)
    else:
        fitting = _FITTING.get(known, set())  # a declared type: no value says that it would fit
    yield from (line for kind, line in observed.kinds.items() if kind not in fitting)
