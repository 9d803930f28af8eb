"""Read a path or an open file into a DataFrame, for notebooks."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import IO, TYPE_CHECKING

from feed_assets.errors import full_text
from feed_assets.ndjson.input.files import open_source
from feed_assets.ndjson.options import Options
from feed_assets.ndjson.reader import read
from feed_assets.schema.type_declarations import Declared

if TYPE_CHECKING:
    import pandas as pd


def read_ndjson(
    path_or_file: str | os.PathLike[str] | IO[bytes] | IO[str],
    types: Mapping[str, Declared] | None = None,
    max_bad_lines: int = 0,
    null_values: Collection[str] = (),
    max_line_bytes: int = Options.max_line_bytes,
) -> pd.DataFrame:
    """Return an Arrow-backed DataFrame of every row, typed by every row; raise as `read` does.

    The file can be gzip. `frame.attrs` has rows, bytes (decoded), bad_lines (dicts of line, reason
    and text), untyped, renamed and dropped_nulls.
    """
    options = Options(types or {}, max_bad_lines, null_values, max_line_bytes)
    with open_source(path_or_file) as source:
        reading = read(source, options=options)
    frame = reading.frame()
    frame.attrs |= {
        "rows": reading.rows,
        "bytes": reading.bytes,
        "bad_lines": [
            {"line": bad.line, "reason": full_text(bad.reason), "text": bad.text}
            for bad in reading.bad_lines
        ],
        "untyped": list(reading.untyped),
        "renamed": dict(reading.renamed),
        "dropped_nulls": dict(reading.dropped_nulls),
    }
    return frame
