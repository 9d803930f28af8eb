"""Read NDJSON into an Arrow table whose types are inferred from every row.

The first pass observes all rows, block by block, and spills what it parsed to disk; the second
converts each block to the types inferred from all:

blocks -> observe -> merge -> infer columns -> convert
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from feed_assets.byte_source import ByteSource
from feed_assets.errors import BadLine, BadLines
from feed_assets.ndjson.block_reader import BlockReader, BlockResult
from feed_assets.ndjson.columnar.arrow_json import Hints, merge_hints
from feed_assets.ndjson.columnar.cell_limits import CellLimit, count_columns
from feed_assets.ndjson.convert import Converted, Converter
from feed_assets.ndjson.inference.conflicts import first_conflicting_line
from feed_assets.ndjson.inference.declared_types import DeclaredTypes
from feed_assets.ndjson.inference.infer import Column, infer_columns
from feed_assets.ndjson.inference.observed import Observed, merge
from feed_assets.ndjson.inference.paths import (
    renamed_paths,
    schema_with_keys,
    text_types,
    untyped_paths,
)
from feed_assets.ndjson.input.blocks import block_extents
from feed_assets.ndjson.input.lines import LineTooLong
from feed_assets.ndjson.options import Options
from feed_assets.ndjson.ordered_map import run_in_order
from feed_assets.ndjson.rowwise.observe import MAX_COLUMNS, too_many_columns
from feed_assets.ndjson.sniff import reject_non_ndjson
from feed_assets.ndjson.spill import SpillFile

if TYPE_CHECKING:
    import pandas as pd

_BLOCK_BYTES, _FIRST_BLOCK_BYTES = 4 << 20, 256 << 10
_BATCH_ROWS, _BATCH_CELLS = 1 << 16, 1 << 22


@dataclass(frozen=True)
class Reading:
    """Table, schema and findings. Paths are the feed's keys joined by dots."""

    table: pa.Table
    """Memory-mapped from an unnamed file, which is freed with the last table or frame on it.
    Columns, and fields of records, are in the order of their first occurrence, also with null.
    Declared columns that never occur come last."""
    schema: pa.Schema
    """Schema of `table`, each field with its key in the feed as metadata."""
    rows: int
    lines: int
    """Blank and bad lines included."""
    bytes: int
    bad_lines: tuple[BadLine, ...]
    """All bad lines, or the first `kept_bad_lines` of them."""
    bad_line_count: int
    untyped: tuple[str, ...]
    """Columns with only null, [] and {} in them. They are not in the table."""
    renamed: Mapping[str, str]
    """Stored path by path, where the two differ."""
    dropped_nulls: Mapping[str, int]
    """Number of null elements dropped, by the array's path."""
    types: Mapping[str, str]
    """JSON or GEOGRAPHY by stored path, for columns of text."""
    unnamed: tuple[str, ...]
    """Paths in `Options.columns` that no row has."""
    unit: str
    """Name of a line in errors: line or element."""
    columns: tuple[Column, ...] = field(repr=False)
    """Every column, those without a type included."""
    observed: Observed = field(repr=False)
    declared_types: DeclaredTypes = field(repr=False)
    known: tuple[pa.Field, ...] = field(repr=False)

    def frame(self) -> pd.DataFrame:
        """Return the table as an Arrow-backed DataFrame, on the same mapped pages.

        `attrs["types"]` has `types`, unless there are none.
        """
        import pandas as pd

        if not self.table.num_columns:
            return pd.DataFrame(index=range(self.rows))
        frame: pd.DataFrame = self.table.to_pandas(types_mapper=pd.ArrowDtype)
        if self.types:
            frame.attrs["types"] = dict(self.types)
        return frame

    def first_conflicting_line(self, path: str, known: pa.DataType) -> int | None:
        """Return the first line whose value at a stored path does not fit the type `known`."""
        return first_conflicting_line(self.observed, self.declared_types, path, known, self.known)


def _ignore_progress(rows: int, size: int) -> None:
    """Do nothing."""


def read(
    source: ByteSource,
    *,
    options: Options = Options(),  # noqa: B008  (it is frozen)
    known: Iterable[pa.Field] = (),
    on_progress: Callable[[int, int], None] = _ignore_progress,
) -> Reading:
    """Read NDJSON, also while it is still being downloaded.

    `known` is the previous schema of the table: a key keeps its column, and a STRING column stays
    STRING, with each value as the feed wrote it. `on_progress` is called with the numbers of rows
    and bytes so far. Raise NotNdjson, BadLines, ContentError (more columns than a table can have),
    OSError, and any error of `source`.
    """
    if options.unit == "line":  # the lines of a JSON document are ours
        quote = not options.columns.is_private
        reject_non_ndjson(source, max_line_bytes=options.max_line_bytes, quote=quote)
    types = options.declared_types
    with SpillFile() as provisional, SpillFile() as built:
        observed, bad_lines, spilled, excluded = _first_pass(
            source, types, options, provisional, on_progress
        )
        known = tuple(known)
        columns = infer_columns(observed, types, known)
        dropped_nulls: Counter[str] = Counter()
        limit = CellLimit(source.wait_for(sys.maxsize), columns)
        limit.check(sum(each.result.rows for each in spilled) * limit.columns_per_row)
        converter = Converter(source, columns, options, limit)
        table = _convert_all(converter, spilled, provisional, built, dropped_nulls)
    return Reading(
        table=table,
        schema=schema_with_keys(columns),
        rows=sum(each.result.rows for each in spilled),
        lines=sum(each.result.lines for each in spilled),
        bytes=source.wait_for(sys.maxsize),
        bad_lines=bad_lines,
        bad_line_count=sum(len(each.result.skipped) for each in spilled),
        untyped=untyped_paths(columns),
        renamed=renamed_paths(columns),
        dropped_nulls=dict(dropped_nulls),
        types=text_types(columns),
        unnamed=tuple(
            path
            for path in dict.fromkeys(options.columns.paths)
            if path not in excluded and not observed.has(path)
        ),
        unit=options.unit,
        columns=columns,
        observed=observed,
        declared_types=types,
        known=known,
    )


@dataclass(frozen=True)
class _SpilledBlock:
    """Result of a block and the position of its batch in the spill file."""

    result: BlockResult
    at: int | None


def _first_pass(
    source: ByteSource,
    types: DeclaredTypes,
    options: Options,
    spill_file: SpillFile,
    on_progress: Callable[[int, int], None],
) -> tuple[Observed, tuple[BadLine, ...], list[_SpilledBlock], set[str]]:
    """Observe all rows together. Bad lines are not rows and constrain no type."""
    observed, lines, bad, rows, size = Observed(), 0, 0, 0, 0
    bad_lines: list[BadLine] = []
    spilled: list[_SpilledBlock] = []
    hints: Hints = {}
    excluded = set[str]()
    reader = BlockReader(source, types, options)
    blocks = block_extents(
        source,
        size=_BLOCK_BYTES,
        first=min(_BLOCK_BYTES, _FIRST_BLOCK_BYTES),
        max_line_bytes=options.max_line_bytes,
    )
    tasks = (partial(reader.read, extent, hints, observed) for extent in blocks)
    for results in run_in_order(tasks):
        results.reverse()
        while results:
            result = results.pop()  # frees its bad lines, of which there can be many
            for each in result.bad_lines[: options.kept_bad_lines - len(bad_lines)]:
                bad_lines.append(replace(each, line=each.line + lines, unit=options.unit))
            bad += len(result.bad_lines)
            if bad > options.max_bad_lines:
                raise BadLines(bad_lines[0], allowed=options.max_bad_lines)
            observed = merge(observed, result.observed.with_line_offset(lines))
            if observed.count_columns() > MAX_COLUMNS:
                raise too_many_columns(observed)
            if result.long_line is not None:
                raise LineTooLong(
                    lines + result.long_line, options.max_line_bytes, unit=options.unit
                )
            lines += result.lines
            excluded.update(result.excluded)
            at = None
            if result.batch is not None:
                hints = merge_hints(hints, result.hints)
                at = spill_file.write(result.batch)
            spilled.append(
                _SpilledBlock(replace(result, observed=Observed(), bad_lines=(), batch=None), at)
            )
            rows, size = rows + result.rows, size + result.extent.size
            on_progress(rows, size)
    spill_file.finish()
    return observed, tuple(bad_lines), spilled, excluded


def _convert_all(
    converter: Converter,
    spilled: list[_SpilledBlock],
    provisional: SpillFile,
    built: SpillFile,
    dropped_nulls: Counter[str],
) -> pa.Table:
    """Convert all rows to the inferred types, on the mapped pages of both spill files."""
    schema = pa.schema([(each.name, each.type) for each in converter.columns if each.type])
    most_objects = max(1, min(_BATCH_ROWS, _BATCH_CELLS // max(1, count_columns(schema))))

    def convert(each: _SpilledBlock) -> list[tuple[Converted, int | None]]:
        """Convert a block and spill each new batch at once, since together they can be large."""
        batch = None if each.at is None else provisional.read(each.at)
        found = []
        for piece in converter.batches(each.result, batch, most_objects):
            at = built.write(pa.record_batch(piece.built)) if piece.built else None
            found.append((replace(piece, built={}), at))
        return found

    pieces, cells = [], 0
    for group in run_in_order(partial(convert, each) for each in spilled if each.result.rows):
        for piece, at in group:
            dropped_nulls += piece.dropped_nulls
            cells += piece.cells
            pieces.append((piece.rows, piece.reused, at))
        converter.limit.check(cells)
    built.finish()
    batches = []
    for rows, reused, at in pieces:
        arrays = reused if at is None else {**reused, **_arrays_by_name(built.read(at))}
        batch = pa.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema)
        batches += [batch.slice(first, _BATCH_ROWS) for first in range(0, rows, _BATCH_ROWS)]
    return pa.Table.from_batches(batches, schema)


def _arrays_by_name(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    return dict(zip(batch.schema.names, batch.columns, strict=True))
