"""Convert between DataFrames and Arrow tables, without a loss of types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from feed_assets import ndjson
from feed_assets.errors import UnsupportedColumn, row_text
from feed_assets.importing.object_columns import check_all, check_mixtures
from feed_assets.schema.columns import Column, columns_of, text_types, with_text_types
from feed_assets.schema.datatypes import is_text


def to_frame(rows: pa.Table) -> pd.DataFrame:
    """Return the rows as an Arrow-backed DataFrame; `attrs["types"]` names JSON and GEOGRAPHY.

    A pandas column has no place for these types, and pandas cannot display Arrow's own type.
    """
    frame: pd.DataFrame = rows.to_pandas(types_mapper=pd.ArrowDtype)
    if types := text_types(columns_of(rows.schema)):
        frame.attrs["types"] = types
    return frame


def to_arrow(frame: pd.DataFrame, schema: pa.Schema | None = None) -> pa.Table:
    """Return the rows of a DataFrame; Arrow-backed columns are not copied.

    `schema` is that of the rows that became the DataFrame by `to_frame`. Without it,
    `attrs["types"]` maps a path to JSON or GEOGRAPHY, and the text there is validated. Raises
    UnsupportedColumn for a named index, a column with values of several types, or invalid text.
    """
    if any(name is not None for name in frame.index.names):
        raise UnsupportedColumn(
            f"the DataFrame's index {', '.join(map(str, frame.index.names))} would be lost; call "
            f"reset_index() to keep it as columns"
        )
    if schema is None:
        check_mixtures(frame)
    try:
        rows = pa.Table.from_pandas(frame, preserve_index=False)
        for place, column in enumerate(rows.columns):
            if pa.types.is_dictionary(column.type):
                plain = column.cast(column.type.value_type)  # exact: the values themselves
                rows = rows.set_column(place, rows.column_names[place], plain)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as failure:
        check_all(frame)
        reasons = [str(each).encode("ascii", "backslashreplace").decode() for each in failure.args]
        value = f"{reasons.pop(0)}; " if len(reasons) > 1 else ""  # the last names the column
        raise UnsupportedColumn(
            "the DataFrame cannot be stored ("
            + row_text(value)
            + f"{'; '.join(reasons)}); give each column a unique name and values of one type"
        ) from None
    if rows.num_rows != len(frame):
        raise UnsupportedColumn(f"the DataFrame has {len(frame)} rows and no columns to store")
    if schema is not None:
        return pa.Table.from_arrays(rows.columns, schema=schema)
    types = frame.attrs.get("types", {})
    if not isinstance(types, Mapping):
        raise UnsupportedColumn(
            f'the DataFrame\'s attrs["types"] is {types!r}; it must map paths to JSON or '
            f'GEOGRAPHY: {{"payload": "JSON"}}'
        )
    rows = with_text_types(rows, types)
    for column in columns_of(rows.schema):
        if text_types((column,)):
            _check_texts(enumerate(rows.column(column.name).to_pylist()), column, column.name)
    return rows


def _check_texts(values: Iterable[tuple[int, Any]], column: Column, path: str) -> None:
    """Check values, each with the number of its row."""
    found = [(row, value) for row, value in values if value is not None]
    if column.repeated:
        found = [(row, each) for row, value in found for each in value if each is not None]
    if column.type == "RECORD":
        for field in column.fields:
            inside = ((row, value[field.name]) for row, value in found)
            _check_texts(inside, field, f"{path}.{field.name}")
        return
    for row, value in found if is_text(column.type) else ():
        if not ndjson.is_valid(column.type, value):
            raise UnsupportedColumn(
                f"column {path} has a text in row {row} (counted from 0) that is not valid "
                f"{column.type}; correct it, or take the column out of the DataFrame's "
                f'attrs["types"]'
            )
