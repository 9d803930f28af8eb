"""Unnamed temporary files, and byte streams that several threads can read while one writes.

No other user can read an unnamed file, and a killed process leaves none behind. They are created
in the folder for temporary files, which TMPDIR can name.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import IO, BinaryIO


def unnamed_temp_file() -> IO[bytes]:
    """Create a file to write and read; it disappears when it is closed. Raises OSError."""
    return tempfile.TemporaryFile(prefix="feed_assets-")


def free_disk_space(file: IO[bytes]) -> int:
    """Return the bytes this user can still write to the file's disk."""
    disk = os.fstatvfs(file.fileno())
    return disk.f_bavail * disk.f_frsize


class _Descriptor:
    """A duplicate file descriptor that is closed with its last reference."""

    def __init__(self, file: IO[bytes]) -> None:
        self.number = os.dup(file.fileno())

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


class ByteSource:
    """The bytes of a file, readable by several threads at once."""

    def __init__(self, file: IO[bytes]) -> None:
        """Take a complete file. The caller may close it at any time: its descriptor is copied."""
        self._file: _Descriptor | None = _Descriptor(file)

    @classmethod
    @contextmanager
    def from_path(cls, path: Path) -> Iterator[ByteSource]:
        """Open a complete file, and close it at the end of the block."""
        with path.open("rb", buffering=0) as file:
            source = cls(file)
        try:
            yield source
        finally:
            source.close()

    def close(self) -> None:
        """Close the file as soon as the reads that are running have ended.

        Later reads raise ValueError, like those of any closed file.
        """
        self._file = None

    def wait_for(self, wanted: int) -> int:
        """Block until `wanted` bytes are available or the stream has ended.

        Return the number of bytes available.
        """
        return os.fstat(self._opened().number).st_size

    def read(self, start: int, size: int) -> bytes:
        """Block until these bytes are available, and return them; fewer only at the end."""
        available = self.wait_for(start + size)
        file = self._opened()  # this reference keeps it open
        parts = []
        while start < available and size > 0:
            part = os.pread(file.number, min(size, available - start), start)
            if not part:  # another process has truncated the file
                break
            parts.append(part)
            start, size = start + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def open(self) -> BinaryIO:
        """Return a buffered reader that starts at the first byte."""
        return io.BufferedReader(_Reader(self), 1 << 20)

    def _opened(self) -> _Descriptor:
        file = self._file
        if file is None:
            raise ValueError("the feed's file is closed")
        return file


class BodyReplaced(Exception):
    """The server has replaced the body during the download: read it again from the start."""


class GrowingByteSource(ByteSource):
    """A file that one thread appends to while others read it."""

    def __init__(self, file: IO[bytes]) -> None:
        """Take a new, empty file; all writes go through this object, which does not close it."""
        super().__init__(file)
        self._output, self._changed = file, Condition()
        self._size, self._ended = 0, False
        self._failure: Exception | None = None

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    def write(self, data: bytes) -> None:
        """Append, and wake the readers that wait. Raises OSError."""
        self._output.write(data)
        self._output.flush()
        with self._changed:
            self._size += len(data)
            self._changed.notify_all()

    def end(self, failure: Exception | None = None) -> None:
        """Mark the end. Readers that wait for more bytes raise `failure`, if given."""
        with self._changed:
            self._ended, self._failure = True, failure
            self._changed.notify_all()

    def close(self) -> None:
        """Close; readers that wait for more bytes raise ValueError, unless the end is marked."""
        if not self._ended:
            self.end(ValueError("the feed's file is closed"))
        super().close()

    def wait_for(self, wanted: int) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._size >= wanted)
            if self._size < wanted and self._failure is not None:
                raise self._failure
            return self._size

    def read_available(self, start: int, size: int) -> bytes:
        """Return those of these bytes that are already written, without waiting."""
        return super().read(start, min(size, max(0, self._size - start)))


class _Reader(io.RawIOBase):
    def __init__(self, source: ByteSource) -> None:
        self._source, self._position = source, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._source.read(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
