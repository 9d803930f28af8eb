"""The same engine for a notebook: a path or an open file in, a DataFrame out."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from feed_assets.ndjson.options import Options
from feed_assets.ndjson.reading import read

if TYPE_CHECKING:
    import pandas as pd


def read_ndjson(
    path_or_file: str | os.PathLike[str] | IO[bytes] | IO[str],
    types: Mapping[str, str] | None = None,
    max_bad_lines: int = 0,
    empty_as_null: bool = False,
    max_line_bytes: int = Options.max_line_bytes,
) -> pd.DataFrame:
    """An Arrow-backed DataFrame of every row, typed by every row; raises as `read` does.

    `frame.attrs` tells rows, bytes, bad_lines (dicts of line, reason and text), untyped, renamed
    and dropped_nulls.
    """
    options = Options(types or {}, max_bad_lines, empty_as_null, max_line_bytes)
    # The mapped pages outlive the folder: a file's blocks are freed with the last frame on them.
    with tempfile.TemporaryDirectory(prefix="feed_assets-", ignore_cleanup_errors=True) as folder:
        spool = Path(folder)
        if isinstance(path_or_file, str | os.PathLike):
            path = Path(path_or_file)
        else:
            path = _copied(path_or_file, spool / "feed.ndjson")
        reading = read(path, spool=spool, options=options)
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


def _copied(file: IO[Any], target: Path) -> Path:
    """Two passes need a file that can be read again."""
    if isinstance(file.read(0), str):
        with target.open("w", encoding="utf-8", newline="") as copy:
            shutil.copyfileobj(file, copy)
    else:
        with target.open("wb") as raw_copy:
            shutil.copyfileobj(file, raw_copy)
    return target
