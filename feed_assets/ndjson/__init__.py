"""An NDJSON file to exact types to Arrow; knows neither network nor warehouse nor Dagster."""

from feed_assets.ndjson.dataframe import read_ndjson
from feed_assets.ndjson.datatypes.kinds import is_valid
from feed_assets.ndjson.inference.infer import infer_type
from feed_assets.ndjson.inference.observed import Observed, ValueKind, merge
from feed_assets.ndjson.options import Options
from feed_assets.ndjson.reader import Reading, read
from feed_assets.schema.datatypes import check_types

__all__ = [
    "Observed",
    "Options",
    "Reading",
    "ValueKind",
    "check_types",
    "infer_type",
    "is_valid",
    "merge",
    "read",
    "read_ndjson",
]
