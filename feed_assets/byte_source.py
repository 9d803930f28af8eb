"""Private files without a name: no other user reads them, and a killed process leaves none.

They are where temporary files are; TMPDIR names another folder.
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


def nameless() -> IO[bytes]:
    """A new file to write and read, which goes when it is closed. Raises OSError."""
    return tempfile.TemporaryFile(prefix="feed_assets-")


def room(file: IO[bytes]) -> int:
    """The bytes that are free on the file's disk, for this user."""
    disk = os.fstatvfs(file.fileno())
    return disk.f_bavail * disk.f_frsize


class _Descriptor:
    """A file that stays open for as long as somebody refers to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.number = os.dup(file.fileno())

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


class Source:
    """The bytes of a feed, for several threads at once; they may still be arriving."""

    def __init__(self, file: IO[bytes]) -> None:
        """`file` is complete. It may be closed at any time: this opens it once more."""
        self._file: _Descriptor | None = _Descriptor(file)

    @classmethod
    @contextmanager
    def of(cls, path: Path) -> Iterator[Source]:
        """A complete file."""
        with path.open("rb", buffering=0) as file:
            source = cls(file)
        try:
            yield source
        finally:
            source.close()

    def close(self) -> None:
        """Gives the file up, once threads that read it at this moment have done so.

        Threads that read later get ValueError, as from any closed file.
        """
        self._file = None

    def reach(self, wanted: int) -> int:
        """Waits until that many bytes are there, or all; the number of those that are there."""
        return os.fstat(self._opened().number).st_size

    def read(self, start: int, size: int) -> bytes:
        """As many, once they are there; fewer at the end only."""
        there = self.reach(start + size)
        file = self._opened()  # which keeps it open meanwhile
        found = []
        while start < there and size > 0:
            part = os.pread(file.number, min(size, there - start), start)
            if not part:  # cut off by somebody else
                break
            found.append(part)
            start, size = start + len(part), size - len(part)
        return found[0] if len(found) == 1 else b"".join(found)

    def open(self) -> BinaryIO:
        """The same from the first byte on, as a file of its own."""
        return io.BufferedReader(_Reader(self), 1 << 20)

    def _opened(self) -> _Descriptor:
        file = self._file
        if file is None:
            raise ValueError("the feed's file is closed")
        return file


class SupersededError(Exception):
    """What was read has been replaced meanwhile: read anew."""


class Arriving(Source):
    """A feed that one thread writes while others read it."""

    def __init__(self, file: IO[bytes]) -> None:
        """`file` is new, and is not closed here; it is written through it."""
        super().__init__(file)
        self._to, self._changed = file, Condition()
        self._there, self._ended = 0, False
        self._failure: Exception | None = None

    @property
    def size(self) -> int:
        """The bytes that have arrived."""
        return self._there

    def write(self, data: bytes) -> None:
        """Appends; raises OSError."""
        self._to.write(data)
        self._to.flush()
        with self._changed:
            self._there += len(data)
            self._changed.notify_all()

    def end(self, failure: Exception | None = None) -> None:
        """No more will come; readers that wait for more get the failure, if there is one."""
        with self._changed:
            self._ended, self._failure = True, failure
            self._changed.notify_all()

    def close(self) -> None:
        """As of any source; threads that wait for more get ValueError, unless all has come."""
        if not self._ended:
            self.end(ValueError("the feed's file is closed"))
        super().close()

    def reach(self, wanted: int) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._there >= wanted)
            if self._there < wanted and self._failure is not None:
                raise self._failure
            return self._there

    def read_arrived(self, start: int, size: int) -> bytes:
        """What has arrived of these bytes, without waiting."""
        return super().read(start, min(size, max(0, self._there - start)))


class _Reader(io.RawIOBase):
    def __init__(self, source: Source) -> None:
        self._source, self._at = source, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._source.read(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
