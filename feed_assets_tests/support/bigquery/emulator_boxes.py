"""BIGNUMERIC, GEOGRAPHY and JSON, which the emulator's DuckDB cannot hold as BigQuery does.

Each is boxed: text in a STRUCT of one field, which is named after the type. DuckDB has no decimal
beyond 38 digits. In a RECORD of an answer its geometry looks like BYTES, and its JSON like STRING.
"""

import json
import re
from base64 import b64decode
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from bqemulator.catalog.models import TableFieldSchema

BOXED = ("BIGNUMERIC", "GEOGRAPHY", "JSON")
TYPE = b"bq_type"

Fields = tuple[TableFieldSchema, ...]

_ARROW = {
    "INTEGER": pa.int64(),
    "FLOAT": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "NUMERIC": pa.decimal128(38, 9),
    "BIGNUMERIC": pa.decimal256(76, 38),
    "STRING": pa.string(),
    "BYTES": pa.binary(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "DATETIME": pa.timestamp("us"),
    "TIMESTAMP": pa.timestamp("us", "UTC"),
    "JSON": pa.string(),
    "GEOGRAPHY": pa.string(),
}


def box(kind: str) -> str:
    """The type in DuckDB."""
    return f'STRUCT("{kind}" VARCHAR)'


def is_boxed(fields: Fields) -> bool:
    """Return whether one of the fields, or a field in them, is boxed."""
    return any(field.type in BOXED or is_boxed(field.fields) for field in fields)


def as_geographies(have: Fields, want: Fields) -> Fields:
    """A file's fields, with its strings as geographies where the job's schema says so.

    https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#geospatial_data
    """
    wanted = {field.name.lower(): field for field in want}
    found = []
    for field in have:
        to = wanted.get(field.name.lower())
        if to is not None:
            is_one = (field.type, to.type) == ("STRING", "GEOGRAPHY")
            inside = as_geographies(field.fields, to.fields)
            field = field.model_copy(
                update={"fields": inside} | ({"type": to.type} if is_one else {})
            )
        found.append(field)
    return tuple(found)


def box_parquet(path: Path, fields: Fields) -> Path:
    """Rewrite a file with boxed values; `fields` are the fields of the file."""
    return _written(path, boxed(pq.read_table(path), fields))


def box_lines(path: Path, fields: Fields) -> Path:
    """A file of NDJSON as Parquet.

    https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-json#details_of_loading_json_data
    """
    rows = []
    for line in path.read_bytes().splitlines():
        row = json.loads(line)
        if unknown := row.keys() - {field.name for field in fields}:
            raise ValueError(f"no such field: {sorted(unknown)[0]}")
        rows.append({field.name: _read(row.get(field.name), field) for field in fields})
    schema = pa.schema([(field.name, _arrow(field)) for field in fields])
    return _written(path, boxed(pa.Table.from_pylist(rows, schema), fields))


def boxed(table: pa.Table, fields: Fields) -> pa.Table:
    """Return the rows with boxed values; `fields` have the types."""
    known = {field.name.lower(): field for field in fields}
    columns = [_box(column.combine_chunks(), known[name.lower()])
               for name, column in zip(table.column_names, table.columns, strict=True)]  # fmt: skip
    return pa.table(columns, names=table.column_names)


def unboxed(table: pa.Table) -> pa.Table:
    """The rows of an answer, with the type in the metadata of its field."""
    found = [
        _unbox(field, column.combine_chunks())
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    schema = pa.schema([field for field, _ in found])
    return pa.Table.from_arrays([values for _, values in found], schema=schema)


def _written(path: Path, table: pa.Table) -> Path:
    made = path.with_name(f"{path.name}.boxed")
    pq.write_table(table, made)
    return made


def _arrow(field: TableFieldSchema) -> pa.DataType:
    kind = (
        pa.struct([(part.name, _arrow(part)) for part in field.fields])
        if field.fields
        else _ARROW[field.type]
    )
    return pa.list_(kind) if field.mode == "REPEATED" else kind


def _read(value: Any, field: TableFieldSchema) -> Any:
    if field.mode == "REPEATED":
        single = field.model_copy(update={"mode": "NULLABLE"})
        return [_read(each, single) for each in value or ()]
    if value is None:
        return None
    if field.fields:
        return {part.name: _read(value.get(part.name), part) for part in field.fields}
    return _READ[field.type](value)


_READ: dict[str, Callable[[Any], Any]] = {
    "INTEGER": int,
    "FLOAT": float,
    "BOOLEAN": bool,
    "NUMERIC": Decimal,
    "BIGNUMERIC": Decimal,
    "STRING": str,
    "BYTES": lambda text: b64decode(text, validate=True),
    "DATE": date.fromisoformat,
    "TIME": time.fromisoformat,
    "DATETIME": datetime.fromisoformat,
    "TIMESTAMP": datetime.fromisoformat,
    "JSON": json.dumps,
    "GEOGRAPHY": str,
}


def _box(values: pa.Array, field: TableFieldSchema) -> pa.Array:
    if field.mode == "REPEATED":
        single = field.model_copy(update={"mode": "NULLABLE"})
        # without the nulls, of which BigQuery's arrays have none
        lists = pa.array([each or [] for each in values.to_pylist()], values.type)
        return pa.ListArray.from_arrays(lists.offsets, _box(lists.values, single))
    if field.fields:
        parts = {part.name.lower(): part for part in field.fields}
        inside = [
            _box(each, parts[place.name.lower()])
            for place, each in zip(values.type, values.flatten(), strict=True)
        ]
        names = [place.name for place in values.type]
        return pa.StructArray.from_arrays(inside, names, mask=values.is_null())
    if field.type not in BOXED:
        return values
    canonical = _CANONICAL[field.type]
    texts = [None if value is None else canonical(value) for value in values.to_pylist()]
    box = pa.array(texts, pa.string())
    return pa.StructArray.from_arrays([box], [field.type], mask=values.is_null())


def _unbox(field: pa.Field, values: pa.Array) -> tuple[pa.Field, pa.Array]:
    kind = field.type
    if pa.types.is_list(kind):
        inside, flat = _unbox(kind.value_field, values.flatten())
        lists = pa.array([each or [] for each in values.to_pylist()], kind)
        found = pa.ListArray.from_arrays(lists.offsets, flat)
        metadata = {**(field.metadata or {}), **(inside.metadata or {})}
        return pa.field(field.name, pa.list_(inside), metadata=metadata), found
    if not pa.types.is_struct(kind):
        return field, values
    if kind.num_fields == 1 and kind.field(0).name in BOXED:
        name = kind.field(0).name
        texts = values.flatten()[0]
        if name == "BIGNUMERIC":
            texts = texts.cast(pa.decimal256(76, 38))
        return pa.field(field.name, texts.type, metadata={TYPE: name}), texts
    parts = [_unbox(*both) for both in zip(kind, values.flatten(), strict=True)]
    found = pa.StructArray.from_arrays(
        [each for _, each in parts], fields=[each for each, _ in parts], mask=values.is_null()
    )
    return pa.field(field.name, found.type, metadata=field.metadata), found


def _number(value: Decimal) -> str:
    """Format a number so that equal numbers are equal texts."""
    digits = f"{value:f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _json(text: str) -> str:
    """Normalize JSON as BigQuery stores it: no space, unordered members, 64-bit or double numbers.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#json_type
    """

    def integer(digits: str) -> int | float:
        number = int(digits)
        return number if -(2**63) <= number < 2**64 else float(number)

    return json.dumps(
        json.loads(text, parse_int=integer),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )


def _geography(text: str) -> str:
    """Format WKT as BigQuery does: without a space before brackets.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/geography_functions#st_astext
    """
    read = "ST_GeomFromGeoJSON" if text.lstrip().startswith("{") else "ST_GeomFromText"
    found = duckdb.execute(f"LOAD spatial; SELECT ST_AsText({read}(?))", [text]).fetchone()
    assert found is not None
    return re.sub(r"(?<!,) \(", "(", str(found[0]))


_CANONICAL: dict[str, Callable[[Any], str]] = {
    "BIGNUMERIC": _number,
    "GEOGRAPHY": _geography,
    "JSON": _json,
}
