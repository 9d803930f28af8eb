"""Which rows an erasure deletes, as conditions in SQL for both warehouses."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation

from feed_assets.errors import SettingError
from feed_assets.schema.columns import Column, Columns
from feed_assets.warehouse.schema_evolution import Path, column_at

_PARSERS: dict[str, Callable[[str], object]] = {
    "STRING": str,
    "INTEGER": int,
    "FLOAT": float,
    "NUMERIC": Decimal,
    "BIGNUMERIC": Decimal,
    "BOOLEAN": {"true": True, "false": False}.__getitem__,
    "DATE": date.fromisoformat,
    "DATETIME": datetime.fromisoformat,
    "TIMESTAMP": datetime.fromisoformat,
    "TIME": time.fromisoformat,
}
"""Types whose values can be given as text, and what rejects other texts."""


@dataclass(frozen=True)
class Dialect:
    """SQL of a warehouse: quotes names and texts, and names types; `contains` has two places."""

    name: Callable[[str], str]
    text: Callable[[str], str]
    type: Callable[[Column], str]
    contains: str
    string: str

    def at(self, path: Path) -> str:
        """Name the field at a path."""
        column, *fields = map(self.name, path)
        return ".".join([f"({column})", *fields])

    def as_text(self, path: Path) -> str:
        """Write the value at a path as text."""
        return f"CAST({self.at(path)} AS {self.string})"


@dataclass(frozen=True)
class Equals:
    """Rows that have the value at each path, given as text and compared in the column's type."""

    values: tuple[tuple[str, str], ...]

    def sql(self, columns: Columns, dialect: Dialect) -> str | None:
        """Build the condition; None for a table without one of the columns, so without such rows.

        Raises SettingError for a text that is not a value of the column's type.
        """
        parts = []
        for path, text in self.values:
            if (found := column_at(columns, path)) is None:
                return None
            names, column = found
            literal = dialect.text(_checked(path, text, column))
            parts.append(f"{dialect.at(names)} = CAST({literal} AS {dialect.type(column)})")
        return f"COALESCE({' AND '.join(parts)}, FALSE)"


@dataclass(frozen=True)
class Keys:
    """Rows of keys, each a list of texts, except rows that `but` matches."""

    paths: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    but: Equals

    def sql(self, columns: Columns, dialect: Dialect) -> str | None:
        """Build the condition; None for a table without the key, or for no keys."""
        names = key_names(columns, self.paths)
        if names is None or not self.keys:
            return None
        each = " OR ".join(
            "({})".format(
                " AND ".join(
                    f"{dialect.as_text(path)} = {dialect.text(text)}"
                    for path, text in zip(names, key, strict=True)
                )
            )
            for key in self.keys
        )
        but = self.but.sql(columns, dialect)
        return f"COALESCE({each}, FALSE){f' AND NOT {but}' if but else ''}"


@dataclass(frozen=True)
class Contains:
    """Rejected lines whose text has every value, plain or as JSON escapes it. Without any: all."""

    values: tuple[str, ...]

    def sql(self, columns: Columns, dialect: Dialect) -> str | None:
        """Build the condition on the column `text`."""
        column = dialect.at(("text",))
        parts = [
            " OR ".join(
                dialect.contains.format(column, dialect.text(form)) for form in _forms(each)
            )
            for each in self.values
        ]
        return " AND ".join(f"COALESCE({part}, FALSE)" for part in parts) or "TRUE"


Condition = Equals | Keys | Contains


def key_names(columns: Columns, paths: Sequence[str]) -> list[Path] | None:
    """Return the stored names of the parts of a key; None if one is missing."""
    found = [column_at(columns, path) for path in paths]
    return [each[0] for each in found if each] if all(found) else None


def with_stored_names(columns: Columns, equals: Equals, table: object) -> Equals:
    """Return the condition with the names that shards have, which do not know the feed's.

    Raises SettingError for a column that is not among the `columns`, or has no single value.
    """
    values = []
    for path, text in equals.values:
        found = column_at(columns, path)
        if found is None:
            known = ", ".join(column.name for column in columns) or "none yet"
            raise SettingError(f"{table} has no column {path}; its columns are {known}")
        _checked(path, text, found[1])
        values.append((".".join(found[0]), text))
    return Equals(tuple(values))


def _checked(path: str, text: str, column: Column) -> str:
    """Return the text of a value as the column has it."""
    parse = None if column.repeated else _PARSERS.get(column.type)
    if parse is None:
        raise SettingError(
            f"{path} is {column}, which has no single value to compare; name another column"
        )
    try:
        value = parse(text)
    except (ValueError, KeyError, InvalidOperation):
        raise SettingError(
            f"the value given for {path} is not {column.type}; write it as the table has it"
        ) from None
    if isinstance(value, Decimal) and column.type == "BIGNUMERIC":  # DuckDB has it as digits
        plain = f"{value:f}"
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    return text


def _forms(text: str) -> list[str]:
    """Return the ways to write a text in JSON."""
    escaped = (json.dumps(text, ensure_ascii=each)[1:-1] for each in (False, True))
    return list(dict.fromkeys([text, *escaped]))
