"""The types of BigQuery's columns: as its API, DDL and Parquet spell them, and in DuckDB."""

import re
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from bqemulator.api.routes.tables import _field_to_rest, _parse_schema_fields
from bqemulator.catalog.models import TableFieldSchema
from bqemulator.domain.errors import DomainError, InvalidQueryError, ValidationError
from bqemulator.storage.sql_identifiers import quoted_table_ref
from bqemulator.storage.type_map import bq_to_duckdb
from sqlglot import exp

from feed_assets_tests.support.bigquery.emulator_boxes import BOXED, as_geographies, box

JSON: TypeAlias = dict[str, Any]
Field: TypeAlias = TableFieldSchema
Fields: TypeAlias = tuple[TableFieldSchema, ...]
Properties: TypeAlias = dict[tuple[str, ...], JSON]
"""Properties of fields that `bqemulator` forgets, such as policy tags, by lower-case path."""

# https://cloud.google.com/bigquery/docs/schemas#column_names
PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
FORBIDDEN_IN_NAMES = re.compile(r'[!"$()*,./;?@\[\\\]^`{}~]')
FORBIDDEN_PREFIXES = (
    "_table_",
    "_file_",
    "_partition",
    "_row_timestamp",
    "__root__",
    "_colidentifier",
    "_change_sequence_number",
    "_change_type",
    "_change_timestamp",
)
# https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#alter_column_set_data_type_statement
COERCIONS = {
    ("INTEGER", "NUMERIC"),
    ("INTEGER", "BIGNUMERIC"),
    ("INTEGER", "FLOAT"),
    ("NUMERIC", "BIGNUMERIC"),
    ("NUMERIC", "FLOAT"),
}
API_TYPES = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}


class PreconditionFailedError(DomainError):
    """The table has changed since the caller read it."""

    http_status: ClassVar[int] = 412
    bq_reason: ClassVar[str] = "conditionNotMet"
    grpc_status_name: ClassVar[str] = "FAILED_PRECONDITION"


class Key(NamedTuple):
    """The full name of a table."""

    project: str
    dataset: str
    table: str

    @property
    def sql(self) -> str:
        """The table in DuckDB."""
        return quoted_table_ref(*self)

    def __str__(self) -> str:
        return f"{self.project}:{self.dataset}.{self.table}"


def fields_of(schema: JSON | None) -> Fields:
    """The fields of a schema in the API's words: INTEGER and not INT64; names checked."""

    def checked(fields: Fields) -> Fields:
        names = [field.name.lower() for field in fields]
        for name in names:
            # Column names are case-insensitive and unique:
            # https://cloud.google.com/bigquery/docs/schemas#column_names
            if names.count(name) > 1:
                raise ValidationError(f"Duplicate field name: {name}")
            # https://cloud.google.com/bigquery/docs/schemas#flexible-column-names
            if FORBIDDEN_IN_NAMES.search(name) or not 0 < len(name) <= 300:
                raise ValidationError(f'Invalid field name "{name}".')
            if name.startswith(FORBIDDEN_PREFIXES):
                raise ValidationError(f'Field name "{name}" has a reserved prefix.')
        for field in fields:
            # https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema
            if len(field.description or "") > 1024:
                raise ValidationError(f"The description of field {field.name} is too long.")
            if (field.type in {"RECORD", "STRUCT"}) != bool(field.fields):
                raise ValidationError(f"Field {field.name} is a RECORD if it has fields.")
        return tuple(
            field.model_copy(
                update={
                    "type": API_TYPES.get(field.type.upper(), field.type.upper()),
                    "fields": checked(field.fields),
                }
            )
            for field in fields
        )

    return checked(_parse_schema_fields((schema or {}).get("fields", [])))


REMEMBERED = {"name", "type", "mode", "fields", "description", "rangeElementType"}


def properties_of(schema: JSON | None, path: tuple[str, ...] = ()) -> Properties:
    """The properties of a schema's fields, nested ones included, that the emulator forgets."""
    found: Properties = {}
    for field in (schema or {}).get("fields", ()):
        here = (*path, field["name"].lower())
        if extra := {name: field[name] for name in field if name not in REMEMBERED}:
            found[here] = extra
        found |= properties_of(field, here)
    return found


def overlay(fields: list[JSON], properties: Properties, path: tuple[str, ...] = ()) -> None:
    """Put the properties back into the fields of an answer."""
    for field in fields:
        here = (*path, field["name"].lower())
        field.update(properties.get(here, {}))
        overlay(field.get("fields", []), properties, here)


def redescribed(fields: Fields, have: Fields) -> Fields:
    """The fields, of which those that a table has keep its descriptions.

    "Keeps the constraints and schema of the existing table":
    https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad
    """
    known = by_name(have)
    return tuple(
        field
        if (old := known.get(field.name.lower())) is None
        else field.model_copy(
            update={
                "description": old.description,
                "fields": redescribed(field.fields, old.fields),
            }
        )
        for field in fields
    )


def field_of_sql(name: str, kind: exp.DataType) -> Field:
    """A column as a DDL statement declares it."""
    if kind.this == exp.DataType.Type.ARRAY:
        item = field_of_sql(name, kind.expressions[0])
        return item.model_copy(update={"mode": "REPEATED"})
    if kind.this == exp.DataType.Type.STRUCT:
        parts = tuple(field_of_sql(part.name, part.args["kind"]) for part in kind.expressions)
        return Field(name=name, type="RECORD", fields=parts)
    sql = kind.sql("bigquery")
    return Field(name=name, type=API_TYPES.get(sql, sql))


def field_of_parquet(field: pa.Field, *, lists: bool) -> Field:
    """A Parquet column as BigQuery reads it.

    https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#parquet_conversions
    """
    kind = field.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        item = field_of_parquet(kind.value_field.with_name(field.name), lists=lists)
        if lists:
            return item.model_copy(update={"mode": "REPEATED"})
        # Without enable_list_inference, a list is a RECORD of a REPEATED `list`:
        # https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#list_logical_type
        return Field(name=field.name, type="RECORD", fields=(Field(name="list", type="RECORD"),))
    if pa.types.is_struct(kind):
        parts = tuple(field_of_parquet(kind.field(i), lists=lists) for i in range(kind.num_fields))
        return Field(name=field.name, type="RECORD", fields=parts)
    return Field(name=field.name, type=scalar_of_parquet(kind))


def scalar_of_parquet(kind: pa.DataType) -> str:
    """BigQuery's type of a Parquet scalar, or the name of what it cannot read."""
    if pa.types.is_dictionary(kind):
        return scalar_of_parquet(kind.value_type)
    if pa.types.is_timestamp(kind) and kind.unit != "ns":
        return "TIMESTAMP" if kind.tz else "DATETIME"
    if pa.types.is_decimal(kind):
        small = kind.scale <= 9 and kind.precision - kind.scale <= 29
        return "NUMERIC" if small else "BIGNUMERIC"
    for matches, name in (
        (pa.types.is_integer, "INTEGER"),
        (pa.types.is_floating, "FLOAT"),
        (pa.types.is_boolean, "BOOLEAN"),
        (pa.types.is_string, "STRING"),
        (pa.types.is_large_string, "STRING"),
        (pa.types.is_binary, "BYTES"),
        (pa.types.is_large_binary, "BYTES"),
        (pa.types.is_date, "DATE"),
        (pa.types.is_time, "TIME"),
    ):
        if matches(kind):
            return name
    return str(kind)


def duckdb_type(field: Field) -> str:
    """The DuckDB type of a column."""
    if field.type == "RECORD":
        parts = ", ".join(f"{quoted(part.name)} {duckdb_type(part)}" for part in field.fields)
        kind = f"STRUCT({parts})"
    else:
        kind = box(field.type) if field.type in BOXED else bq_to_duckdb(field.type)
    return f"{kind}[]" if field.mode == "REPEATED" else kind


def types_in(field: Field) -> set[str]:
    """The types of a column and of the fields in it."""
    return {field.type}.union(*map(types_in, field.fields))


def quoted(name: str) -> str:
    """A name as an identifier of DuckDB."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as a literal of DuckDB."""
    return "'" + text.replace("'", "''") + "'"


def by_name(fields: Fields) -> dict[str, Field]:
    """Fields by their name, whose case does not matter."""
    return {field.name.lower(): field for field in fields}


def difference(have: Fields, want: Fields, path: str = "") -> tuple[str, str, str] | None:
    """The first field whose type is not the wanted one: its path, its type, the wanted type."""
    known = by_name(have)
    for new in want:
        old = known.get(new.name.lower())
        if old is None:
            continue
        here = f"{path}{new.name}"
        if (old.type, old.mode == "REPEATED") != (new.type, new.mode == "REPEATED"):
            names = [f"ARRAY<{f.type}>" if f.mode == "REPEATED" else f.type for f in (old, new)]
            return here, names[0], names[1]
        if inner := difference(old.fields, new.fields, f"{here}."):
            return inner
    return None


def projection(have: Fields, want: Fields) -> str:
    """The select list that reads columns as wanted: by name, NULL where there is none."""
    known = by_name(have)
    columns = []
    for field in want:
        value = read_as(quoted(field.name), known.get(field.name.lower()), field)
        if field.mode == "REPEATED":
            # An array is never NULL in a table:
            # https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#array_nulls
            value = f"coalesce({value}, [])"
        columns.append(f"{value} AS {quoted(field.name)}")
    return ", ".join(columns)


def read_as(value: str, have: Field | None, want: Field, depth: int = 0) -> str:
    """A value of one type, as SQL of another."""
    kind = duckdb_type(want)
    if have is None:
        return f"CAST(NULL AS {kind})"
    if want.type == "BIGNUMERIC" != have.type and want.mode != "REPEATED":
        digits = f"rtrim(rtrim(CAST(CAST({value} AS DECIMAL(38, 9)) AS VARCHAR), '0'), '.')"
        boxed = f'struct_pack("BIGNUMERIC" := {digits})'
        return f"CASE WHEN {value} IS NOT NULL THEN {boxed} END"
    if want.type != "RECORD":
        return f"CAST({value} AS {kind})"
    if want.mode == "REPEATED":
        single = {"mode": "NULLABLE"}
        item = read_as(
            f"x{depth}", have.model_copy(update=single), want.model_copy(update=single), depth + 1
        )
        return f"list_transform({value}, lambda x{depth}: {item})"
    known = by_name(have.fields)
    parts = []
    for part in want.fields:
        old = known.get(part.name.lower())
        inner = f"struct_extract({value}, {literal(old.name if old else part.name)})"
        parts.append(f"{quoted(part.name)} := {read_as(inner, old, part, depth)}")
    return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({', '.join(parts)}) END"


def flexible(field: Field) -> bool:
    """Return whether a column, or a field in it, needs flexible column names."""
    return not PLAIN_NAME.fullmatch(field.name) or any(flexible(part) for part in field.fields)


def without_flexible(fields: Fields) -> Fields:
    """The fields with names that do without flexible column names."""
    plain = []
    for field in fields:
        inside = without_flexible(field.fields)
        if PLAIN_NAME.fullmatch(field.name) and bool(inside) == bool(field.fields):
            plain.append(field.model_copy(update={"fields": inside}))
    return tuple(plain)


def refusal(field: Field, message: str) -> str:
    """A column that may be left out of a query, but not read."""
    error = f"CAST(error({literal(message)}) AS {duckdb_type(field)})"
    return f"CASE WHEN {quoted(field.name)} IS NOT NULL THEN {error} END AS {quoted(field.name)}"


def extended(have: Fields, want: Fields, table: Key, path: str = "") -> Fields:
    """A table's fields after a schema update: none leaves or changes, new ones come last.

    https://cloud.google.com/bigquery/docs/managing-table-schemas#add_an_empty_column
    https://cloud.google.com/bigquery/docs/troubleshoot-schemas
    """
    refused = f"Provided Schema does not match Table {table}. "
    wanted, known = by_name(want), by_name(have)
    result = []
    for old in have:
        new = wanted.get(old.name.lower())
        if new is None:
            raise ValidationError(f"{refused}Field {path}{old.name} is missing in new schema")
        if new.type != old.type:
            raise ValidationError(
                f"{refused}Field {path}{old.name} has changed type from {old.type} to {new.type}"
            )
        if new.mode != old.mode and (old.mode, new.mode) != ("REQUIRED", "NULLABLE"):
            raise ValidationError(
                f"{refused}Field {path}{old.name} has changed mode from {old.mode} to {new.mode}"
            )
        parts = extended(old.fields, new.fields, table, f"{path}{old.name}.")
        result.append(new.model_copy(update={"name": old.name, "fields": parts}))
    news = [field.name.lower() not in known for field in want]
    if news != sorted(news):
        raise PreconditionFailedError(f"Precondition Failed: new columns of {table} come last")
    for new in want:
        if new.name.lower() not in known:
            if new.mode == "REQUIRED":
                raise ValidationError(
                    f"{refused}Cannot add required fields to an existing schema. "
                    f"(field: {path}{new.name})"
                )
            result.append(new)
    return tuple(result)


def widened(have: Field, want: Field) -> Field:
    """A column of a new type, which must be one its type is assignable to; no array's is.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#alter_column_set_data_type_statement
    and, for what the page leaves open, measured against BigQuery by others: a change of an array's
    elements, of a REQUIRED column, or of the number of fields in a STRUCT is refused.
    """
    names = [[part.name.lower() for part in field.fields] for field in (have, want)]
    same = (have.type, have.mode == "REPEATED") == (want.type, want.mode == "REPEATED")
    if names[0] != names[1] or (
        not same
        and ((have.type, want.type) not in COERCIONS or {have.mode, want.mode} != {"NULLABLE"})
    ):
        raise InvalidQueryError(
            f"ALTER TABLE ALTER COLUMN SET DATA TYPE requires that the existing column type "
            f"({have.type}) is assignable to the new type ({want.type})"
        )
    parts = tuple(widened(h, w) for h, w in zip(have.fields, want.fields, strict=True))
    if have.mode == "REPEATED" and parts != have.fields:
        raise InvalidQueryError(f"the fields of the array {have.name} are not assignable")
    return have.model_copy(update={"type": want.type, "fields": parts})


def read_schema(path: Path, *, lists: bool) -> Fields:
    """The columns of a Parquet file."""
    return tuple(field_of_parquet(field, lists=lists) for field in pq.read_schema(path))


def as_schema(fields: Fields) -> JSON:
    """Fields as a schema of the API."""
    return {"fields": [_field_to_rest(field) for field in fields]}


def check_file(have: Fields, want: Fields) -> Fields:
    """A file's columns must be of the types, and among the names, that the job gives."""
    have = as_geographies(have, want)
    if wrong := difference(have, want):
        name, file_type, table_type = wrong
        raise ValidationError(
            f"Error while reading data, error message: Parquet column '{name}' has type "
            f"{file_type} which does not match the target type {table_type}"
        )
    for field in have:
        if field.name.lower() not in by_name(want):
            raise ValidationError(f"no such field: {field.name}")
    return have
