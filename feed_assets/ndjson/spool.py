"""Arrow batches on disk, each by itself, and mapped back into memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import pyarrow as pa

_ALIGNMENT = 64  # what Arrow's buffers are best at


class Spool:
    """Batches of any schemas, one after the other in a file that is private to this user."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._file = pa.OSFile(str(target), "wb")
        self._mapped: pa.Buffer | None = None

    @classmethod
    @contextmanager
    def new(cls, folder: Path) -> Iterator[Self]:
        """In a new file, which is gone at the end; what was mapped stays until it is let go."""
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".arrow", delete=False) as file:
            target = Path(file.name)
        spool = cls(target)
        try:
            yield spool
        finally:
            spool._file.close()
            with suppress(
                OSError
            ):  # where a mapped file cannot be removed, its folder's owner does
                target.unlink()

    def write(self, batch: pa.RecordBatch) -> int:
        """Where `read` finds it."""
        start: int = self._file.tell()
        if padding := -start % _ALIGNMENT:
            self._file.write(bytes(padding))
        with pa.ipc.new_stream(self._file, batch.schema) as writer:
            writer.write_batch(batch)
        return start + padding

    def finish(self) -> None:
        """Nothing is written from now on, and everything can be read."""
        self._file.close()
        with pa.memory_map(str(self._target)) as mapped:
            self._mapped = mapped.read_buffer()

    def read(self, start: int) -> pa.RecordBatch:
        """The batch that was written there, on the mapped pages."""
        assert self._mapped is not None
        with pa.ipc.open_stream(self._mapped[start:]) as reader:
            return reader.read_next_batch()
