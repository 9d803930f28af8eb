"""The rules by which shards keep answering as one: the columns of a shard, and what may widen."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from feed_assets.errors import TableError, TypeConflict
from feed_assets.tables import Table
from feed_assets.warehouse.columns import Column, Columns, paths

_WIDER = {"INTEGER": "FLOAT", "NUMERIC": "BIGNUMERIC"}
"""What a type may become: INTEGER only where no value is beyond 2^53."""
Path = tuple[str, ...]
"""The names down to a field: `("customer", "id")`."""
INCOMPARABLE = frozenset({"RECORD", "JSON", "GEOGRAPHY"})


def union(table: Table, known: Columns, today: Columns, declared: Collection[str] = ()) -> Columns:
    """The known columns in their order, widened where today's need it, then today's new ones.

    A column whose path as sent is `declared` is of today's type, whatever it was before: that is
    how its user settles a conflict. Raises TypeConflict where a column can be neither what it was
    nor widened to what it is.
    """
    return _union(table, known, today, declared, "", "")


def _union(
    table: Table, known: Columns, today: Columns, declared: Collection[str], path: str, sent: str
) -> Columns:
    """`path` is that of the record they are in, with its dot, and `sent` the same as sent."""
    new = {column.name.casefold(): column for column in today}
    kept = []
    for column in known:
        now = new.pop(column.name.casefold(), column)
        here = f"{path}{column.name}", f"{sent}{column.sent}"
        kept.append(_wider(table, column, now, declared, *here))
    return (*kept, *new.values())


def _wider(
    table: Table, known: Column, today: Column, declared: Collection[str], path: str, sent: str
) -> Column:
    if sent in declared and (known.type, known.repeated) != (today.type, today.repeated):
        return replace(today, name=known.name, key=known.key, long=known.long or today.long)
    if known.type == "STRING" and known.repeated <= today.repeated:
        return known
    if known.repeated == today.repeated:
        if known.type == today.type == "RECORD":
            fields = _union(table, known.fields, today.fields, declared, f"{path}.", f"{sent}.")
            return replace(known, fields=fields)
        long = known.long or today.long
        if known.type == today.type:
            return replace(known, long=long)
        lost = any(column.long and column.type == "INTEGER" for column in (known, today))
        for narrow, wide in _WIDER.items():
            if {known.type, today.type} == {narrow, wide} and not lost:
                return replace(known, type=wide)
    raise TypeConflict(str(table), path, str(known), str(today), declare=sent)


def extended(held: Columns, known: Columns) -> Columns:
    """The columns that a table holds, as they are, then those known that it lacks."""
    return _followed(held, known, add=True, widen=False)


def widened(held: Columns, known: Columns) -> Columns:
    """The columns that a table holds, INTEGER where FLOAT is known made FLOAT, and so NUMERIC.

    No other type follows what is known, nor do integers that no FLOAT holds: the type was declared
    then, and a shard takes it when its day is imported again.
    """
    return _followed(held, known, add=False, widen=True)


def following(held: Columns, known: Columns) -> Columns:
    """The columns that a table holds, brought to what is known: extended and widened."""
    return _followed(held, known, add=True, widen=True)


def _followed(held: Columns, known: Columns, *, add: bool, widen: bool) -> Columns:
    rest = {column.name.casefold(): column for column in known}
    kept = []
    for column in held:
        to = rest.pop(column.name.casefold(), column)
        if column.repeated == to.repeated:
            if column.type == to.type == "RECORD":
                fields = _followed(column.fields, to.fields, add=add, widen=widen)
                column = replace(column, fields=fields)
            elif widen and _WIDER.get(column.type) == to.type and not to.long:
                column = replace(column, type=to.type)
        kept.append(column)
    return (*kept, *rest.values()) if add else tuple(kept)


def latest_wins(known: Columns, today: Columns) -> Columns:
    """A snapshot's columns: today's types; a known column without a value today keeps its type."""
    new = {column.name.casefold(): column for column in today}
    kept = [new.pop(column.name.casefold(), column) for column in known]
    return (*kept, *new.values())


def added(before: Columns, after: Columns) -> dict[str, Column]:
    """The columns and fields of `after` that `before` does not have, by path."""
    had = {path.casefold() for path, _ in paths(before)}
    return {path: column for path, column in paths(after) if path.casefold() not in had}


def changed(before: Columns, after: Columns) -> dict[str, tuple[str, str]]:
    """The columns and fields whose type is another: path -> (type before, type after)."""
    had = {path.casefold(): column for path, column in paths(before)}
    return {
        path: (str(old), str(new))
        for path, new in paths(after)
        if (old := had.get(path.casefold()))
        and (old.type, old.repeated) != (new.type, new.repeated)
    }


def key_path(table: Table, columns: Columns, path: str) -> Path:
    """Where to find a part of the key: the names of a column and of its fields, as stored.

    `path` has them as the feed sends them, or else as they are stored.

    Raises TableError where nothing is there, or what cannot be a key. In BigQuery, rows are not
    partitioned by floating point numbers.
    https://cloud.google.com/bigquery/docs/reference/standard-sql/window-function-calls#def_window_spec
    """
    return _path(table, columns, path, INCOMPARABLE | {"FLOAT"})


def order_path(table: Table, columns: Columns, path: str) -> Path:
    """Where to find what tells which row is newest, as `key_path` does."""
    return _path(table, columns, path, INCOMPARABLE)


def _path(table: Table, columns: Columns, path: str, refused: Collection[str]) -> Path:
    found: list[Column] = []
    rest = path
    while rest:
        among = found[-1].fields if found else columns
        column, rest = _step(among, rest)
        if column is None:
            before = "".join(f"{each.name}." for each in found)
            raise TableError(
                f"{table} has no column {path}, which its latest state is made by; it has "
                f"{', '.join(f'{before}{c.name}' for c in among) or before.rstrip('.')}"
            )
        found.append(column)
        if column.repeated:
            break
    last, names = found[-1], tuple(column.name for column in found)
    if last.repeated or last.type in refused:
        raise TableError(
            f"the latest state of {table} cannot be made by {path}, as {'.'.join(names)} is "
            f"{last}; name a column or field that has one value to compare, or declare its type"
        )
    return names


def _step(among: Columns, path: str) -> tuple[Column | None, str]:
    """The column that a path begins with, and the rest of the path. A key may have dots itself."""
    named = [(c, c.sent) for c in among] + [(c, c.name) for c in among]
    whole = [(column, "") for column, name in named if name == path]
    parts = [(c, path[len(name) + 1 :]) for c, name in named if path.startswith(f"{name}.")]
    return next(iter(whole or parts), (None, path))
