"""Read one block of a feed, in one of two ways.

The row-wise reader (`rowwise/`) parses and observes each line in Python. It is slow and obviously
right: it defines what a feed means. The columnar reader (`columnar/`) has Arrow parse the block as
a whole, observes only a few witness rows, and must give the same result. Wherever it cannot prove
that, it raises FallBackToRows: the block is read again in halves, and small blocks row by row.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from feed_assets.byte_source import ByteSource
from feed_assets.errors import BadLine, ContentError, full_text
from feed_assets.ndjson.columnar.arrow_json import (
    Hints,
    hints_from,
    read_inferring,
    read_with_schema,
)
from feed_assets.ndjson.columnar.cell_limits import (
    TooManyColumns,
    check_column_count,
    check_key_count,
    count_columns,
)
from feed_assets.ndjson.columnar.column_rules import TableRewriter
from feed_assets.ndjson.columnar.guards import FallBackToRows, Rows
from feed_assets.ndjson.columnar.requote import decimals_fit
from feed_assets.ndjson.columnar.row_patterns import KeyPath
from feed_assets.ndjson.columnar.witnesses import WitnessRows
from feed_assets.ndjson.datatypes.kinds import JSON, DeclaredType, DoesNotFit
from feed_assets.ndjson.inference.declared_types import DeclaredTypes
from feed_assets.ndjson.inference.observed import Observed, ValueKind
from feed_assets.ndjson.input.blocks import Block, Extent
from feed_assets.ndjson.input.lines import LineTooLong, split_lines
from feed_assets.ndjson.options import Options
from feed_assets.ndjson.rowwise.observe import Observer
from feed_assets.ndjson.strict_json import InvalidLine

SMALLEST = 64 << 10  # bytes; a block up to this size is not halved
_DEEPEST = 32  # levels of nesting; Arrow files allow 64

_STRINGS = {ValueKind.DATETIME, ValueKind.TIMESTAMP, ValueKind.TEXT}
_NUMBERS = {ValueKind.FRACTION, ValueKind.BEYOND}
_NO_KINDS: Mapping[str, set[ValueKind]] = {}
_MAY_BE_BEYOND = re.compile(rb"[0-9]{19}|[0-9][eE]")  # numbers that may not fit JSON's


@dataclass(frozen=True)
class BlockResult:
    """Observation and rows of a block or of a part of one. Lines are numbered from 1 in it."""

    extent: Extent
    lines: int
    rows: int
    observed: Observed
    bad_lines: tuple[BadLine, ...] = ()
    skipped: Sequence[int] = ()
    """Numbers of all bad lines, also after `bad_lines` has been dropped to free memory."""
    batch: pa.RecordBatch | None = None
    """Rows in provisional types from the columnar reader; None from the row-wise reader."""
    hints: Hints = field(default_factory=dict)
    """Types in which Arrow parsed the columns."""
    excluded: Collection[str] = ()
    """Paths of columns that were left out by name."""
    dropped_nulls: Mapping[KeyPath, int] | None = None
    long_line: int | None = None
    """Number of the line over max_line_bytes at which reading stopped."""


@dataclass(frozen=True)
class BlockReader:
    """Reader of blocks. Threads can call `read` concurrently."""

    source: ByteSource
    declared_types: DeclaredTypes
    options: Options

    def read(self, extent: Extent, hints: Hints, known: Observed) -> list[BlockResult]:
        """Read a block, in several parts if needed. `hints` and `known` come from earlier blocks.

        A row-wise part ends early at too many bad lines, at too many columns and at a long line.
        """
        return list(self._results(extent.read(self.source), hints, known))

    def _results(self, block: Block, hints: Hints, known: Observed) -> Iterator[BlockResult]:
        try:
            yield self._read_columnar(block, hints, known)
            return
        except (TooManyColumns, ContentError):
            halves = None
        except (FallBackToRows, pa.ArrowInvalid, UnicodeDecodeError):
            halves = block.halves() if len(block.data) > SMALLEST else None
        if halves is None:
            yield self._read_rowwise(block)
            return
        for half in halves:
            yield from self._results(half, hints, known)

    def _read_columnar(self, block: Block, hints: Hints, known: Observed) -> BlockResult:
        options = self.options
        rows = Rows(
            block.data,
            first_of_file=block.start == 0,
            max_line_bytes=options.max_line_bytes,
            parse=options.parse,
        )
        if not len(rows):
            return BlockResult(block.extent, rows.count_of_lines, 0, Observed())
        table = _table(rows, hints)
        hints, excluded = hints_from(table.schema), set[str]()
        if options.rewriter:
            rewriter = TableRewriter(options.rewriter, rows.data)
            table, excluded = rewriter.rewrite(table), rewriter.excluded
        witnesses = WitnessRows(rows, options.null_values)
        batch = witnesses.collect(table, known, self.declared_types)
        observer = Observer(self.declared_types)
        for witness in sorted(witnesses.indexes):
            observer.row(rows.row(witness), int(rows.numbers[witness]) + 1)
        if not _accepts(
            observer.observed, self.declared_types, self._proven(rows, table, observer.observed)
        ):
            raise FallBackToRows("a value may not be of its declared type")
        return BlockResult(
            block.extent,
            rows.count_of_lines,
            len(rows),
            observer.observed,
            batch=batch,
            hints=hints,
            excluded=excluded,
            dropped_nulls=witnesses.dropped_nulls,
        )

    def _proven(
        self, rows: Rows, table: pa.Table, observed: Observed
    ) -> Mapping[str, set[ValueKind]]:
        """Return, by key, the kinds whose values were all checked to fit the declared type.

        They are the kinds that `accepted_kinds` leaves in doubt.
        """
        proven = {}
        for key in observed.fields.keys() & self.declared_types.by_key.keys():
            declared, kinds = self.declared_types.by_key[key], observed.fields[key].kinds.keys()
            doubtful = kinds - declared.accepted_kinds
            if not doubtful or declared.format:
                continue
            if kinds <= _STRINGS:
                fits = self._all_fit(table.column(key), declared)
            elif pa.types.is_decimal(declared.arrow):
                fits = doubtful <= _NUMBERS and decimals_fit(rows.data, key, declared)
            else:
                fits = declared is JSON and not _MAY_BE_BEYOND.search(rows.data)
            if fits:
                proven[key] = doubtful
        return proven

    def _all_fit(self, strings: pa.ChunkedArray, declared: DeclaredType) -> bool:
        try:
            for each in strings.to_pylist():
                if each is not None and each not in self.options.null_values:
                    declared.convert(each)
        except DoesNotFit:
            return False
        return True

    def _read_rowwise(self, block: Block) -> BlockResult:
        options, observer = self.options, Observer(self.declared_types)
        bad_lines: list[BadLine] = []
        reasons: dict[str, str] = {}  # shares one string among all lines with the same reason
        rows, long_line, excluded = 0, None, set[str]()
        try:
            for number, line in block_lines(block, options):
                try:
                    _, row = options.parse(line, excluded)
                    self.declared_types.check(row)
                except InvalidLine as invalid:
                    text, reason = line.decode(errors="backslashreplace"), invalid.reason
                    if options.columns.is_private:
                        text, reason = "", str(reason)
                    reason = reasons.setdefault(full_text(reason), reason)
                    bad_lines.append(BadLine(number, reason, text))
                    if len(bad_lines) > options.max_bad_lines:
                        break
                    continue
                observer.row(row, number)
                rows += 1
        except LineTooLong as error:
            long_line = error.line
        except ContentError:  # too many columns, as `observed` shows
            pass
        count = block.data.count(b"\n") + (not block.data.endswith(b"\n"))
        bad = tuple(bad_lines)
        skipped = array("I", (each.line for each in bad))
        return BlockResult(
            block.extent,
            count,
            rows,
            observer.observed,
            bad,
            skipped,
            excluded=excluded,
            long_line=long_line,
        )


def block_lines(block: Block, options: Options) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a block, numbered from 1."""
    return split_lines(block.data, max_bytes=options.max_line_bytes, marked=block.start == 0)


def _table(rows: Rows, hints: Hints) -> pa.Table:
    """Parse with Arrow. Raise FallBackToRows, TooManyColumns, ArrowInvalid, UnicodeDecodeError."""
    check_column_count(rows, count_columns(pa.schema(hints)))
    try:
        table = read_with_schema(rows.data, hints)
    except pa.ArrowInvalid:
        check_key_count(rows)
        try:
            table = read_inferring(rows.data, hints)
        except pa.ArrowInvalid:
            table = read_inferring(rows.data, {})
    if table.num_rows != len(rows):
        raise FallBackToRows("a line holds more than one object")
    if any(_levels(field.type) > _DEEPEST for field in table.schema):
        raise FallBackToRows("it is nested too deep for Arrow files")
    return table


def _levels(of: pa.DataType) -> int:
    levels = 1
    while pa.types.is_list(of):  # a loop, since a short line can open 500 arrays
        of, levels = of.value_type, levels + 1
    inside = (_levels(of.field(index).type) for index in range(of.num_fields))
    return levels + max(inside, default=0)


def _accepts(
    observed: Observed, types: DeclaredTypes, proven: Mapping[str, set[ValueKind]] = _NO_KINDS
) -> bool:
    """Return whether every declared type accepts the kinds observed, without looking at values.

    `proven` are kinds, by key, whose values have been checked already.
    """
    if not types.by_key and not types.nested:
        return True
    if observed.elements is not None and not _accepts(observed.elements, types):
        return False
    return all(
        observed.fields[key].kinds.keys() - proven.get(key, set()) <= declared.accepted_kinds
        for key, declared in types.by_key.items()
        if key in observed.fields and not declared.format  # cast by WitnessRows
    ) and all(
        _accepts(observed.fields[key], inside)
        for key, inside in types.nested.items()
        if key in observed.fields
    )
