"""Open paths and files as byte sources, decompressing gzip."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import IO, Any

from feed_assets.byte_source import ByteSource, GrowingByteSource, unnamed_temp_file
from feed_assets.errors import NotNdjson

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"


@contextmanager
def open_source(path_or_file: str | os.PathLike[str] | IO[bytes] | IO[str]) -> Iterator[ByteSource]:
    """Open a path, decompressing gzip, or the rest of an open file."""
    if isinstance(path_or_file, str | os.PathLike):
        with Path(path_or_file).open("rb") as file, open_decompressed(file) as source:
            yield source
    else:
        with _arriving(path_or_file) as arriving:
            yield arriving


@contextmanager
def open_decompressed(file: IO[bytes]) -> Iterator[ByteSource]:
    """Open a complete file from its first byte, decompressing gzip."""
    source = ByteSource(file)
    if source.read(0, len(_GZIP)) != _GZIP:
        yield source
        return
    file.seek(0)
    with gzip.open(file) as zipped, _arriving(zipped) as arriving:
        yield arriving


@contextmanager
def _arriving(file: Any) -> Iterator[ByteSource]:
    """Copy the rest of a file in a thread while it is read, since reading needs two passes."""
    with unnamed_temp_file() as copy:
        arriving, wanted = GrowingByteSource(copy), True

        def copy_all() -> None:
            try:
                while wanted and (chunk := file.read(_CHUNK)):
                    arriving.write(chunk.encode() if isinstance(chunk, str) else chunk)
            except (EOFError, gzip.BadGzipFile, zlib.error) as failure:
                arriving.end(NotNdjson(f"the file is not valid gzip ({failure})"))
            except Exception as failure:  # noqa: BLE001  (whatever it is, the reader gets it)
                arriving.end(failure)
            else:
                arriving.end()

        thread = Thread(target=copy_all, name="copy", daemon=True)
        thread.start()
        try:
            yield arriving
        finally:
            wanted = False
            thread.join()
