"""The parts of a feed in the resolved types; what fits already stays where it was spooled."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from feed_assets.byte_source import ByteSource
from feed_assets.ndjson.block_reader import Part, lines_of
from feed_assets.ndjson.columnar.cast import Fitting, Nulls, TextNeededError
from feed_assets.ndjson.columnar.crowd import CellLimit, cells_of
from feed_assets.ndjson.columnar.requote import as_sent
from feed_assets.ndjson.inference.infer import Column
from feed_assets.ndjson.options import Options
from feed_assets.ndjson.rowwise.convert import RowConverter
from feed_assets.ndjson.rowwise.json_text import cut, cuts_in
from feed_assets.ndjson.strict_json import Row, parse

_MINUS_ZERO = re.compile(rb"-0\s*[,}\]]")


@dataclass
class Converted:
    """Rows of a part: the columns that lie in its spooled batch, and those made anew."""

    rows: int
    cells: int = 0
    """Of all columns, whatever holds nothing."""
    kept: dict[str, pa.Array] = field(default_factory=dict)
    made: dict[str, pa.Array] = field(default_factory=dict)
    dropped_nulls: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Converter:
    """Knows the columns that the whole feed has. Parts may be converted at once."""

    source: ByteSource
    columns: Sequence[Column]
    options: Options
    limit: CellLimit
    nulls: Nulls = field(default_factory=Nulls)

    def batches(
        self, part: Part, spooled: pa.RecordBatch | None, most_objects: int
    ) -> Iterator[Converted]:
        """Its rows; those that are read one by one in batches of so many objects, or of one row."""
        if spooled is None:
            for rows in self._rows(part, most_objects):
                yield self._converted(rows, self.columns)
            return
        found = Converted(part.rows)
        hard = [
            column
            for column in self.columns
            if column.type is not None and not self._fitted(part, spooled, column, found)
        ]
        if hard:  # they need the text that was sent
            (rows,) = self._rows(part, sys.maxsize, hard)
            again = self._converted(rows, hard)
            found.kept |= again.kept
            found.made |= again.made
            found.dropped_nulls += again.dropped_nulls
        found.cells = sum(map(cells_of, (*found.kept.values(), *found.made.values())))
        yield found

    def _fitted(
        self, part: Part, spooled: pa.RecordBatch, column: Column, found: Converted
    ) -> bool:
        if column.key not in spooled.schema.names:
            found.kept[column.name] = self.nulls(column.type, part.rows)
            return True
        array = spooled.column(column.key)
        if self._fits(part, array, column, found, minus_zero=True):
            return True
        block = part.extent.read(self.source)
        if (
            _has_integers(array.type)
            and not _MINUS_ZERO.search(block.data)
            and self._fits(part, array, column, found, minus_zero=False)
        ):
            return True
        if self.options.empty_as_null or part.dropped_nulls:
            return False
        again = as_sent(block.data, column, array.type)
        return again is not None and self._fits(
            part, again, column, found, minus_zero=True, kept=False
        )

    def _fits(
        self,
        part: Part,
        array: pa.Array,
        column: Column,
        found: Converted,
        *,
        minus_zero: bool,
        kept: bool = True,
    ) -> bool:
        fitting = Fitting(part.dropped_nulls or {}, self.nulls, minus_zero=minus_zero)
        try:
            array = fitting.column(array, column)
        except TextNeededError:
            return False
        (found.kept if kept and not fitting.made else found.made)[column.name] = array
        found.dropped_nulls += fitting.dropped_nulls
        return True

    def _rows(
        self, part: Part, most: int, columns: Sequence[Column] | None = None
    ) -> Iterator[list[Row]]:
        cuts = cuts_in(self.columns if columns is None else columns)
        skipped = set(part.skipped)
        rows: list[Row] = []
        objects = 0
        for number, line in lines_of(part.extent.read(self.source), self.options):
            if number in skipped:
                continue
            text, row = parse(line, empty_as_null=self.options.empty_as_null)
            if cuts is not None:
                cut(text, row, cuts)
            objects += line.count(b"{")
            if rows and objects > most:
                yield rows
                rows, objects = [], line.count(b"{")
            rows.append(row)
        if rows:
            yield rows

    def _converted(self, rows: list[Row], columns: Sequence[Column]) -> Converted:
        converter = RowConverter(columns, self.limit)
        batch = converter.batch(rows)
        found = Converted(len(rows), dropped_nulls=converter.dropped_nulls)
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            found.cells += cells_of(array)
            if array.null_count < len(array):
                found.made[name] = array
            else:
                found.kept[name] = self.nulls(array.type, len(array))
        return found


def _has_integers(of: pa.DataType) -> bool:
    """Whether a 0 in it may have been -0."""
    if pa.types.is_nested(of):
        return any(_has_integers(of.field(index).type) for index in range(of.num_fields))
    return bool(pa.types.is_int64(of))
