"""Spill Arrow batches to disk and map them back into memory."""

from __future__ import annotations

import mmap
import os
from threading import Lock
from typing import Self

import pyarrow as pa

from feed_assets.byte_source import unnamed_temp_file

_ALIGNMENT = 64  # bytes, as Arrow recommends


class SpillFile:
    """Unnamed file of Arrow batches, each with its own schema."""

    def __init__(self) -> None:
        """Create the file. Raise OSError, as `write` does."""
        self._file = unnamed_temp_file()
        self._to = pa.PythonFile(self._file, "w")
        self._mapped: pa.Buffer | None = None
        self._one_writer = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        """Close the file. Its mapped pages remain until the last array on them is freed."""
        self._file.close()

    def write(self, batch: pa.RecordBatch) -> int:
        """Append a batch and return its position for `read`. Threads can write concurrently."""
        with self._one_writer:
            start: int = self._to.tell()
            if padding := -start % _ALIGNMENT:
                self._to.write(bytes(padding))
            with pa.ipc.new_stream(self._to, batch.schema) as writer:
                writer.write_batch(batch)
            return start + padding

    def finish(self) -> None:
        """End writing and map the file, so that `read` can be called."""
        self._file.flush()
        if os.fstat(self._file.fileno()).st_size:
            mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            mapped.madvise(mmap.MADV_WILLNEED)
            self._mapped = pa.py_buffer(mapped)

    def read(self, start: int) -> pa.RecordBatch:
        """Return the batch written at a position, on the mapped pages."""
        assert self._mapped is not None
        with pa.ipc.open_stream(self._mapped[start:]) as reader:
            return reader.read_next_batch()
