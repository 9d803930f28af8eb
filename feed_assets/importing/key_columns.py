"""Check the columns declared as `key` and `updated_at`, before any table is changed."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from feed_assets import ndjson
from feed_assets.config.feed import Feed
from feed_assets.errors import ContentError, TypeConflict, row_text
from feed_assets.importing.advice import TIMES, advise, flow_of, null_values_of
from feed_assets.schema.columns import Column, Columns, columns_of, with_text_types
from feed_assets.warehouse.schema_evolution import NO_ORDER, Path, column_at

ISO = "have the feed send ISO 8601 (2020-01-31T10:00:00Z), all with a UTC offset or all without"
_ORDERED = (*TIMES, "INTEGER", "NUMERIC")
"""Types that give text an order by time or number."""
_TIME_KINDS = (ndjson.ValueKind.DATETIME, ndjson.ValueKind.TIMESTAMP)
_NAMED = 5  # columns in a message
_QUOTED = 40  # characters of a value in a message


def check_key_columns(feed: Feed, url: str, reading: ndjson.Reading, known: Columns) -> None:
    """Raise ContentError or TypeConflict if key or updated_at cannot identify or order rows.

    `known` are the columns of the shards so far. A feed without rows is valid.
    """
    if not reading.rows:
        return
    observed = reading.columns
    order = (feed.updated_at,) if feed.updated_at else ()
    for path in (*feed.key, *order):
        if _observed(observed, path) is None:
            role = "key" if path in feed.key else "updated_at"
            raise ContentError(
                f"{url} has {reading.rows} rows and no {path} in them, which is declared as "
                f"{role}; it has {_listed([each.key for each in observed if _is_named(each)])}. "
                f"Look at what the server answered: it may be an error. If the feed has another "
                f"name for it now, correct {role} in its YAML"
            )
    rows = pa.Table.from_arrays(reading.table.columns, schema=reading.schema)
    today = columns_of(with_text_types(rows, reading.types).schema)
    in_feed = feed.selection.original
    for path in map(in_feed, feed.key) if feed.partition_by_date else ():
        if found := column_at(today, feed.in_table(path)):
            _check_key(feed, path, *found, reading, known)
    for path in map(in_feed, order) if feed.has_latest else ():
        if (found := column_at(today, feed.in_table(path))) and (
            column := _observed(observed, path)
        ):
            _check_order(feed, path, *found, column, reading, known)


def _check_key(
    feed: Feed, path: str, names: Path, now: Column, reading: ndjson.Reading, known: Columns
) -> None:
    """Reject types that cannot be a key, such as FLOAT, by which BigQuery cannot partition."""
    before = column_at(known, feed.in_table(path))
    was = before[1] if before and not before[1].repeated else None
    if now.repeated or now.type in NO_ORDER:
        raise ContentError(
            f"{path} is in the key and is {now} in the feed, which cannot be a key; name a column "
            f"or field that has one value to compare, or declare its type"
        )
    if now.type == "FLOAT":
        values = texts_at(reading.table, names).to_pylist()
        if all(ndjson.is_valid("INTEGER", value) for value in values):
            way = _declare(path, "INTEGER", backfill=was is not None and was.type != "INTEGER")
        else:
            way = (
                f"have the feed send it as text, or {_declare(path, 'STRING', backfill=bool(was))}"
            )
        if was and was.type == "INTEGER":
            conflict = TypeConflict(str(feed.destination), ".".join(names), str(was), "FLOAT", path)
            conflict.unit = reading.unit
            conflict.line = reading.first_conflicting_line(conflict.column, pa.int64())
            conflict.way_out = (
                f"It is in the key, which never becomes FLOAT: {way}, or fix the feed"
            )
            raise conflict
        raise ContentError(
            f"{path} is in the key and is FLOAT in the feed, which cannot be a key, as BigQuery "
            f"does not partition by it; {way}"
        )
    if was and was.type == "FLOAT" and now.type == "INTEGER" and path not in feed.types:
        raise ContentError(
            f"{path} is in the key and is FLOAT in the shards of {feed.destination} so far, which "
            f"cannot be a key; {_declare(path, 'INTEGER', backfill=True)}"
        )


def _check_order(
    feed: Feed,
    path: str,
    names: Path,
    now: Column,
    observed: ndjson.Column,
    reading: ndjson.Reading,
    known: Columns,
) -> None:
    """Reject types without an order by time, such as text, unless it is declared as STRING."""
    if now.repeated or now.type in NO_ORDER:
        raise ContentError(
            f"{path} is updated_at and is {now} in the feed, which has no order; name a column or "
            f"field that has one value to compare, or declare its type"
        )
    if now.type != "STRING" or observed.declared is not None:
        return
    texts = texts_at(reading.table, names).to_pylist()
    lines, where, value = observed.observed.kinds, "", ""
    if others := [line for kind, line in lines.items() if kind not in _TIME_KINDS]:
        odd = next(text for text in texts if not any(ndjson.is_valid(name, text) for name in TIMES))
        where, value = f" ({reading.unit} {min(others)}", f": {_quoted(odd)}"
    elif len(lines) == len(_TIME_KINDS):
        naive, zoned = (lines[kind] for kind in _TIME_KINDS)
        where = f" ({reading.unit} {naive} has no UTC offset, {reading.unit} {zoned} has one"
    before = column_at(known, feed.in_table(path))
    was_text = before is not None and before[1].type == "STRING"
    way = declaration(feed, path, texts, _ORDERED, backfill=was_text) or (
        f"{ISO}, or take updated_at out of the feed's YAML. If the text does sort by time, say so: "
        f"types: {{{path}: STRING}}"
    )
    what = f"{path} is updated_at and is text{where}"
    why = ", so the latest state would follow the order of its characters and not of time"
    raise ContentError(what + row_text(value) + ")" * bool(where) + f"{why}; {way}")


def declaration(
    feed: Feed, path: str, texts: Collection[str], types: Sequence[str], *, backfill: bool = False
) -> str | None:
    """Return advice to declare the first of `types` that all texts fit, if any."""
    found = advise(texts, types)
    if found is None:
        return None
    missing = sorted({*found.null_values} - {*feed.null_values})
    values = null_values_of([*feed.null_values, *missing])
    reads = f"which reads {', '.join(map(json.dumps, missing))} as null"
    declared = found.declared
    if declared is None:  # the shards so far have text, so inference alone would keep it
        ways = [name for name in types if advise(texts, [name]) == found]
        if not backfill or not ways:
            return f"set {values} in the feed's YAML, {reads}"
        declared = ways[0]
    also = f" and {values}, {reads}" if missing else ""
    if found.other:
        also += f"; {flow_of(found.other)} fits all values as well, so ask which one is right"
    return _declare(path, flow_of(declared), also, backfill=backfill)


def _declare(path: str, kind: str, also: str = "", *, backfill: bool) -> str:
    after = " and backfill the days before" if backfill else ""
    return f"declare its type in the feed's YAML (types: {{{path}: {kind}}}){also}{after}"


def texts_at(rows: pa.Table, names: Path) -> pa.Array:
    """Return the distinct values of a column or field as text, without null."""
    values = rows.column(names[0])
    for name in names[1:]:
        values = pc.struct_field(values, name)
    return pc.drop_null(pc.unique(values.cast(pa.string())))


def _observed(among: Sequence[ndjson.Column], path: str) -> ndjson.Column | None:
    """Find the column at a path, by the feed's keys or the stored names.

    For a path through a record without values, return the record.
    """
    named = [each for each in among if _is_named(each)]
    for column in named:
        if path in (column.key, column.name):
            return column
    for column in named:
        for name in dict.fromkeys((column.key, column.name)):
            if path.startswith(f"{name}."):
                if column.type is None and not any(map(_is_named, column.fields)):
                    return column
                if inside := _observed(column.fields, path[len(name) + 1 :]):
                    return inside
    return None


def _is_named(column: ndjson.Column) -> bool:
    """Return True if a row has the key; a declared column may have none."""
    return column.observed.first is not None


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(
        json.dumps(each[:_QUOTED], ensure_ascii=False)[1:-1] for each in names[:_NAMED]
    )
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{shown}{more}" if names else "no column"


def _quoted(text: str) -> str:
    return json.dumps(text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…", ensure_ascii=False)
