"""What was seen in a column: kinds of JSON, each with its first line, and what lies inside."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum


class Kind(IntEnum):
    """How a value constrains its column's type. Null is no kind: it constrains nothing."""

    BOOLEAN = 1
    INTEGER = 2  # to 2^53 either way, where a double still holds every integer
    LONG = 3  # beyond that, within 64 bits
    FRACTION = 4  # written with a fraction or exponent, and within a double's range
    BEYOND = 5  # an integer beyond 64 bits, a magnitude beyond a double
    DATETIME = 6  # an ISO 8601 date or date-time without offset
    TIMESTAMP = 7  # one with an offset
    TEXT = 8
    OBJECT = 9
    ARRAY = 10


@dataclass(slots=True)
class Seen:
    """An observation. `Observer` grows its own; to everybody else it is a value.

    Each part is a semilattice: `kinds` is a union with the least line of each, `first` a least
    place, `fields` and `elements` are observations again. So `join` is associative, commutative and
    idempotent by construction, and blocks of a feed may be observed apart and in any order.
    """

    kinds: dict[Kind, int] = field(default_factory=dict)
    fields: dict[str, Seen] = field(default_factory=dict)
    elements: Seen | None = None
    first: tuple[int, ...] | None = None
    """Where a field's key stood first (also with null): line, index in each array on the way, index
    in its object. It orders columns and is no part of their type."""


def join(one: Seen, other: Seen) -> Seen:
    """What was seen in either place."""
    kinds = dict(one.kinds)
    for kind, line in other.kinds.items():
        kinds[kind] = min(line, kinds.get(kind, line))
    fields = dict(one.fields)
    for key, child in other.fields.items():
        fields[key] = join(fields[key], child) if key in fields else child
    elements = one.elements or other.elements
    if one.elements and other.elements:
        elements = join(one.elements, other.elements)
    firsts = [place for place in (one.first, other.first) if place is not None]
    return Seen(kinds, fields, elements, min(firsts, default=None))
