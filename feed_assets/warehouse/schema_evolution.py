"""Rules that let `table_*` read all shards: the columns of a shard, and which types widen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import pyarrow as pa

from feed_assets.errors import TableError, TypeConflict, UnsupportedColumn, row_text
from feed_assets.schema.columns import Column, Columns, paths
from feed_assets.schema.datatypes import BY_NAME, DATATYPES, MAX_COLUMNS
from feed_assets.schema.table import Table

WIDER = {each.name: each.widens_to for each in DATATYPES if each.widens_to}
"""Wider types by name: of INTEGER only if no value is beyond 2^53."""
Path = tuple[str, ...]
"""The names down to a field: `("customer", "id")`."""
NO_ORDER = frozenset(each.name for each in DATATYPES if not each.is_comparable) | {"RECORD"}
"""Types whose values cannot be compared."""
NO_KEY = frozenset(each.name for each in DATATYPES if not each.can_be_key) | {"RECORD"}
"""Types that cannot be in a key."""


def merge_schemas(
    table: Table, known: Columns, today: Columns, declared: Collection[str] = ()
) -> Columns:
    """Return the known columns, with wider types if today's rows need them, then the new ones.

    A column whose path in the feed is `declared` takes today's type: this is how an author settles
    a conflict. Raises TypeConflict for a column whose types have no common wider type.
    """
    return _merge_fields(table, known, today, declared, "", "")


def _merge_fields(
    table: Table, known: Columns, today: Columns, declared: Collection[str], path: str, source: str
) -> Columns:
    """Merge the columns of a record: `path` is its stored path and a dot, `source` the feed's."""
    new = {column.name.casefold(): column for column in today}
    merged = []
    for column in known:
        now = new.pop(column.name.casefold(), column)
        here = f"{path}{column.name}", f"{source}{column.source_key}"
        merged.append(_wider(table, column, now, declared, *here))
    return (*merged, *new.values())


def _wider(
    table: Table, known: Column, today: Column, declared: Collection[str], path: str, source: str
) -> Column:
    if source in declared and (known.type, known.repeated) != (today.type, today.repeated):
        return replace(today, name=known.name, key=known.key, long=known.long or today.long)
    if known.type == "STRING" and known.repeated <= today.repeated:
        return known
    if known.repeated == today.repeated:
        if known.type == today.type == "RECORD":
            fields = _merge_fields(
                table, known.fields, today.fields, declared, f"{path}.", f"{source}."
            )
            return replace(known, fields=fields)
        long = known.long or today.long
        if known.type == today.type:
            return replace(known, long=long)
        lost = any(column.long and column.type == "INTEGER" for column in (known, today))
        for narrow, wide in WIDER.items():
            if {known.type, today.type} == {narrow, wide} and not lost:
                return replace(known, type=wide)
    only_declared = known.type in BY_NAME and not BY_NAME[known.type].is_inferred
    declare_as = known.type if only_declared and known.repeated == today.repeated else None
    raise TypeConflict(str(table), path, str(known), str(today), source, declare_as)


def with_new_columns(current: Columns, known: Columns) -> Columns:
    """Return a table's columns unchanged, then the known columns that it lacks."""
    return _migrate(current, known, add=True, widen=False)


def with_wider_types(current: Columns, known: Columns) -> Columns:
    """Return a table's columns, widened to the known types: INTEGER to FLOAT, NUMERIC likewise.

    Other changes of type come from a declaration, and so does FLOAT for integers beyond 2^53. A
    shard takes them when its day is imported again.
    """
    return _migrate(current, known, add=False, widen=True)


def migrated(current: Columns, known: Columns) -> Columns:
    """Return a table's columns with the known types, then the known columns that it lacks."""
    return _migrate(current, known, add=True, widen=True)


def _migrate(current: Columns, known: Columns, *, add: bool, widen: bool) -> Columns:
    rest = {column.name.casefold(): column for column in known}
    columns = []
    for column in current:
        to = rest.pop(column.name.casefold(), column)
        if column.repeated == to.repeated:
            if column.type == to.type == "RECORD":
                fields = _migrate(column.fields, to.fields, add=add, widen=widen)
                column = replace(column, fields=fields)
            elif widen and WIDER.get(column.type) == to.type and not to.long:
                column = replace(column, type=to.type)
        columns.append(column)
    return (*columns, *rest.values()) if add else tuple(columns)


def snapshot_schema(known: Columns, today: Columns, named: Iterable[pa.Field]) -> Columns:
    """Return a snapshot's columns: today's, and known ones that have no value today.

    `named` are the fields of today's feed, those of type null included. Known columns that are
    not among them disappear.
    """
    new = {column.name.casefold(): column for column in today}
    inside = {field.name.casefold(): _fields_in(field.type) for field in named}
    columns = []
    for column in known:
        now = new.pop(column.name.casefold(), None)
        fields = inside.get(column.name.casefold())
        if fields is None and now is None:
            continue
        if column.type == "RECORD" and fields and (now is None or str(now) == str(column)):
            within = snapshot_schema(column.fields, now.fields if now else (), fields)
            now = replace(now or column, fields=within) if within else None
        else:
            now = now or column
        if now:
            columns.append(now)
    return (*columns, *new.values())


def _fields_in(of: pa.DataType) -> Sequence[pa.Field]:
    """Return the fields of a record, or of the records in an array."""
    if pa.types.is_list(of) or pa.types.is_large_list(of):
        of = of.value_type
    return list(of) if pa.types.is_struct(of) else []


def check_column_count(table: Table, known: Columns, columns: Columns) -> None:
    """Raise UnsupportedColumn if new columns make more of them than a table can have."""
    count = sum(1 for _ in paths(columns))
    if count > MAX_COLUMNS and (new := added(known, columns)):
        what = (
            f"{table} would have {count} columns, nested ones included, and a table can have "
            f"{MAX_COLUMNS}"
        )
        way = (
            ". Keys that are data cannot be columns: declare the object that holds them as STRING "
            "(types: {path.of.the.object: STRING})"
        )
        first = row_text(f" (new today: {next(iter(new))[:80]!r})")
        raise UnsupportedColumn(what + first + way)


def added(before: Columns, after: Columns) -> dict[str, Column]:
    """Return the columns and fields of `after` that `before` lacks, by path."""
    had = {path.casefold() for path, _ in paths(before)}
    return {path: column for path, column in paths(after) if path.casefold() not in had}


def changed(before: Columns, after: Columns) -> dict[str, tuple[str, str]]:
    """Return the types before and after of columns and fields whose type changed, by path."""
    had = {path.casefold(): column for path, column in paths(before)}
    return {
        path: (str(old), str(new))
        for path, new in paths(after)
        if (old := had.get(path.casefold()))
        and (old.type, old.repeated) != (new.type, new.repeated)
    }


def key_path(table: Table, columns: Columns, path: str) -> Path:
    """Return the stored names on the path to a part of the key: of a column and of its fields.

    `path` has the feed's names, or else the stored ones. Raises TableError for a path that does
    not exist or cannot be a key.
    """
    return _path(table, columns, path, NO_KEY)


def order_path(table: Table, columns: Columns, path: str) -> Path:
    """Return the path to the column that orders the rows of a key, as `key_path` does."""
    return _path(table, columns, path, NO_ORDER)


def column_at(columns: Columns, path: str) -> tuple[Path, Column] | None:
    """Return the column or field at a path, with its stored names; None if there is none.

    A REPEATED column ends the path.
    """
    found, rest = _descend(columns, path)
    return None if rest else (tuple(column.name for column in found), found[-1])


def _path(table: Table, columns: Columns, path: str, refused: Collection[str]) -> Path:
    found, rest = _descend(columns, path)
    if rest:
        among = found[-1].fields if found else columns
        before = "".join(f"{each.name}." for each in found)
        raise TableError(
            f"{table} has no column {path}, which its latest state needs; it has "
            f"{', '.join(f'{before}{c.name}' for c in among) or before.rstrip('.')}"
        )
    last, names = found[-1], tuple(column.name for column in found)
    if last.repeated or last.type in refused:
        raise TableError(
            f"the latest state of {table} cannot use {path}, because {'.'.join(names)} is {last}; "
            f"name a column or field with one comparable value, or declare its type"
        )
    return names


def _descend(columns: Columns, path: str) -> tuple[list[Column], str]:
    """Return the columns down a path as far as they exist, and the rest of the path."""
    found: list[Column] = []
    rest = path
    while rest and not (found and found[-1].repeated):
        column, after = _step(found[-1].fields if found else columns, rest)
        if column is None:
            return found, rest
        found.append(column)
        rest = after
    return found, ""


def _step(among: Columns, path: str) -> tuple[Column | None, str]:
    """Return the column that a path begins with, and the rest. A key can contain dots."""
    named = [(c, c.source_key) for c in among] + [(c, c.name) for c in among]
    whole = [(column, "") for column, name in named if name == path]
    parts = [(c, path[len(name) + 1 :]) for c, name in named if path.startswith(f"{name}.")]
    return next(iter(whole or parts), (None, path))
