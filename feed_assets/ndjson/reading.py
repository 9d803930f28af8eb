"""A feed's file, read: two passes over its lines, the second into an Arrow file on disk.

lines -> parse -> observe -> join -> resolve -> convert
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from feed_assets.errors import BadLine, BadLines, SettingError
from feed_assets.ndjson.convert import Converter
from feed_assets.ndjson.foreign import refuse_foreign
from feed_assets.ndjson.lines import lines
from feed_assets.ndjson.observe import Observer
from feed_assets.ndjson.parse import Refused, Row, parse
from feed_assets.ndjson.paths import renamed, untyped
from feed_assets.ndjson.resolve import columns
from feed_assets.ndjson.scope import Scope, scope_of
from feed_assets.ndjson.seen import Seen
from feed_assets.ndjson.spans import Cuts, cut, cuts_in
from feed_assets.ndjson.unlike import first_line_unlike

if TYPE_CHECKING:
    import pandas as pd

_BATCH_ROWS = 16_384
_BATCH_BYTES = 4 << 20
_LONGEST_LINE = 1 << 30  # a column's text in one batch must stay below Arrow's 2 GiB


@dataclass(frozen=True)
class Options:
    """How a feed wants its lines read. `types` are by dotted path: {"customer.id": "STRING"}."""

    types: Mapping[str, str] = field(default_factory=dict)
    max_bad_lines: int = 0
    empty_as_null: bool = False
    max_line_bytes: int = 64 << 20
    flexible_names: bool = True

    def __post_init__(self) -> None:
        """Raises SettingError."""
        scope_of(self.types)
        if self.max_bad_lines < 0:
            raise SettingError(f"max_bad_lines is {self.max_bad_lines}; it must be 0 or more")
        if not 0 < self.max_line_bytes <= _LONGEST_LINE:
            raise SettingError(
                f"max_line_bytes is {self.max_line_bytes}; it must be from 1 to {_LONGEST_LINE}"
            )


@dataclass(frozen=True)
class Reading:
    """What a file held. Paths have dots between keys as the feed spells them."""

    table: pa.Table
    """Mapped from a file in the spool folder, which is nameless by now: the last table or frame on
    it frees the disk. Columns, and the fields of records, are in the order
    in which the feed first named them, be it with null. Declared ones it never named come last."""
    rows: int
    bytes: int
    bad_lines: tuple[BadLine, ...]
    untyped: tuple[str, ...]
    """Columns seen, but only with null, [] and {}. They are not in the table."""
    renamed: Mapping[str, str]
    """From path as sent to path as stored, where these differ."""
    dropped_nulls: Mapping[str, int]
    """Null elements of arrays, by the array's path."""
    seen: Seen
    scope: Scope = field(repr=False)

    def frame(self) -> pd.DataFrame:
        """The table as an Arrow-backed DataFrame, on the same mapped pages."""
        import pandas as pd

        if not self.table.num_columns:
            return pd.DataFrame(index=range(self.rows))
        frame: pd.DataFrame = self.table.to_pandas(types_mapper=pd.ArrowDtype)
        return frame

    def first_line_unlike(self, path: str, known: pa.DataType) -> int | None:
        """The first line whose value at `path` (stored names) does not fit the type `known`."""
        return first_line_unlike(self.seen, self.scope, path, known)


def read(
    path: Path,
    *,
    spool: Path,
    options: Options = Options(),
    known: Iterable[pa.Field] = (),
) -> Reading:
    """Reads the NDJSON file at `path`, in two passes, with a file in the folder `spool`.

    `known` is the schema that the table had before: columns that are STRING there stay STRING,
    each value as it was sent. Raises NotNdjson, BadLines, ContentError (more columns than a table
    can have) and OSError; no file is left then.
    """
    refuse_foreign(path, max_line_bytes=options.max_line_bytes)
    scope = scope_of(options.types, flexible_names=options.flexible_names)
    seen, bad_lines = _observe(path, scope, options)
    found = columns(seen, scope, known)
    converter = Converter(found)
    skipped = frozenset(bad.line for bad in bad_lines)
    rows, table = _spooled(_batches(path, cuts_in(found), skipped, options), converter, spool)
    return Reading(
        table=table,
        rows=rows,
        bytes=path.stat().st_size,
        bad_lines=bad_lines,
        untyped=untyped(found),
        renamed=renamed(found),
        dropped_nulls=dict(converter.dropped_nulls),
        seen=seen,
        scope=scope,
    )


def _observe(path: Path, scope: Scope, options: Options) -> tuple[Seen, tuple[BadLine, ...]]:
    """The first pass. Bad lines are no rows, so they count for no type."""
    observer = Observer(scope)
    bad_lines: list[BadLine] = []
    for number, line in lines(path, max_bytes=options.max_line_bytes):
        try:
            _, row = parse(line, empty_as_null=options.empty_as_null)
            scope.check(row)
        except Refused as refused:
            bad_lines.append(BadLine(number, str(refused), line.decode(errors="backslashreplace")))
            if len(bad_lines) > options.max_bad_lines:
                raise BadLines(bad_lines[0], allowed=options.max_bad_lines) from None
            continue
        observer.row(row, number)
    return observer.seen, tuple(bad_lines)


def _batches(
    path: Path, cuts: Cuts | None, skipped: AbstractSet[int], options: Options
) -> Iterator[list[Row]]:
    """The second pass."""
    rows: list[Row] = []
    size = 0
    for number, line in lines(path, max_bytes=options.max_line_bytes):
        if number in skipped:
            continue
        text, row = parse(line, empty_as_null=options.empty_as_null)
        if cuts is not None:
            cut(text, row, cuts)
        rows.append(row)
        size += len(line)
        if size >= _BATCH_BYTES or len(rows) >= _BATCH_ROWS:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _spooled(
    batches: Iterator[list[Row]], converter: Converter, spool: Path
) -> tuple[int, pa.Table]:
    """The rows in a new file, and that file mapped."""
    count = 0
    with tempfile.NamedTemporaryFile(dir=spool, suffix=".arrow", delete=False) as file:
        target = Path(file.name)
        try:
            with pa.ipc.new_file(file, converter.schema) as writer:
                for rows in batches:
                    count += len(rows)
                    writer.write_batch(converter.batch(rows))
            file.flush()
            with pa.memory_map(str(target)) as mapped:
                return count, pa.ipc.open_file(mapped).read_all()
        finally:
            # What is mapped stays until it is let go; where a mapped file cannot be removed, it
            # stays in the folder, whose owner removes it.
            with suppress(OSError):
                target.unlink()
