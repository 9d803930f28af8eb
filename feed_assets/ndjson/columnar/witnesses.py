"""Choose witness rows: the few rows from which the row-wise reader observes the same as from all.

They are the first row with each key and the first with each kind of value, found through Arrow's
arrays. For objects and arrays that are not empty, the first row with a key or an element is one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import numpy as np
import pyarrow as pa

from feed_assets.ndjson.buffers import Numbers, distinct, positions
from feed_assets.ndjson.columnar import row_patterns
from feed_assets.ndjson.columnar.classify import (
    Doubles,
    FirstIndexByKind,
    check_finite,
    classify_integers,
    classify_strings,
)
from feed_assets.ndjson.columnar.guards import FallBackToRows, Rows
from feed_assets.ndjson.columnar.null_values import without_null_values
from feed_assets.ndjson.columnar.requote import read_numbers_as_text
from feed_assets.ndjson.columnar.row_patterns import KeyPath
from feed_assets.ndjson.columnar.time_formats import cast_formatted
from feed_assets.ndjson.datatypes.kinds import DeclaredType, DoesNotFit
from feed_assets.ndjson.inference.declared_types import DeclaredTypes
from feed_assets.ndjson.inference.observed import Observed, ValueKind
from feed_assets.ndjson.rowwise.observe import kind_of_value
from feed_assets.ndjson.strict_json import may_contain


class WitnessRows:
    """Witness rows of one block. Kinds and keys `known` from earlier blocks need none."""

    def __init__(self, rows: Rows, null_values: Collection[str] = ()) -> None:
        self.indexes: set[int] = set()
        self.dropped_nulls: Counter[KeyPath] = Counter()
        """Number of null elements dropped, by the array's path."""
        self._rows = rows
        occur = null_values and may_contain(rows.data, null_values)
        self._null_values = null_values if occur else ()

    def collect(self, table: pa.Table, known: Observed, types: DeclaredTypes) -> pa.RecordBatch:
        """Collect the witnesses and return the columns in provisional types."""
        every = np.arange(len(self._rows))
        self.indexes.add(0)
        arrays = [
            self._field(_single(table.column(name)), (name,), every, every, known, types)
            for name in table.schema.names
        ]
        # A column that is only in the hints, without a value here, must not use memory.
        arrays = [pa.nulls(len(a)) if a.null_count == len(a) else a for a in arrays]
        return pa.RecordBatch.from_arrays(arrays, names=table.schema.names)

    def _field(
        self,
        array: pa.Array,
        path: KeyPath,
        rows: Numbers,
        holders: Numbers,
        known: Observed,
        types: DeclaredTypes,
    ) -> pa.Array:
        """`rows` has the row of each value; `holders` the rows with an object for the key."""
        key = path[-1]
        assert key is not None
        observed = known.fields.get(key)
        if observed is None and len(holders):
            self._add_first_with_key(array, path, rows, holders)
        if key not in types.by_key:
            return self._value(array, path, rows, observed or Observed(), types.for_key(key))
        if pa.types.is_nested(array.type):  # its keys may be data
            check_finite(array)
            if not types.by_key[key].keeps_empty:
                raise FallBackToRows("only the row-wise reader can tell which values are empty")
            self._add_first(rows, _first(array), Observed())
            return array
        # Witnesses for all its kinds in this block, to check that they fit.
        found = self._value(array, path, rows, Observed(), types.for_key(key))
        if types.by_key[key].format is None:
            return found
        return self._formatted(array, path, types.by_key[key])

    def _formatted(self, array: pa.Array, path: KeyPath, declared: DeclaredType) -> pa.Array:
        """Cast to a declared type with a format, which proves that every value fits."""
        key, of = path[-1], array.type
        if pa.types.is_null(of) or array.null_count == len(array):
            return array
        if pa.types.is_floating(of) and len(path) == 1 and key is not None:
            array = read_numbers_as_text(self._rows.data, key)
        elif pa.types.is_string(of):
            array = without_null_values(array, self._null_values)
        elif not pa.types.is_int64(of):
            raise FallBackToRows("it is neither text nor a number")
        try:
            return cast_formatted(array, declared)
        except DoesNotFit:
            raise FallBackToRows("a value is not of its declared format") from None

    def _value(
        self, array: pa.Array, path: KeyPath, rows: Numbers, known: Observed, types: DeclaredTypes
    ) -> pa.Array:
        of = array.type
        if pa.types.is_null(of) or array.null_count == len(array):
            return array
        firsts = _first(array)
        if pa.types.is_struct(of):
            array = self._object(array, path, rows, known, types)
        elif pa.types.is_list(of):
            array = self._array(array, path, rows, known, types)
        elif pa.types.is_string(of):
            if self._null_values:
                array = without_null_values(array, self._null_values)
            firsts, array = classify_strings(array)
        elif pa.types.is_int64(of):
            firsts = classify_integers(array)
        elif pa.types.is_floating(of):
            self._add_doubles(Doubles(array), path, rows, known)
            return array
        elif not pa.types.is_boolean(of):
            raise FallBackToRows(f"Arrow made a column {of}")
        self._add_first(rows, firsts, known)
        return array

    def _object(
        self, array: pa.Array, path: KeyPath, rows: Numbers, known: Observed, types: DeclaredTypes
    ) -> pa.Array:
        holders = rows[positions(array)]
        names = [array.type.field(index).name for index in range(array.type.num_fields)]
        fields = [
            self._field(array.field(index), (*path, name), rows, holders, known, types)
            for index, name in enumerate(names)
        ]
        if any(len(field) != len(array) for field in fields):
            raise FallBackToRows("fields are missing")
        to = pa.struct([(name, field.type) for name, field in zip(names, fields, strict=True)])
        return pa.Array.from_buffers(to, len(array), array.buffers()[:1], children=fields)

    def _array(
        self, array: pa.Array, path: KeyPath, rows: Numbers, known: Observed, types: DeclaredTypes
    ) -> pa.Array:
        offsets = np.frombuffer(array.buffers()[1], np.int32)[: len(array) + 1]
        lengths = np.diff(offsets)
        if known.elements is None and lengths.any():
            self.indexes.add(int(rows[np.argmax(lengths > 0)]))
        elements = array.values
        if pa.types.is_null(elements.type):  # pyarrow.json makes too few of these
            elements = pa.nulls(int(offsets[-1]))
        if len(elements) != offsets[-1]:  # and of objects that hold nothing
            raise FallBackToRows("elements are missing")
        elements = self._value(
            elements, (*path, None), np.repeat(rows, lengths), known.elements or Observed(), types
        )
        if elements.null_count:
            self.dropped_nulls[path] += elements.null_count
            present = np.zeros(len(elements), np.bool_)
            present[positions(elements)] = True
            offsets = np.concatenate(([0], np.cumsum(present)))[offsets].astype(np.int32)
            elements = elements.drop_null()
        buffers = [array.buffers()[0], pa.py_buffer(offsets)]
        to = pa.list_(elements.type)
        return pa.Array.from_buffers(to, len(array), buffers, children=[elements])

    def _add_first(self, rows: Numbers, firsts: FirstIndexByKind, known: Observed) -> None:
        self.indexes.update(
            int(rows[first]) for kind, first in firsts.items() if kind not in known.kinds
        )

    def _add_doubles(self, found: Doubles, path: KeyPath, rows: Numbers, known: Observed) -> None:
        last = len(self._rows)
        if ValueKind.FRACTION not in known.kinds:
            if len(found.fractions):
                last = int(rows[found.fractions[0]])
                self.indexes.add(last)
            whole = distinct(rows[found.whole])
            self._add_first_number(
                path, whole[whole < last], row_patterns.FRACTION, ValueKind.FRACTION
            )
        if ValueKind.INTEGER not in known.kinds:
            whole = distinct(rows[found.whole])
            self._add_first_number(path, whole, row_patterns.INTEGER, ValueKind.INTEGER)
        for doubtful, number in (
            (found.large, row_patterns.INTEGER),
            (found.zeros, row_patterns.NOT_PLAINLY_ZERO),
        ):
            if len(doubtful):
                pattern = row_patterns.number_pattern(path, number)
                self.indexes.update(self._rows.matching(pattern, distinct(rows[doubtful])).tolist())

    def _add_first_number(
        self, path: KeyPath, within: Numbers, number: str, kind: ValueKind
    ) -> None:
        if not len(within):
            return
        for row in self._rows.matching(row_patterns.number_pattern(path, number), within).tolist():
            values = row_patterns.values_at(self._rows.row(row), path)
            if any(value is not None and kind_of_value(value) == kind for value in values):
                self.indexes.add(row)
                return

    def _add_first_with_key(
        self, array: pa.Array, path: KeyPath, rows: Numbers, holders: Numbers
    ) -> None:
        """Add the first row with the key, also with null, which Arrow does not distinguish."""
        first = int(holders[0])
        if not self._has(first, path):
            valued = positions(array)[:1]
            last = int(rows[valued[0]]) if len(valued) else len(self._rows)
            within = distinct(holders)
            within = within[(within > first) & (within <= last)]
            key = path[-1]
            assert key is not None
            candidates = self._rows.matching(row_patterns.key_pattern(key), within).tolist()
            found = next((row for row in candidates if self._has(row, path)), None)
            if found is None:
                return  # only in the hints
            first = found
        self.indexes.add(first)

    def _has(self, row: int, path: KeyPath) -> bool:
        return any(True for _ in row_patterns.values_at(self._rows.row(row), path))


def _first(array: pa.Array) -> FirstIndexByKind:
    """Return the first index of a kind that follows from the type."""
    kinds = ((k, is_of) for k, is_of in _KINDS if is_of(array.type))
    valid = positions(array)[:1]
    return {kind: int(valid[0]) for kind, _ in kinds if len(valid)}


_KINDS = (
    (ValueKind.BOOLEAN, pa.types.is_boolean),
    (ValueKind.OBJECT, pa.types.is_struct),
    (ValueKind.ARRAY, pa.types.is_list),
)


def _single(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
