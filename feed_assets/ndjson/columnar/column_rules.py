"""Leave columns out of Arrow's arrays and hash values, as `LineRewriter` does in text."""

from __future__ import annotations

import pyarrow as pa

from feed_assets.ndjson.buffers import holds_zero
from feed_assets.ndjson.column_rules import KEEP_ALL, ColumnRules, LineRewriter
from feed_assets.ndjson.columnar.cast import MINUS_ZERO
from feed_assets.ndjson.columnar.classify import check_finite
from feed_assets.ndjson.columnar.guards import FallBackToRows
from feed_assets.ndjson.columnar.null_values import without_null_values
from feed_assets.ndjson.rowwise import arrow_builders


class TableRewriter:
    """Rewrites the table of one block."""

    def __init__(self, rewriter: LineRewriter, data: bytes) -> None:
        """`data` are the rows that Arrow has parsed."""
        self.excluded: set[str] = set()
        """Paths of the columns that were left out by name."""
        self._rewriter, self._data = rewriter, data

    def rewrite(self, table: pa.Table) -> pa.Table:
        """Return the table by the rules. Raise FallBackToRows for values that need their text."""
        arrays = [_single(column) for column in table.columns]
        members = self._members(table.schema.names, arrays, self._rewriter.rules)
        return pa.Table.from_arrays([*members.values()], names=[*members])

    def _members(
        self, names: list[str], arrays: list[pa.Array], rules: ColumnRules
    ) -> dict[str, pa.Array]:
        members = {}
        for name, array in zip(names, arrays, strict=True):
            if name in rules.hashed:
                members[name] = self._hashed(array)
            elif rules.is_left_out(name):
                check_finite(array)
                self.excluded.update([rules.excluded[name]] if name in rules.excluded else ())
            else:
                inside, only = rules.nested.get(name, KEEP_ALL), rules.is_holder(name)
                members[name] = self._value(array, inside, only_inside=only)
        return members

    def _value(self, array: pa.Array, rules: ColumnRules, *, only_inside: bool) -> pa.Array:
        of = array.type
        if rules is KEEP_ALL or pa.types.is_null(of):
            return array
        if pa.types.is_struct(of):
            names = [of.field(index).name for index in range(of.num_fields)]
            children = [array.field(index) for index in range(of.num_fields)]
            members = self._members(names, children, rules)
            to = pa.struct([(name, each.type) for name, each in members.items()])
            return _from_buffers(to, array, array.buffers()[:1], [*members.values()])
        if pa.types.is_list(of):
            elements = self._value(array.values, rules, only_inside=only_inside)
            return _from_buffers(pa.list_(elements.type), array, array.buffers()[:2], [elements])
        if not only_inside:
            return array
        check_finite(array)
        return pa.nulls(len(array))

    def _hashed(self, array: pa.Array, *, in_array: bool = False) -> pa.Array:
        of = array.type
        if pa.types.is_null(of) or array.null_count == len(array):
            return array if pa.types.is_null(of) else pa.nulls(len(array))
        if pa.types.is_list(of) and not in_array:
            elements = self._hashed(array.values, in_array=True)
            return _from_buffers(pa.list_(elements.type), array, array.buffers()[:2], [elements])
        if pa.types.is_string(of):
            return self._hashes(without_null_values(array, self._rewriter.null_values))
        has_text = pa.types.is_boolean(of) or (
            pa.types.is_int64(of) and not (holds_zero(array) and MINUS_ZERO.search(self._data))
        )
        if not has_text:
            raise FallBackToRows("the source text of a value to hash is needed")
        return self._hashes(array.cast(pa.string()))

    def _hashes(self, texts: pa.Array) -> pa.Array:
        distinct = texts.dictionary_encode()
        hashes = map(self._rewriter.hash, distinct.dictionary.to_pylist())
        return arrow_builders.strings([*hashes]).take(distinct.indices)


def _from_buffers(
    to: pa.DataType, array: pa.Array, buffers: list[pa.Buffer | None], children: list[pa.Array]
) -> pa.Array:
    return pa.Array.from_buffers(to, len(array), buffers, children=children, offset=array.offset)


def _single(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
