"""Write rows to a Parquet file for one load."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_GROUP_BYTES = 64 << 20  # of Arrow's arrays, which may be in memory
_SAMPLE_ROWS = 16_384
_REPEATED = 8  # times that a value occurs on average where a dictionary pays


def write(rows: pa.RecordBatchReader, file: IO[bytes], *, compression: str = "zstd") -> None:
    """Write all rows, without statistics, as nobody reads them. No rows make no row group."""
    writer: pq.ParquetWriter | None = None
    for group in _groups(rows):
        if writer is None:
            columns = _repetitive(group.slice(0, _SAMPLE_ROWS))
            writer = pq.ParquetWriter(
                file,
                rows.schema,
                compression=compression,
                use_dictionary=columns,
                write_statistics=False,
            )
        if group.num_rows:
            writer.write_table(group, row_group_size=group.num_rows)
    if writer is not None:
        writer.close()


def _groups(rows: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Split the rows into row groups: at least one, which may be empty."""
    group: list[pa.RecordBatch] = []
    size, any_before = 0, False
    for batch in rows:
        group.append(batch)
        size += batch.nbytes
        if size >= _GROUP_BYTES:
            yield pa.Table.from_batches(group)
            group, size, any_before = [], 0, True
    if group or not any_before:
        yield pa.Table.from_batches(group, rows.schema)


def _repetitive(sample: pa.Table) -> list[str]:
    """List the leaves, by their Parquet paths, whose values repeat in the sample."""
    found: list[str] = []
    for name, column in zip(sample.column_names, sample.columns, strict=True):
        for chunk in column.chunks[:1]:
            found += _leaves(chunk, name)
    return found


def _leaves(values: pa.Array, path: str) -> Iterator[str]:
    of = values.type
    if pa.types.is_struct(of):
        for field, inside in zip(of, values.flatten(), strict=True):
            yield from _leaves(inside, f"{path}.{field.name}")
    elif pa.types.is_list(of):
        yield from _leaves(values.flatten(), f"{path}.list.element")
    elif pc.count_distinct(values).as_py() * _REPEATED <= len(values):
        yield path
