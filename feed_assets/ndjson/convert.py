"""Convert each block to the inferred types; reuse the spilled arrays that have them already."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from feed_assets.byte_source import ByteSource
from feed_assets.ndjson.block_reader import BlockResult, block_lines
from feed_assets.ndjson.columnar.cast import MINUS_ZERO, ColumnCaster, NeedsSourceText, Nulls
from feed_assets.ndjson.columnar.cell_limits import CellLimit, count_cells
from feed_assets.ndjson.columnar.requote import reread_numbers_as_text
from feed_assets.ndjson.inference.infer import Column
from feed_assets.ndjson.options import Options
from feed_assets.ndjson.rowwise.convert import RowConverter
from feed_assets.ndjson.rowwise.json_text import find_raw_text_paths, keep_raw_text
from feed_assets.ndjson.strict_json import Row


@dataclass
class Converted:
    """Rows of a block: the columns reused from its spilled batch, and those built anew."""

    rows: int
    cells: int = 0
    """Number of cells in all columns, empty ones included."""
    reused: dict[str, pa.Array] = field(default_factory=dict)
    built: dict[str, pa.Array] = field(default_factory=dict)
    dropped_nulls: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Converter:
    """Converter to the columns of the whole feed. Threads can call `batches` concurrently."""

    source: ByteSource
    columns: Sequence[Column]
    options: Options
    limit: CellLimit
    nulls: Nulls = field(default_factory=Nulls)

    def batches(
        self, result: BlockResult, spilled: pa.RecordBatch | None, most_objects: int
    ) -> Iterator[Converted]:
        """Yield the rows; those read row by row in batches of at most `most_objects`."""
        if spilled is None:
            for rows in self._read_rows(result, most_objects):
                yield self._convert_rows(rows, self.columns)
            return
        converted = Converted(result.rows)
        hard = [
            column
            for column in self.columns
            if column.type is not None and not self._cast_column(result, spilled, column, converted)
        ]
        if hard:  # they need the source text
            (rows,) = self._read_rows(result, sys.maxsize, hard)
            again = self._convert_rows(rows, hard)
            converted.reused |= again.reused
            converted.built |= again.built
            converted.dropped_nulls += again.dropped_nulls
        converted.cells = sum(
            map(count_cells, (*converted.reused.values(), *converted.built.values()))
        )
        yield converted

    def _cast_column(
        self, result: BlockResult, spilled: pa.RecordBatch, column: Column, converted: Converted
    ) -> bool:
        if column.key not in spilled.schema.names:
            converted.reused[column.name] = self.nulls(column.type, result.rows)
            return True
        array = spilled.column(column.key)
        if self._try_cast(result, array, column, converted, minus_zero=True):
            return True
        block = result.extent.read(self.source)
        if (
            _has_integers(array.type)
            and not MINUS_ZERO.search(block.data)
            and self._try_cast(result, array, column, converted, minus_zero=False)
        ):
            return True
        if self.options.null_values or result.dropped_nulls or self._has_hashes(column):
            return False
        again = reread_numbers_as_text(block.data, column, array.type)
        return again is not None and self._try_cast(
            result, again, column, converted, minus_zero=True, reused=False
        )

    def _has_hashes(self, column: Column) -> bool:
        rewriter = self.options.rewriter
        inside = rewriter.rules.nested.get(column.key) if rewriter else None
        return inside is not None and inside.has_hashes

    def _try_cast(
        self,
        result: BlockResult,
        array: pa.Array,
        column: Column,
        converted: Converted,
        *,
        minus_zero: bool,
        reused: bool = True,
    ) -> bool:
        caster = ColumnCaster(result.dropped_nulls or {}, self.nulls, minus_zero=minus_zero)
        try:
            array = caster.cast(array, column)
        except NeedsSourceText:
            return False
        (converted.reused if reused and not caster.allocated else converted.built)[column.name] = (
            array
        )
        converted.dropped_nulls += caster.dropped_nulls
        return True

    def _read_rows(
        self, result: BlockResult, most: int, columns: Sequence[Column] | None = None
    ) -> Iterator[list[Row]]:
        paths = find_raw_text_paths(self.columns if columns is None else columns)
        skipped = set(result.skipped)
        rows: list[Row] = []
        objects = 0
        for number, line in block_lines(result.extent.read(self.source), self.options):
            if number in skipped:
                continue
            text, row = self.options.parse(line)
            if paths is not None:
                keep_raw_text(text, row, paths)
            objects += line.count(b"{")
            if rows and objects > most:
                yield rows
                rows, objects = [], line.count(b"{")
            rows.append(row)
        if rows:
            yield rows

    def _convert_rows(self, rows: list[Row], columns: Sequence[Column]) -> Converted:
        converter = RowConverter(columns, self.limit)
        batch = converter.batch(rows)
        converted = Converted(len(rows), dropped_nulls=converter.dropped_nulls)
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            converted.cells += count_cells(array)
            if array.null_count < len(array):
                converted.built[name] = array
            else:
                converted.reused[name] = self.nulls(array.type, len(array))
        return converted


def _has_integers(of: pa.DataType) -> bool:
    """Return whether a type has integers, of which a 0 can have been written -0."""
    if pa.types.is_nested(of):
        return any(_has_integers(of.field(index).type) for index in range(of.num_fields))
    return bool(pa.types.is_int64(of))
