"""The same engine for a notebook: a path or an open file in, a DataFrame out."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING, Any

from feed_assets.errors import NotNdjson
from feed_assets.ndjson.options import Options
from feed_assets.ndjson.reading import read
from feed_assets.source import Arriving, Source, nameless

if TYPE_CHECKING:
    import pandas as pd

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"


def read_ndjson(
    path_or_file: str | os.PathLike[str] | IO[bytes] | IO[str],
    types: Mapping[str, str] | None = None,
    max_bad_lines: int = 0,
    empty_as_null: bool = False,
    max_line_bytes: int = Options.max_line_bytes,
) -> pd.DataFrame:
    """An Arrow-backed DataFrame of every row, typed by every row; raises as `read` does.

    A path may be that of a gzip file. `frame.attrs` tells rows, bytes (decoded), bad_lines (dicts
    of line, reason and text), untyped, renamed and dropped_nulls.
    """
    options = Options(types or {}, max_bad_lines, empty_as_null, max_line_bytes)
    with _source(path_or_file) as source:
        reading = read(source, options=options)
    frame = reading.frame()
    frame.attrs |= {
        "rows": reading.rows,
        "bytes": reading.bytes,
        "bad_lines": [asdict(bad) for bad in reading.bad_lines],
        "untyped": list(reading.untyped),
        "renamed": dict(reading.renamed),
        "dropped_nulls": dict(reading.dropped_nulls),
    }
    return frame


@contextmanager
def _source(path_or_file: str | os.PathLike[str] | IO[bytes] | IO[str]) -> Iterator[Source]:
    if not isinstance(path_or_file, str | os.PathLike):
        with _arriving(path_or_file) as arriving:
            yield arriving
        return
    with Source.of(Path(path_or_file)) as source:
        if source.read(0, len(_GZIP)) != _GZIP:
            yield source
            return
    with gzip.open(path_or_file) as file, _arriving(file) as arriving:
        yield arriving


@contextmanager
def _arriving(file: Any) -> Iterator[Source]:
    """What a file has from where it stands, copied (two passes need it) beside the reading."""
    with nameless() as copy:
        arriving, wanted = Arriving(copy), True

        def copy_all() -> None:
            try:
                while wanted and (chunk := file.read(_CHUNK)):
                    arriving.write(chunk.encode() if isinstance(chunk, str) else chunk)
            except (EOFError, gzip.BadGzipFile, zlib.error) as failure:
                arriving.end(NotNdjson(f"the file is no sound gzip ({failure})"))
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
