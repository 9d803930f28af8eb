"""The values of a STRING column: what they look like, and which of them look missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from feed_assets.importing.advice import MAY_BE_NULL, is_null_like
from feed_assets.ndjson.buffers import flags
from feed_assets.ndjson.columnar.null_values import without_null_values
from feed_assets.ndjson.columnar.time_formats import cast_formatted
from feed_assets.ndjson.datatypes.kinds import DoesNotFit, declared_type
from feed_assets.schema.type_declarations import Declared

PATTERNS = {  # of stored values; strings have no quotes there
    "numbers": r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$",
    "booleans": "^(?:true|false)$",
    "dates": "^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:$|[T ])",
    "objects": r"^\{",
    "arrays": r"^\[",
}
_TYPED = "|".join(PATTERNS[name] for name in ("numbers", "booleans", "dates"))
_SAMPLE, MAX_NULLS = 1000, 5  # values


@dataclass
class TextValues:
    """The values of a STRING column: texts that look like a missing value, and the others."""

    arrays: Sequence[pa.Array]
    nulls: dict[str, None] = field(default_factory=dict)
    """The texts that look like a missing value, in the order of their occurrence."""
    sample: list[str] = field(default_factory=list)
    """Some of the others."""
    count: int = 0
    """Number of values, without null."""
    missing: int = 0
    first_missing: int | None = None
    """Row of the first value that looks like a missing one."""
    are_typed: bool = True
    """True if all others look like numbers, booleans or dates."""

    def __post_init__(self) -> None:
        """Look at all values. Stop at more different missing values than a feed writes."""
        rows = 0
        for array in self.arrays:
            maybe = pc.match_substring_regex(array, MAY_BE_NULL, ignore_case=True)
            found = pc.unique(array.filter(maybe)).to_pylist()
            texts = [each for each in found if each is not None]
            self.nulls |= dict.fromkeys(filter(is_null_like, texts))
            if len(self.nulls) > MAX_NULLS:
                return
            self._count(array, without_null_values(array, self.nulls), rows)
            rows += len(array)

    def _count(self, array: pa.Array, others: pa.Array, rows: int) -> None:
        count = len(others) - others.null_count
        missing = others.null_count - array.null_count
        self.are_typed &= pc.match_substring_regex(others, _TYPED).true_count == count
        if missing and self.first_missing is None:
            gone = flags(array.is_valid()) & ~flags(others.is_valid())
            self.first_missing = rows + int(gone.argmax())
        self.missing += missing
        self.count += count + missing
        if len(self.sample) < _SAMPLE:
            self.sample += pc.unique(others.drop_null().slice(0, _SAMPLE)).to_pylist()

    def all_fit(self, declared: Declared) -> bool:
        """Return whether all others are of a declared type with a format."""
        try:
            for array in self.arrays:
                cast_formatted(without_null_values(array, self.nulls), declared_type(declared))
        except DoesNotFit:
            return False
        return True
