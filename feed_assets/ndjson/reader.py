"""A feed's file, read: once in parts, for what all rows say, then each part in the types of all.

lines -> parse -> observe -> join -> resolve -> convert
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
from feed_assets.ndjson.columnar.arrow_json import Hints, hints_from, merge_hints
from feed_assets.ndjson.columnar.cell_limits import CellLimit, count_columns
from feed_assets.ndjson.convert import Converted, Converter
from feed_assets.ndjson.inference.conflicts import first_conflicting_line
from feed_assets.ndjson.inference.declared_types import DeclaredTypes, parse_declared_types
from feed_assets.ndjson.inference.infer import columns
from feed_assets.ndjson.inference.observed import Observed, merge
from feed_assets.ndjson.inference.paths import (
    renamed_paths,
    schema_with_keys,
    text_types,
    untyped_paths,
)
from feed_assets.ndjson.input.blocks import block_extents
from feed_assets.ndjson.options import Options
from feed_assets.ndjson.ordered_map import run_in_order
from feed_assets.ndjson.refusal import refuse
from feed_assets.ndjson.rowwise.observe import MAX_COLUMNS
from feed_assets.ndjson.sniff import reject_non_ndjson
from feed_assets.ndjson.spill import SpillFile

if TYPE_CHECKING:
    import pandas as pd

_BLOCK_BYTES, _FIRST_BLOCK_BYTES = 4 << 20, 256 << 10
_BATCH_ROWS, _BATCH_CELLS = 1 << 16, 1 << 22


@dataclass(frozen=True)
class Reading:
    """What a file held. Paths have dots between keys as the feed spells them."""

    table: pa.Table
    """Mapped from a file without a name: the last table or frame on it frees the disk. Columns, and
    the fields of records, are in the order in which the feed first named them, be it with null.
    Declared ones it never named come last."""
    schema: pa.Schema
    """The table's, each field with its key as `keys` has it."""
    rows: int
    lines: int
    """Blank and bad ones included."""
    bytes: int
    bad_lines: tuple[BadLine, ...]
    """All of them, or as many as the options have kept."""
    bad_line_count: int
    untyped: tuple[str, ...]
    """Columns seen, but only with null, [] and {}. They are not in the table."""
    renamed: Mapping[str, str]
    """From path as sent to path as stored, where these differ."""
    dropped_nulls: Mapping[str, int]
    """Null elements of arrays, by the array's path."""
    types: Mapping[str, str]
    """Which columns of text are JSON or GEOGRAPHY, by path as stored."""
    observed: Observed
    declared_types: DeclaredTypes = field(repr=False)
    known: tuple[pa.Field, ...] = field(repr=False)

    def frame(self) -> pd.DataFrame:
        """The table as an Arrow-backed DataFrame, on the same mapped pages.

        Its `attrs` have `types`, if there are any.
        """
        import pandas as pd

        if not self.table.num_columns:
            return pd.DataFrame(index=range(self.rows))
        frame: pd.DataFrame = self.table.to_pandas(types_mapper=pd.ArrowDtype)
        if self.types:
            frame.attrs["types"] = dict(self.types)
        return frame

    def first_conflicting_line(self, path: str, known: pa.DataType) -> int | None:
        """The first line whose value at `path` (stored names) does not fit the type `known`."""
        return first_conflicting_line(self.observed, self.declared_types, path, known, self.known)


def _ignore_progress(rows: int, size: int) -> None:
    """Whom it is told by default."""


def read(
    source: ByteSource,
    *,
    options: Options = Options(),  # noqa: B008  (it is frozen)
    known: Iterable[pa.Field] = (),
    on_progress: Callable[[int, int], None] = _ignore_progress,
) -> Reading:
    """Reads NDJSON, also while it is still arriving.

    `known` is the schema that the table had before: a key that has a column there keeps it, and
    columns that are STRING there stay STRING, each value as it was sent. `told` is called with the
    rows and bytes so far. Raises NotNdjson, BadLines, ContentError (more columns than a table can
    have), OSError, and what `source` raises.
    """
    reject_non_ndjson(source, max_line_bytes=options.max_line_bytes)
    types = parse_declared_types(options.types, flexible_names=options.flexible_names)
    with SpillFile() as provisional, SpillFile() as made:
        observed, bad_lines, spilled = _first_pass(source, types, options, provisional, on_progress)
        known = tuple(known)
        found = columns(observed, types, known)
        dropped_nulls: Counter[str] = Counter()
        limit = CellLimit(source.wait_for(sys.maxsize), found)
        limit.check(sum(each.result.rows for each in spilled) * limit.columns_per_row)
        converter = Converter(source, found, options, limit)
        table = _table(converter, spilled, provisional, made, dropped_nulls)
    return Reading(
        table=table,
        schema=schema_with_keys(found),
        rows=sum(each.result.rows for each in spilled),
        lines=sum(each.result.lines for each in spilled),
        bytes=source.wait_for(sys.maxsize),
        bad_lines=bad_lines,
        bad_line_count=sum(len(each.result.skipped) for each in spilled),
        untyped=untyped_paths(found),
        renamed=renamed_paths(found),
        dropped_nulls=dict(dropped_nulls),
        types=text_types(found),
        observed=observed,
        declared_types=types,
        known=known,
    )


@dataclass(frozen=True)
class _SpilledBlock:
    """A part, and where its batch is."""

    result: BlockResult
    at: int | None


def _first_pass(
    source: ByteSource,
    types: DeclaredTypes,
    options: Options,
    spill_file: SpillFile,
    on_progress: Callable[[int, int], None],
) -> tuple[Observed, tuple[BadLine, ...], list[_SpilledBlock]]:
    """What all rows say together. Bad lines are no rows, so they count for no type."""
    observed, lines, bad, rows, size = Observed(), 0, 0, 0, 0
    bad_lines: list[BadLine] = []
    spilled: list[_SpilledBlock] = []
    hints: Hints = {}
    reader = BlockReader(source, types, options)
    blocks = block_extents(
        source,
        size=_BLOCK_BYTES,
        first=min(_BLOCK_BYTES, _FIRST_BLOCK_BYTES),
        max_line_bytes=options.max_line_bytes,
    )
    tasks = (partial(reader.read, extent, hints, observed) for extent in blocks)
    for parts in run_in_order(tasks):
        parts.reverse()
        while parts:
            result = parts.pop()  # so that its bad lines are there once only
            for each in result.bad_lines[: options.kept_bad_lines - len(bad_lines)]:
                bad_lines.append(BadLine(each.line + lines, each.reason, each.text))
            bad += len(result.bad_lines)
            if bad > options.max_bad_lines:
                raise BadLines(bad_lines[0], allowed=options.max_bad_lines)
            observed = merge(observed, result.observed.with_line_offset(lines))
            if result.failed or observed.count_columns() > MAX_COLUMNS:
                refuse(source, types, options)
            lines += result.lines
            at = None
            if result.batch is not None:
                hints = merge_hints(hints, hints_from(result.batch.schema))
                at = spill_file.write(result.batch)
            spilled.append(
                _SpilledBlock(replace(result, observed=Observed(), bad_lines=(), batch=None), at)
            )
            rows, size = rows + result.rows, size + result.extent.size
            on_progress(rows, size)
    spill_file.finish()
    return observed, tuple(bad_lines), spilled


def _table(
    converter: Converter,
    spilled: list[_SpilledBlock],
    provisional: SpillFile,
    made: SpillFile,
    dropped_nulls: Counter[str],
) -> pa.Table:
    """All rows in the resolved types, on the mapped pages of both files."""

    schema = pa.schema([(each.name, each.type) for each in converter.columns if each.type])
    most_objects = max(1, min(_BATCH_ROWS, _BATCH_CELLS // max(1, count_columns(schema))))

    def convert(each: _SpilledBlock) -> list[tuple[Converted, int | None]]:
        """What was made is on disk by then: that of all rows of a part can be large."""
        batch = None if each.at is None else provisional.read(each.at)
        found = []
        for piece in converter.batches(each.result, batch, most_objects):
            at = made.write(pa.record_batch(piece.built)) if piece.built else None
            found.append((replace(piece, built={}), at))
        return found

    pieces, cells = [], 0
    for group in run_in_order(partial(convert, each) for each in spilled if each.result.rows):
        for piece, at in group:
            dropped_nulls += piece.dropped_nulls
            cells += piece.cells
            pieces.append((piece.rows, piece.reused, at))
        converter.limit.check(cells)
    made.finish()
    batches = []
    for rows, kept, at in pieces:
        arrays = kept if at is None else {**kept, **_arrays_by_name(made.read(at))}
        batch = pa.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema)
        batches += [batch.slice(first, _BATCH_ROWS) for first in range(0, rows, _BATCH_ROWS)]
    return pa.Table.from_batches(batches, schema)


def _arrays_by_name(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    return dict(zip(batch.schema.names, batch.columns, strict=True))
