"""Observations: the kinds of values in a column, the first line of each, and what is nested."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum


class ValueKind(IntEnum):
    """Kind of value, by how it constrains its column's type. Null has none."""

    BOOLEAN = 1
    INTEGER = 2  # within ±2^53, where a double still represents every integer
    LONG = 3  # beyond that, within 64 bits
    FRACTION = 4  # written with a fraction or exponent, within a double's range
    BEYOND = 5  # an integer beyond 64 bits, or a magnitude beyond a double
    DATETIME = 6  # an ISO 8601 date or date-time without offset
    TIMESTAMP = 7  # an ISO 8601 date-time with offset
    TEXT = 8
    OBJECT = 9
    ARRAY = 10


@dataclass(slots=True)
class Observed:
    """The observation of one column. Only `Observer` changes one; all other code reads it.

    Each part is a semilattice: `kinds` is a union with the smallest line of each, `first` a
    smallest position, `fields` and `elements` are observations again. So `merge` is associative,
    commutative and idempotent by construction, and blocks can be observed apart and in any order.
    """

    kinds: dict[ValueKind, int] = field(default_factory=dict)
    fields: dict[str, Observed] = field(default_factory=dict)
    elements: Observed | None = None
    first: tuple[int, ...] | None = None
    """Position of the key's first occurrence (also with null): line, index in each array on the
    path, index in its object. It orders columns and is not part of their type."""

    def with_line_offset(self, lines: int) -> Observed:
        """Return the observation with that many lines before it."""
        if not lines:
            return self
        return Observed(
            {kind: line + lines for kind, line in self.kinds.items()},
            {key: child.with_line_offset(lines) for key, child in self.fields.items()},
            None if self.elements is None else self.elements.with_line_offset(lines),
            None if self.first is None else (self.first[0] + lines, *self.first[1:]),
        )

    def has(self, path: str) -> bool:
        """Return whether a key was observed at a dotted path, inside arrays too."""
        if self.elements is not None and self.elements.has(path):
            return True
        return path in self.fields or any(
            child.has(path[len(key) + 1 :])
            for key, child in self.fields.items()
            if path.startswith(f"{key}.")
        )

    def count_columns(self) -> int:
        """Count every key of every object, as `Observer` does."""
        nested = sum(1 + child.count_columns() for child in self.fields.values())
        return nested + (self.elements.count_columns() if self.elements else 0)


def merge(one: Observed, other: Observed) -> Observed:
    """Combine two observations of the same column."""
    kinds = dict(one.kinds)
    for kind, line in other.kinds.items():
        kinds[kind] = min(line, kinds.get(kind, line))
    fields = dict(one.fields)
    for key, child in other.fields.items():
        fields[key] = merge(fields[key], child) if key in fields else child
    elements = one.elements or other.elements
    if one.elements and other.elements:
        elements = merge(one.elements, other.elements)
    firsts = [place for place in (one.first, other.first) if place is not None]
    return Observed(kinds, fields, elements, min(firsts, default=None))
