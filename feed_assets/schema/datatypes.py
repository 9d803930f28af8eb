"""The registry of column types: a new type is one entry here, and its parser in ndjson/datatypes/.

Loading it imports no Arrow, because each feed's declaration reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

MAX_COLUMNS = 10_000
"""In a table, nested ones included. https://cloud.google.com/bigquery/quotas#all_tables"""


def _is_never(pa: Any, kind: Any) -> bool:
    return False


@dataclass(frozen=True)
class DataType:
    """A column type. `make_arrow` and `is_exact_for` take the module pyarrow first."""

    name: str
    """BigQuery's legacy name, as its API and its JSON schemas use it. Each type can be in a RECORD
    and REPEATED: an array may hold any type but an array.
    https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#array_type
    """
    make_arrow: Callable[[Any], Any]
    duckdb: str
    """DuckDB's type. It has no decimal beyond 38 digits, and a geography only by an extension."""
    is_exact_for: Callable[[Any, Any], bool] = _is_never
    """True for the Arrow types whose every value it holds."""
    sql_name: str = ""
    """Name in BigQuery's SQL, which a feed can also declare. Default: `name`."""
    widens_to: str = ""
    """Name of the wider type that holds all its values: INTEGER's only up to 2^53."""
    is_inferred: bool = False
    """True if values without a declaration can have it."""
    is_text: bool = False
    """True if Arrow has no own type for it, but STRING: metadata beside it names the type."""
    is_comparable: bool = True
    """https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#comparable_data_types"""
    can_be_key: bool = True
    """False for FLOAT, too, by which BigQuery does not partition rows.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/window-function-calls#def_window_spec
    """
    can_be_updated_at: bool = True
    """True if a feed can declare it for `updated_at`: a time, or a number or text in its order."""
    has_day: bool = False

    @cached_property
    def arrow(self) -> Any:
        """The Arrow type. Imports pyarrow."""
        import pyarrow as pa

        return self.make_arrow(pa)

    @cached_property
    def sql(self) -> str:
        """The name in BigQuery's SQL."""
        return self.sql_name or self.name

    @cached_property
    def is_text_in_duckdb(self) -> bool:
        """True if DuckDB exchanges it as text, and the column's comment names the type."""
        return self.name != "STRING" and self.duckdb in ("VARCHAR", "JSON")

    def holds(self, arrow_type: Any) -> bool:
        """Return whether the type holds every value of an Arrow type exactly."""
        import pyarrow as pa

        return self.is_exact_for(pa, arrow_type)


def _is_string(pa: Any, kind: Any) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_binary(pa: Any, kind: Any) -> bool:
    types = pa.types
    sized = types.is_binary(kind) or types.is_fixed_size_binary(kind)
    return bool(sized or types.is_large_binary(kind) or types.is_binary_view(kind))


def _is_decimal(digits: int, scale: int) -> Callable[[Any, Any], bool]:
    return lambda pa, kind: bool(
        pa.types.is_decimal(kind) and kind.scale <= scale and kind.precision - kind.scale <= digits
    )


DATATYPES = (
    DataType("STRING", lambda pa: pa.string(), "VARCHAR", _is_string, is_inferred=True),
    DataType(
        "INTEGER",
        lambda pa: pa.int64(),
        "BIGINT",
        lambda pa, kind: pa.types.is_integer(kind) and kind != pa.uint64(),
        sql_name="INT64",
        widens_to="FLOAT",
        is_inferred=True,
    ),
    DataType(
        "FLOAT",
        lambda pa: pa.float64(),
        "DOUBLE",
        lambda pa, kind: pa.types.is_floating(kind),
        sql_name="FLOAT64",
        is_inferred=True,
        can_be_key=False,
    ),
    DataType(
        "BOOLEAN",
        lambda pa: pa.bool_(),
        "BOOLEAN",
        lambda pa, kind: pa.types.is_boolean(kind),
        sql_name="BOOL",
        is_inferred=True,
        can_be_updated_at=False,
    ),
    DataType(
        "DATETIME",
        lambda pa: pa.timestamp("us"),
        "TIMESTAMP",
        lambda pa, kind: pa.types.is_timestamp(kind) and kind.tz is None,
        is_inferred=True,
        has_day=True,
    ),
    DataType(
        "TIMESTAMP",
        lambda pa: pa.timestamp("us", "UTC"),
        "TIMESTAMP WITH TIME ZONE",
        lambda pa, kind: pa.types.is_timestamp(kind) and kind.tz is not None,
        is_inferred=True,
        has_day=True,
    ),
    DataType(
        "NUMERIC",
        lambda pa: pa.decimal128(38, 9),
        "DECIMAL(38, 9)",
        _is_decimal(29, 9),
        widens_to="BIGNUMERIC",
    ),
    DataType(
        "BIGNUMERIC",
        # BigQuery allows part of a 39th digit before the point, Arrow does not.
        lambda pa: pa.decimal256(76, 38),
        "VARCHAR",
        _is_decimal(38, 38),
        can_be_updated_at=False,
    ),
    DataType(
        "DATE",
        lambda pa: pa.date32(),
        "DATE",
        lambda pa, kind: pa.types.is_date(kind),
        has_day=True,
    ),
    DataType("TIME", lambda pa: pa.time64("us"), "TIME", lambda pa, kind: pa.types.is_time(kind)),
    DataType("BYTES", lambda pa: pa.binary(), "BLOB", _is_binary, can_be_updated_at=False),
    DataType(
        "JSON",
        lambda pa: pa.string(),
        "JSON",
        is_text=True,
        is_comparable=False,
        can_be_key=False,
        can_be_updated_at=False,
    ),
    DataType(
        "GEOGRAPHY",
        lambda pa: pa.string(),
        "VARCHAR",
        is_text=True,
        is_comparable=False,
        can_be_key=False,
        can_be_updated_at=False,
    ),
)
BY_NAME = {each.name: each for each in DATATYPES}
_BY_ANY_NAME = BY_NAME | {each.sql: each for each in DATATYPES}


def find_datatype(name: str) -> DataType | None:
    """Return the type with a legacy or SQL name, in any case; None if there is none."""
    return _BY_ANY_NAME.get(name.strip().upper())


def is_text(name: str) -> bool:
    """Return whether the type named is JSON or GEOGRAPHY, which Arrow stores as strings."""
    return name in BY_NAME and BY_NAME[name].is_text


def type_schema() -> dict[str, Any]:
    """Return the JSON schema of a type's name: names for an editor to propose, in any case."""
    names = (*BY_NAME, *(each.sql for each in DATATYPES if each.sql != each.name))
    any_case = "|".join("".join(f"[{a}{a.lower()}]" for a in name) for name in names)
    return {"anyOf": [{"enum": list(names)}, {"type": "string", "pattern": rf"^({any_case})$"}]}


def parents(path: str) -> Iterator[str]:
    """Yield the paths that a dotted path may lie in: `a` and `a.b` for `a.b.c`."""
    return (path[:at] for at, character in enumerate(path) if character == ".")
