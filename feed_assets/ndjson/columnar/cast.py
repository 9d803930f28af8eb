"""Cast provisional arrays to the inferred types, without copying arrays that have them already."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from feed_assets.ndjson.buffers import holds_zero
from feed_assets.ndjson.columnar.row_patterns import KeyPath
from feed_assets.ndjson.datatypes.kinds import JSON, DeclaredType
from feed_assets.ndjson.inference.infer import Column
from feed_assets.ndjson.rowwise.convert import of_declared
from feed_assets.schema.decimals import are_plain


class NeedsSourceText(Exception):
    """The array does not determine what the feed wrote: the source text is needed."""


class Nulls:
    """Factory of null arrays that share their memory."""

    def __init__(self) -> None:
        self._longest: dict[pa.DataType, pa.Array] = {}

    def __call__(self, of: pa.DataType, count: int) -> pa.Array:
        """Return `count` nulls of a type."""
        if of not in self._longest or len(self._longest[of]) < count:
            self._longest[of] = pa.nulls(max(count, _MANY), of)
        return self._longest[of].slice(0, count)


class ColumnCaster:
    """Cast one column of one block."""

    def __init__(
        self, dropped_before: Mapping[KeyPath, int], nulls: Nulls, *, minus_zero: bool
    ) -> None:
        """`dropped_before`: null elements dropped before, by path. `minus_zero`: a 0 can be -0."""
        self.dropped_nulls: Counter[str] = Counter()
        self.allocated = False
        """True if the result uses memory besides that of the provisional array."""
        self._dropped_before, self._nulls = dropped_before, nulls
        self._minus_zero = minus_zero

    def cast(self, array: pa.Array, column: Column, parent: KeyPath = ()) -> pa.Array:
        """Cast a column to its inferred type. Raise NeedsSourceText."""
        path, declared = (*parent, column.key), column.declared
        if declared is None or column.type == pa.string():
            if declared is JSON and pa.types.is_string(array.type) and _has_values(array):
                raise NeedsSourceText  # with its quotes
            return self._value(array, column, column.type, path)
        if array.type == column.type or not _has_values(array):
            return self._value(array, column, column.type, path)
        if pa.types.is_int64(array.type) and pa.types.is_decimal(column.type):
            self.allocated = True
            # Exact: 64 bits are at most 19 digits, and each decimal type holds those.
            return array.cast(pa.decimal128(19, 0)).cast(column.type)
        if pa.types.is_string(array.type):
            self.allocated = True
            return cast_strings(array, declared)
        return self._scalar(array, column.type)

    def _value(self, array: pa.Array, column: Column, to: pa.DataType, path: KeyPath) -> pa.Array:
        if not _has_values(array):
            return self._nulls(to, len(array))
        if pa.types.is_struct(to) and pa.types.is_struct(array.type):
            return self._object(array, column, to, path)
        if pa.types.is_list(to) and pa.types.is_list(array.type):
            elements = self._value(array.values, column, to.value_type, (*path, None))
            if dropped := self._dropped_before.get(path):
                self.dropped_nulls[".".join(key for key in path if key is not None)] += dropped
            buffers = array.buffers()[:2]
            return _from_buffers(to, array, buffers, [elements])
        return self._scalar(array, to)

    def _object(self, array: pa.Array, column: Column, to: pa.DataType, path: KeyPath) -> pa.Array:
        places = {array.type.field(index).name: index for index in range(array.type.num_fields)}
        fields = [
            self.cast(array.field(places[each.key]), each, path)
            if each.key in places
            else self._nulls(each.type, len(array))
            for each in column.fields
            if each.type is not None
        ]
        return _from_buffers(to, array, array.buffers()[:1], fields)

    def _scalar(self, array: pa.Array, to: pa.DataType) -> pa.Array:
        of = array.type
        if of == to:
            return array
        self.allocated = True
        if pa.types.is_boolean(of) and pa.types.is_string(to):
            return array.cast(to)  # as JSON writes them: true, false
        if pa.types.is_int64(of) and (pa.types.is_floating(to) or pa.types.is_string(to)):
            if self._minus_zero and holds_zero(array):
                raise NeedsSourceText
            # Exact: JSON has one notation for each integer but -0; integers beside fractions are
            # within 2^53. Arrow raises ArrowInvalid for a larger one.
            return array.cast(to)
        raise NeedsSourceText


_MANY = 1 << 16
MINUS_ZERO = re.compile(rb"-0\s*[,}\]]")


def _has_values(array: pa.Array) -> bool:
    return array.null_count < len(array) and not pa.types.is_null(array.type)


def cast_strings(strings: pa.Array, declared: DeclaredType) -> pa.Array:
    """Cast strings, and numbers as text, to a declared type. Raise DoesNotFit."""
    to = declared.arrow
    if pa.types.is_decimal(to) and not pc.any(pc.invert(are_plain(strings, to))).as_py():
        return strings.cast(to)  # exact for what is plain
    return of_declared(declared)(strings.to_pylist())


def _from_buffers(
    to: pa.DataType, array: pa.Array, buffers: list[Any], children: list[pa.Array]
) -> pa.Array:
    return pa.Array.from_buffers(to, len(array), buffers, children=children, offset=array.offset)
