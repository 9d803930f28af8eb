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
from feed_assets.ndjson.block_reader import Part, PartReader
from feed_assets.ndjson.columnar.arrow_json import Hints, hints_of, merged
from feed_assets.ndjson.columnar.crowd import CellLimit, width
from feed_assets.ndjson.convert import Converted, Converter
from feed_assets.ndjson.inference.conflicts import first_conflicting_line
from feed_assets.ndjson.inference.declared_types import DeclaredTypes, parse_declared_types
from feed_assets.ndjson.inference.infer import columns
from feed_assets.ndjson.inference.observed import Observed, merge
from feed_assets.ndjson.inference.paths import keyed, renamed, texts, untyped
from feed_assets.ndjson.input.blocks import extents
from feed_assets.ndjson.options import Options
from feed_assets.ndjson.ordered_map import in_order
from feed_assets.ndjson.refusal import refuse
from feed_assets.ndjson.rowwise.observe import MAX_COLUMNS
from feed_assets.ndjson.sniff import refuse_foreign
from feed_assets.ndjson.spill import Spool

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


def _nobody(rows: int, size: int) -> None:
    """Whom it is told by default."""


def read(
    source: ByteSource,
    *,
    options: Options = Options(),  # noqa: B008  (it is frozen)
    known: Iterable[pa.Field] = (),
    told: Callable[[int, int], None] = _nobody,
) -> Reading:
    """Reads NDJSON, also while it is still arriving.

    `known` is the schema that the table had before: a key that has a column there keeps it, and
    columns that are STRING there stay STRING, each value as it was sent. `told` is called with the
    rows and bytes so far. Raises NotNdjson, BadLines, ContentError (more columns than a table can
    have), OSError, and what `source` raises.
    """
    refuse_foreign(source, max_line_bytes=options.max_line_bytes)
    types = parse_declared_types(options.types, flexible_names=options.flexible_names)
    with Spool() as provisional, Spool() as made:
        observed, bad_lines, spooled = _first_pass(source, types, options, provisional, told)
        known = tuple(known)
        found = columns(observed, types, known)
        dropped_nulls: Counter[str] = Counter()
        limit = CellLimit(source.wait_for(sys.maxsize), found)
        limit.check(sum(each.part.rows for each in spooled) * limit.width)
        converter = Converter(source, found, options, limit)
        table = _table(converter, spooled, provisional, made, dropped_nulls)
    return Reading(
        table=table,
        schema=keyed(found),
        rows=sum(each.part.rows for each in spooled),
        lines=sum(each.part.lines for each in spooled),
        bytes=source.wait_for(sys.maxsize),
        bad_lines=bad_lines,
        bad_line_count=sum(len(each.part.skipped) for each in spooled),
        untyped=untyped(found),
        renamed=renamed(found),
        dropped_nulls=dict(dropped_nulls),
        types=texts(found),
        observed=observed,
        declared_types=types,
        known=known,
    )


@dataclass(frozen=True)
class _Spooled:
    """A part, and where its batch is."""

    part: Part
    at: int | None


def _first_pass(
    source: ByteSource,
    types: DeclaredTypes,
    options: Options,
    spool: Spool,
    told: Callable[[int, int], None],
) -> tuple[Observed, tuple[BadLine, ...], list[_Spooled]]:
    """What all rows say together. Bad lines are no rows, so they count for no type."""
    observed, lines, bad, rows, size = Observed(), 0, 0, 0, 0
    bad_lines: list[BadLine] = []
    spooled: list[_Spooled] = []
    hints: Hints = {}
    reader = PartReader(source, types, options)
    blocks = extents(
        source,
        size=_BLOCK_BYTES,
        first=min(_BLOCK_BYTES, _FIRST_BLOCK_BYTES),
        max_line_bytes=options.max_line_bytes,
    )
    tasks = (partial(reader.read, extent, hints, observed) for extent in blocks)
    for parts in in_order(tasks):
        parts.reverse()
        while parts:
            part = parts.pop()  # so that its bad lines are there once only
            for each in part.bad_lines[: options.kept_bad_lines - len(bad_lines)]:
                bad_lines.append(BadLine(each.line + lines, each.reason, each.text))
            bad += len(part.bad_lines)
            if bad > options.max_bad_lines:
                raise BadLines(bad_lines[0], allowed=options.max_bad_lines)
            observed = merge(observed, part.observed.with_line_offset(lines))
            if part.failed or observed.count_columns() > MAX_COLUMNS:
                refuse(source, types, options)
            lines += part.lines
            at = None
            if part.batch is not None:
                hints = merged(hints, hints_of(part.batch.schema))
                at = spool.write(part.batch)
            spooled.append(
                _Spooled(replace(part, observed=Observed(), bad_lines=(), batch=None), at)
            )
            rows, size = rows + part.rows, size + part.extent.size
            told(rows, size)
    spool.finish()
    return observed, tuple(bad_lines), spooled


def _table(
    converter: Converter,
    spooled: list[_Spooled],
    provisional: Spool,
    made: Spool,
    dropped_nulls: Counter[str],
) -> pa.Table:
    """All rows in the resolved types, on the mapped pages of both files."""

    schema = pa.schema([(each.name, each.type) for each in converter.columns if each.type])
    most_objects = max(1, min(_BATCH_ROWS, _BATCH_CELLS // max(1, width(schema))))

    def convert(each: _Spooled) -> list[tuple[Converted, int | None]]:
        """What was made is on disk by then: that of all rows of a part can be large."""
        batch = None if each.at is None else provisional.read(each.at)
        found = []
        for piece in converter.batches(each.part, batch, most_objects):
            at = made.write(pa.record_batch(piece.made)) if piece.made else None
            found.append((replace(piece, made={}), at))
        return found

    pieces, cells = [], 0
    for group in in_order(partial(convert, each) for each in spooled if each.part.rows):
        for piece, at in group:
            dropped_nulls += piece.dropped_nulls
            cells += piece.cells
            pieces.append((piece.rows, piece.kept, at))
        converter.limit.check(cells)
    made.finish()
    batches = []
    for rows, kept, at in pieces:
        arrays = kept if at is None else {**kept, **_by_name(made.read(at))}
        batch = pa.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema)
        batches += [batch.slice(first, _BATCH_ROWS) for first in range(0, rows, _BATCH_ROWS)]
    return pa.Table.from_batches(batches, schema)


def _by_name(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    return dict(zip(batch.schema.names, batch.columns, strict=True))
