"""Find the first line of a feed that conflicts with a column's previous type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from feed_assets.ndjson.inference.column_names import fold_name
from feed_assets.ndjson.inference.declared_types import DeclaredTypes
from feed_assets.ndjson.inference.infer import Column, infer_columns
from feed_assets.ndjson.inference.observed import Observed, ValueKind

_ACCEPTED_KINDS: dict[pa.DataType, set[ValueKind]] = {
    pa.bool_(): {ValueKind.BOOLEAN},
    pa.int64(): {ValueKind.INTEGER, ValueKind.LONG},
    pa.float64(): {ValueKind.INTEGER, ValueKind.FRACTION},
    pa.timestamp("us"): {ValueKind.DATETIME},
    pa.timestamp("us", "UTC"): {ValueKind.TIMESTAMP},
    pa.string(): set(ValueKind),
}


def first_conflicting_line(
    observed: Observed,
    types: DeclaredTypes,
    path: str,
    known: pa.DataType,
    among: Iterable[pa.Field] = (),
) -> int | None:
    """Return the first line whose value at the stored path does not fit `known`, or None.

    `among` is the previous schema, which gave the names.
    """
    for name in path.split("."):  # stored names hold no dots themselves
        holder = observed.elements if observed.elements and not observed.fields else observed
        column = _by_name(holder, types, among).get(fold_name(name))
        if column is None:
            return None
        observed, types = column.observed, column.declared_types
        among = _inside(next((each.type for each in among if each.name == column.name), None))
    return min(_conflicting_lines(observed, types, known), default=None)


def _by_name(
    observed: Observed, types: DeclaredTypes, among: Iterable[pa.Field]
) -> dict[str, Column]:
    return {fold_name(column.name): column for column in infer_columns(observed, types, among)}


def _inside(known: pa.DataType | None) -> Iterable[pa.Field]:
    """Return the fields of a known record, or of the records in a known array."""
    if known is not None and pa.types.is_list(known):
        known = known.value_type
    return known if known is not None and pa.types.is_struct(known) else ()


def _conflicting_lines(
    observed: Observed, types: DeclaredTypes, known: pa.DataType
) -> Iterator[int]:
    if pa.types.is_struct(known):
        caster = {ValueKind.OBJECT}
        by_name = _by_name(observed, types, known)
        for known_field in known:
            if column := by_name.get(fold_name(known_field.name)):
                yield from _conflicting_lines(
                    column.observed, column.declared_types, known_field.type
                )
    elif pa.types.is_list(known):
        caster = {ValueKind.ARRAY}
        if observed.elements is not None:
            yield from _conflicting_lines(observed.elements, types, known.value_type)
    else:
        caster = _ACCEPTED_KINDS.get(known, set())  # of a declared type, no kind is sure to fit
    yield from (line for kind, line in observed.kinds.items() if kind not in caster)
