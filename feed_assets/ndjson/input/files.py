"""Open paths and files as byte sources, decompressed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING, Any

from feed_assets.byte_source import ByteSource, GrowingByteSource, unnamed_temp_file
from feed_assets.decompression import (
    HEAD,
    CorruptError,
    Decoder,
    Plain,
    TrailingBytesError,
    decoder_for,
)
from feed_assets.errors import NotNdjson, row_text

if TYPE_CHECKING:
    from feed_assets.json_document.lines import JsonLines

_CHUNK = 1 << 20


@contextmanager
def open_source(path_or_file: str | os.PathLike[str] | IO[bytes] | IO[str]) -> Iterator[ByteSource]:
    """Open a path, decompressing gzip, zstd and bzip2, or the rest of an open file."""
    if isinstance(path_or_file, str | os.PathLike):
        with Path(path_or_file).open("rb") as file, open_decompressed(file) as source:
            yield source
    else:
        with _arriving(path_or_file) as arriving:
            yield arriving


@contextmanager
def open_decompressed(file: IO[bytes], document: JsonLines | None = None) -> Iterator[ByteSource]:
    """Open a complete file from its first byte, decompressing gzip, zstd and bzip2.

    With `document` the file is a JSON document, of which the source has the lines.
    """
    source = ByteSource(file)
    decoder = decoder_for(source.read(0, HEAD))
    if not decoder.compression and document is None:
        yield source
        return
    file.seek(0)
    with _arriving(file, decoder, document) as arriving:
        yield arriving


@contextmanager
def _arriving(
    file: Any, decoder: Decoder | None = None, document: JsonLines | None = None
) -> Iterator[ByteSource]:
    """Copy the rest of a file in a thread while it is read, since reading needs two passes."""
    decoder = decoder or Plain()
    with unnamed_temp_file() as copy:
        arriving, wanted = GrowingByteSource(copy), True

        def copy_all() -> None:
            try:
                while wanted and (chunk := file.read(_CHUNK)):
                    for piece in decoder.decode(
                        chunk.encode() if isinstance(chunk, str) else chunk
                    ):
                        for lines in (piece,) if document is None else document.read(piece):
                            arriving.write(lines)
                if wanted and decoder.compression and not decoder.ended:
                    raise CorruptError("it ends too early")
                if wanted and document is not None:
                    document.check_end()
            except CorruptError as failure:
                arriving.end(NotNdjson(f"the file is not valid {decoder.compression} ({failure})"))
            except TrailingBytesError as failure:
                what = f"the file has bytes after the end of its {decoder.compression}"
                arriving.end(NotNdjson(what + row_text(f": {failure.args[0]!r}")))
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
