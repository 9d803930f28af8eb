"""Read NDJSON into an Arrow table with exact types. Knows no network, no warehouse and no Dagster.

`read` is the way in. There are two ways through a block of the feed: `rowwise/`, the reference
reader, which is slow and obviously right, and `columnar/`, which is fast and falls back to the
first; `block_reader.py` chooses.
"""

from feed_assets.ndjson.columnar.classify import classify_strings
from feed_assets.ndjson.dataframe import read_ndjson
from feed_assets.ndjson.datatypes.kinds import is_valid
from feed_assets.ndjson.inference.infer import Column, infer_type
from feed_assets.ndjson.inference.observed import Observed, ValueKind
from feed_assets.ndjson.inference.paths import schema_of_keys
from feed_assets.ndjson.input.files import open_decompressed, open_source
from feed_assets.ndjson.input.lines import read_lines
from feed_assets.ndjson.options import Options
from feed_assets.ndjson.reader import Reading, read

__all__ = [
    "Column",
    "Observed",
    "Options",
    "Reading",
    "ValueKind",
    "classify_strings",
    "infer_type",
    "is_valid",
    "open_decompressed",
    "open_source",
    "read",
    "read_lines",
    "read_ndjson",
    "schema_of_keys",
]
