"""Write rows as NDJSON: BigQuery loads columns of JSON in no other exact way.

"If you use a batch load job to ingest JSON data into a table, the source data must be in CSV, Avro,
or JSON format", https://cloud.google.com/bigquery/docs/json-data#limitations; a Parquet load with
JSON in its schema is refused. Numbers are quoted but for doubles, so that none is read as one:
https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-json#limitations
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc

from feed_assets.schema.columns import Column, Columns, paths
from feed_assets.warehouse.conform import decimal_texts

_CONTROL = r"[\x00-\x1f]"


def is_needed(columns: Columns) -> bool:
    """Return whether a column, or a field in one, is JSON."""
    return any(column.type == "JSON" for _, column in paths(columns))


def write(rows: pa.RecordBatchReader, columns: Columns, file: IO[bytes]) -> None:
    """Write the rows of these columns, one object on each line."""
    for batch in rows:
        if batch.num_rows:
            lines = _objects(batch.columns, columns)
            file.write("\n".join(lines.to_pylist()).encode() + b"\n")


def _objects(values: Sequence[pa.Array], columns: Columns) -> pa.Array:
    parts: list[pa.Array | str] = []
    for each, column in zip(values, columns, strict=True):
        parts += ["," if parts else "{", f"{json.dumps(column.name)}:", _values(each, column)]
    return pc.binary_join_element_wise(*parts, "}", "")


def _values(values: pa.Array, column: Column) -> pa.Array:
    """Format each value as JSON: null for NULL, and [] for an array that is NULL."""
    if column.repeated:
        element = Column(column.name, column.type, fields=column.fields)
        lists = pa.ListArray.from_arrays(_offsets(values), _values(values.flatten(), element))
        return _between("[", pc.binary_join(lists, ","), "]")
    if column.type == "RECORD":
        children = [pc.struct_field(values, field.name) for field in column.fields]
        texts = _objects(children, column.fields)
    elif column.type in {"STRING", "GEOGRAPHY"}:
        texts = _quoted(values)
    elif column.type == "JSON":  # a line feed in it is space between its parts
        texts = pc.replace_substring_regex(values, r"[\r\n]", " ")
    elif column.type == "BOOLEAN":
        texts = values.cast(pa.string())
    elif column.type == "FLOAT":
        texts = _doubles(values)
    else:
        texts = _between('"', _plain(values, column), '"')
    return pc.if_else(values.is_valid(), texts, "null")


def _offsets(values: pa.ListArray) -> pa.Array:
    lengths = pc.fill_null(pc.list_value_length(values), 0)
    return pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths)])


def _between(before: str, texts: pa.Array, after: str) -> pa.Array:
    return pc.binary_join_element_wise(before, texts, after, "")


def _quoted(texts: pa.Array) -> pa.Array:
    if pc.any(pc.match_substring_regex(texts, _CONTROL)).as_py():
        quoted = [None if text is None else json.dumps(text) for text in texts.to_pylist()]
        return pa.array(quoted, pa.string())
    escaped = pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), '"', '\\"')
    return _between('"', escaped, '"')


def _doubles(values: pa.Array) -> pa.Array:
    """Format doubles. Those that are not finite become their names, which BigQuery reads.

    Exact: Arrow writes the shortest text that reads as the same double, but of -0.0 an integer.
    """
    texts = values.cast(pa.string())
    texts = pc.if_else(pc.equal(texts, "-0"), "-0.0", texts)
    if pc.all(pc.is_finite(values)).as_py() is not False:
        return texts
    names = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}
    return pa.array([names.get(text, text) for text in texts.to_pylist()], pa.string())


def _plain(values: pa.Array, column: Column) -> pa.Array:
    if column.type in {"NUMERIC", "BIGNUMERIC"}:
        return decimal_texts(values)
    if column.type == "BYTES":
        encoded = [
            None if each is None else b64encode(each).decode() for each in values.to_pylist()
        ]
        return pa.array(encoded, pa.string())
    if column.type == "TIMESTAMP":
        # Exact: the same microseconds, in UTC, all six digits of them.
        return _between("", values.cast(pa.timestamp("us")).cast(pa.string()), "Z")
    return values.cast(pa.string())  # exact: all digits of an INTEGER, a DATE, a time
