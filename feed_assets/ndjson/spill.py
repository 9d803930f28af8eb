"""Arrow batches on disk, each by itself, and mapped back into memory."""

from __future__ import annotations

import mmap
import os
from threading import Lock
from typing import Self

import pyarrow as pa

from feed_assets.byte_source import unnamed_temp_file

_ALIGNMENT = 64  # what Arrow's buffers are best at


class SpillFile:
    """Batches of any schemas, one after the other in a file without a name."""

    def __init__(self) -> None:
        """Raises OSError, as `write` does."""
        self._file = unnamed_temp_file()
        self._to = pa.PythonFile(self._file, "w")
        self._mapped: pa.Buffer | None = None
        self._one_writer = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        """The file is gone then; what was mapped stays until it is let go."""
        self._file.close()

    def write(self, batch: pa.RecordBatch) -> int:
        """Where `read` finds it. Threads may write at once."""
        with self._one_writer:
            start: int = self._to.tell()
            if padding := -start % _ALIGNMENT:
                self._to.write(bytes(padding))
            with pa.ipc.new_stream(self._to, batch.schema) as writer:
                writer.write_batch(batch)
            return start + padding

    def finish(self) -> None:
        """Nothing is written from now on, and everything can be read."""
        self._file.flush()
        if os.fstat(self._file.fileno()).st_size:
            mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            mapped.madvise(mmap.MADV_WILLNEED)
            self._mapped = pa.py_buffer(mapped)

    def read(self, start: int) -> pa.RecordBatch:
        """The batch that was written there, on the mapped pages."""
        assert self._mapped is not None
        with pa.ipc.open_stream(self._mapped[start:]) as reader:
            return reader.read_next_batch()
