"""The latest state in BigQuery: changed days applied by one script, and the view over it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from os.path import commonprefix  # of any strings
from uuid import uuid4

from google.api_core.exceptions import BadRequest, Conflict
from google.cloud import bigquery

from feed_assets.errors import (
    BEFORE_SHARDS,
    NOT_OUR_LATEST,
    NOT_OUR_VIEW,
    NotOurs,
    WarehouseFailed,
)
from feed_assets.schema.columns import Column, Columns, described
from feed_assets.schema.datatypes import DATATYPES
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Origin
from feed_assets.warehouse.bigquery.alter_tables import alter, describe
from feed_assets.warehouse.bigquery.client import (
    OURS,
    BigQueryClient,
    fields_of,
    kind_of,
    schema_of,
)
from feed_assets.warehouse.bigquery.schema import (
    columns_from,
    fields_for,
    quoted,
    sql_cast,
    sql_null,
    sql_path,
)
from feed_assets.warehouse.latest_state import (
    DAY,
    OLD,
    ROWS,
    LatestUpdate,
    Ledger,
    Rule,
    by_year,
    check_types,
    day_sql,
    type_conflict,
)
from feed_assets.warehouse.schema_evolution import Path, changed, migrated

ROUNDS = 5
"""Attempts while other runs change the latest state, or imports the shards."""
CLUSTERING_COLUMNS = 4
CLUSTERED = {
    "STRING",
    "INTEGER",
    "BOOLEAN",
    "DATE",
    "DATETIME",
    "TIMESTAMP",
    "NUMERIC",
    "BIGNUMERIC",
}
"""Types of top-level columns that a table may be clustered by.

https://cloud.google.com/bigquery/docs/clustered-tables#cluster_column_types
"""
WIDER = {(kind.name, kind.widens_to) for kind in DATATYPES}
OVERTAKEN = "feed_assets: another run has changed the latest state"
LOST = "feed_assets: some keys are to be searched for in other days"
CONFLICTS = (OVERTAKEN, "aborted due to concurrent update", "Could not serialize access")
"""Messages of a transaction that changed nothing because another one was faster.

https://cloud.google.com/bigquery/docs/transactions#transaction_concurrency
"""
LATEST_TABLE = "The newest row of each key of {table}_*. Kept by feed_assets."
LEDGER_TABLE = "The loads of {table}_* that {latest} has. Kept by feed_assets."
DAY_COLUMN = "Day of the shard that the row is from."


@dataclass(frozen=True)
class Shards:
    """Tables that begin like shards, in the order of their creation, and the last load of each."""

    table: Table
    names: Sequence[str]
    loads: Mapping[date, str]

    def newest(self, prefix: str) -> Table:
        """Return the table whose schema a query by that prefix has.

        https://cloud.google.com/bigquery/docs/querying-wildcard-tables#schema_used_for_query_evaluation
        """
        name = next(name for name in reversed(self.names) if name.startswith(prefix))
        return Table(self.table.dataset, name)


@dataclass(frozen=True)
class LatestTable:
    """The table of the latest state of `table`, its ledger, and the statements that change it."""

    client: BigQueryClient
    table: Table
    known: Columns
    rule: Rule
    _columns: dict[Table, Columns] = field(default_factory=dict)

    def update(self, origin: Origin, *, full_refresh: bool) -> LatestUpdate | None:
        """Apply the shards that have changed, until none has. None if there is no shard yet."""
        shards = self._shards()
        if not shards.loads:
            return None
        state = self._prepare(shards, origin, full_refresh=full_refresh)
        basis = f"{self.rule.basis}-{state.created.timestamp():.3f}"
        columns = columns_from(schema_of(state))
        check_types(self.table, columns, self.known)
        total = LatestUpdate(rows=state.num_rows)
        for left in reversed(range(ROUNDS + 1)):
            ledger = self._ledger()
            shards = self._shards()  # before its rows are read: a later load is a change again
            rebuild = full_refresh or ledger.basis != basis
            changes = shards.loads if rebuild else ledger.changes(shards.loads)
            if not left or not (changes or rebuild):
                break
            batch = Changes(self, columns, shards, changes, ledger, basis, rebuild)
            if (applied := batch.apply()) is not None:
                total, full_refresh = _sum(total, applied), False
        if changes and not total.days_applied:
            raise WarehouseFailed(
                f"{self.table.latest} was changed by other runs {ROUNDS} times in a row; "
                f"materialize it again when fewer run at once",
                transient=True,
            )
        return replace(total, days_waiting=len(changes))

    def define_view(self, condition: str, origin: Origin) -> None:
        """Create the view `table`, or replace an old one of ours.

        The comment changes with the known columns, as a view reports the columns it had when its
        query was set: https://cloud.google.com/bigquery/docs/views#view_limitations
        """
        mark = hashlib.sha256(repr(fields_for(self.known)).encode()).hexdigest()[:16]
        query = (
            f"SELECT * EXCEPT ({quoted(DAY)}) FROM {self.sql(self.table.latest)} AS {OLD} "
            f"WHERE {condition} -- of columns {mark}"
        )
        found = self._ours(self.table, "VIEW", NOT_OUR_VIEW)
        view = bigquery.Table(self.client.id(self.table))
        view.view_query, view.labels = query, OURS
        with self.client.translated(f"making the view {self.table}"):
            if found is None:
                view.description = origin.description or None
                self.client.create(view)
            elif found.view_query != query:
                self.client.update(view, ["view_query", "labels"], etag=found.etag)
            if descriptions := described(self.known, origin.columns):
                for target in (self.table.latest, self.table):
                    describe(self.client, target, (), descriptions)

    def sql(self, table: Table) -> str:
        """Name a table in SQL."""
        return quoted(self.client.id(table))

    def columns_of(self, table: Table) -> Columns:
        """Return the columns of a table, looked up once."""
        if table not in self._columns:
            self._columns[table] = self.client.columns(table) or ()
        return self._columns[table]

    def complete(self, newest: Table) -> Columns:
        """Add the known columns to a table, if it lacks some. Return its columns.

        A query of a prefix has no other columns than the newest table with that prefix, though
        older shards may have got more since.
        https://cloud.google.com/bigquery/docs/querying-wildcard-tables#schema_used_for_query_evaluation
        """
        current = self.columns_of(newest)
        wanted = migrated(current, self.known)
        if wanted != current:
            if not newest.is_shard_of(self.table):
                raise NotOurs(BEFORE_SHARDS.format(table=newest, shards=self.table))
            alter(self.client, newest, self.known)
            self._columns[newest] = wanted
        return wanted

    def _prepare(self, shards: Shards, origin: Origin, *, full_refresh: bool) -> bigquery.Table:
        """Return the table with the known columns. Create it and its ledger if they are missing."""
        self._ours(self.table, "VIEW", NOT_OUR_VIEW)
        if self._ours(self.table.ledger, "TABLE", NOT_OUR_LATEST) is None:
            self._create_ledger()
        state = self._ours(self.table.latest, "TABLE", NOT_OUR_LATEST)
        if state is not None:
            current = columns_from(schema_of(state))
            wanted = migrated(current, self.known)
            if full_refresh and changed(wanted, self.known):
                with self.client.translated(f"dropping {self.table.latest}"):
                    self.client.client.delete_table(state, not_found_ok=True)
                state = None
            elif wanted != current:
                alter(self.client, self.table.latest, self.known)
        if state is None:
            self._create(shards, origin)
        with self.client.translated(f"looking at {self.table.latest}"):
            return self.client.get(self.table.latest)

    def _ours(self, table: Table, kind: str, refusal: str) -> bigquery.Table | None:
        found = self.client.find(table)
        if found is None or (found.table_type == kind and OURS.items() <= found.labels.items()):
            return found
        raise NotOurs(refusal.format(table=table, kind=kind_of(found)))

    def _create(self, shards: Shards, origin: Origin) -> None:
        """Create the table of the latest state, protected as the newest shard's columns are."""
        newest = self.client.find(shards.newest(f"{self.table.name}_"))
        protected = schema_of(newest) if newest is not None else ()
        fields = fields_for(self.known, protected, described(self.known, origin.columns))
        day = {"name": DAY, "type": "DATE", "description": DAY_COLUMN}
        made = bigquery.Table(self.client.id(self.table.latest), fields_of([*fields, day]))
        made.description, made.labels = LATEST_TABLE.format(table=self.table), OURS
        if clustering := self._clustering():
            made.clustering_fields = clustering
        self._create_table(made, self.table.latest)

    def _create_ledger(self) -> None:
        ledger = self.table.ledger
        made = bigquery.Table(
            self.client.id(ledger),
            [bigquery.SchemaField("day", "DATE"), bigquery.SchemaField("load", "STRING")],
        )
        made.description = LEDGER_TABLE.format(table=self.table, latest=self.table.latest)
        made.labels = OURS
        self._create_table(made, ledger)

    def _create_table(self, made: bigquery.Table, table: Table) -> None:
        with self.client.translated(f"making {table}"):
            try:
                self.client.create(made)
            except Conflict:  # another run has made it meanwhile
                self._ours(table, "TABLE", NOT_OUR_LATEST)

    def _clustering(self) -> list[str]:
        kinds = {column.name: column for column in self.known}
        names = [path[0] for path in self.rule.keys if len(path) == 1]
        return [name for name in names if kinds[name].type in CLUSTERED][:CLUSTERING_COLUMNS]

    def _ledger(self) -> Ledger:
        query = f"SELECT day, load FROM {self.sql(self.table.ledger)}"
        with self.client.translated(f"reading {self.table.ledger}"):
            return Ledger.read((row["day"], row["load"]) for row in self.client.query(query))

    def _shards(self) -> Shards:
        """List the shards, and what identifies the last load of each, by one query.

        https://cloud.google.com/bigquery/docs/information-schema-tables (and `__TABLES__`, which
        also has the time of the last change and is not billed)
        """
        query = (
            f"SELECT table_id, FORMAT('%d %d %d', creation_time, last_modified_time, row_count) "
            f"AS load FROM `{self.client.project}.{self.table.dataset}.__TABLES__` "
            f"WHERE STARTS_WITH(table_id, '{self.table.name}_') ORDER BY creation_time"
        )
        with self.client.translated(f"listing the shards of {self.table}"):
            found = {row["table_id"]: row["load"] for row in self.client.query(query)}
        shards = {Table(self.table.dataset, name): load for name, load in found.items()}
        loads = {
            shard.day: load
            for shard, load in shards.items()
            if shard.is_shard_of(self.table) and shard.day
        }
        return Shards(self.table, list(found), loads)


@dataclass(frozen=True)
class Changes:
    """Changed days, and the script that applies them in one transaction."""

    to: LatestTable
    columns: Columns
    shards: Shards
    loads: Mapping[date, str]
    ledger: Ledger
    basis: str
    rebuild: bool

    def apply(self) -> LatestUpdate | None:
        """Run the script. None if another run was faster."""
        latest = self.to.table.latest
        with self.to.client.translated(f"updating {latest}"):
            try:
                try:
                    job, rows = self.to.client.script("".join(self.statements(search=False)))
                except BadRequest as failure:
                    if LOST not in str(failure):
                        raise
                    job, rows = self.to.client.script("".join(self.statements(search=True)))
            except BadRequest as failure:
                if any(conflict in str(failure) for conflict in CONFLICTS):
                    return None
                raise
            (row,) = rows
        return LatestUpdate(
            rows=row["total"],
            keys_changed=row["changed"] + row["recomputed"],
            days_applied=len(self.loads),
            keys_recomputed=row["recomputed"],
            rebuilt=self.rebuild,
            figures={"bytes billed": job.total_bytes_billed or 0, "slot ms": job.slot_millis or 0},
        )

    def statements(self, *, search: bool) -> Iterator[str]:
        """Statements: rows into temporary tables, then a transaction. Each ends with a semicolon.

        Without `search`, the script fails if keys are lost: the statements that search for them
        name every year, and are seldom needed.
        """
        rule, state = self.to.rule, self.to.sql(self.to.table.latest)
        ledger = self.to.sql(self.to.table.ledger)
        batches = list(by_year(self.loads))
        for number, days in enumerate(batches):
            yield f"CREATE TEMP TABLE incoming_{number} AS {self._rows(days)};\n"
        yield "BEGIN TRANSACTION;\n"
        yield (
            f"IF (SELECT MAX(load) FROM {ledger} WHERE day IS NULL) IS DISTINCT FROM "
            f"{self._entry(self.ledger)} THEN RAISE USING MESSAGE = '{OVERTAKEN}'; END IF;\n"
        )
        if self.rebuild:
            yield f"DELETE FROM {state} WHERE TRUE;\nDELETE FROM {ledger} WHERE TRUE;\n"
        for number, days in enumerate(batches):
            incoming, lost = f"incoming_{number}", f"lost_{number}"
            if search:
                yield f"CREATE TEMP TABLE {lost} AS {rule.lost(state, incoming, days)};\n"
                yield f"IF EXISTS (SELECT 1 FROM {lost}) THEN\n"
                for others in by_year(self.shards.loads.keys() - set(days)):
                    rows = self._rows(others, rule.is_lost(ROWS, lost))
                    yield f"INSERT INTO {incoming} ({rule.names()}) {rows};\n"
                yield "END IF;\n"
            elif not self.rebuild:
                keys = rule.lost(state, incoming, days)
                yield f"IF EXISTS ({keys}) THEN RAISE USING MESSAGE = '{LOST}'; END IF;\n"
            yield f"{rule.merge(state, incoming, () if self.rebuild else days)};\n"
        among = "".join(f" OR day = {day_sql(day)}" for day in self.loads)
        yield f"DELETE FROM {ledger} WHERE day IS NULL{among};\n"
        entry = self._entry(Ledger(self.basis, uuid4().hex))
        entries = [
            f"(NULL, {entry})",
            *(f"({day_sql(d)}, '{load}')" for d, load in self.loads.items()),
        ]
        yield f"INSERT INTO {ledger} (day, load) VALUES {', '.join(entries)};\n"
        yield "COMMIT TRANSACTION;\n"
        searched = [f"(SELECT COUNT(*) FROM lost_{n})" for n in range(len(batches)) if search]
        applied = ", ".join(map(day_sql, self.loads)) or "NULL"
        yield (
            f"SELECT COUNT(*) AS total, COUNTIF({DAY} IN ({applied})) AS changed, "
            f"{' + '.join(['0', *searched])} AS recomputed FROM {state};\n"
        )

    def _rows(self, days: Sequence[date], join: str = "") -> str:
        """Select the newest row of each key over these days' shards, all of one year."""
        newest = self.shards.newest(f"{self.to.table.name}_{_prefix(days)}")
        shards = f"{self.to.client.id(self.to.table)}_"
        for path, (old, new) in changed(self.to.columns_of(newest), self.columns).items():
            if (old.removeprefix("REPEATED "), new.removeprefix("REPEATED ")) not in WIDER:
                raise type_conflict(self.to.table, path, old, new)
        current = self.to.complete(newest) if len(days) > 1 else self.to.columns_of(newest)
        return row_query(self.to.rule, shards, days, current, self.columns, join)

    @staticmethod
    def _entry(ledger: Ledger) -> str:
        """The entry without a day, in SQL."""
        return "NULL" if ledger.basis is None else f"'{ledger.basis} {ledger.version}'"


def row_query(
    rule: Rule,
    shards: str,
    days: Sequence[date],
    current: Columns,
    wanted: Columns,
    join: str = "",
) -> str:
    """Select the newest row of each key over these days' shards, as the latest state has rows.

    `shards` is the beginning of their names, `current` are the columns that they have, `wanted`
    those of the latest state.
    """
    prefix, day, among, order = _prefix(days), day_sql(days[0]), "TRUE", list[str]()
    if len(days) > 1:
        suffixes = ", ".join(f"'{f'{each:%Y%m%d}'[len(prefix) :]}'" for each in days)
        among, order = f"_TABLE_SUFFIX IN ({suffixes})", ["_TABLE_SUFFIX DESC"]
        day = f"PARSE_DATE('%Y%m%d', CONCAT('{prefix}', _TABLE_SUFFIX))"
    source = quoted(f"{shards}{prefix}{'*' * (len(days) > 1)}")
    return (
        f"SELECT {', '.join(_selected(rule, current, wanted))}, {day} AS {quoted(DAY)} "
        f"FROM {source} AS {ROWS} {join} WHERE {among} "
        f"QUALIFY {rule.newest(ROWS, *order, *_ties(current))}"
    )


def _prefix(days: Sequence[date]) -> str:
    """Return what the names of these days' shards begin with, after the table's name."""
    return commonprefix([f"{day:%Y%m%d}" for day in days])  # noqa: RUF071  (of texts, not of paths)


def _selected(rule: Rule, current: Columns, wanted: Columns) -> Iterator[str]:
    found = {column.name.casefold(): column for column in current}
    to = {column.name.casefold(): column for column in wanted}
    for column in rule.columns:
        name = column.name.casefold()
        have = found.get(name)
        value = (
            sql_cast(f"{ROWS}.{quoted(have.name)}", have, to[name]) if have else sql_null(to[name])
        )
        yield f"{value} AS {quoted(column.name)}"


def _ties(current: Columns) -> Iterator[str]:
    """Order rows of one key, time and day by their values, as BigQuery has no order of rows.

    Each value by itself, so that columns that come later change no order.
    """
    for path, column in _leaves(current):
        value = f"{ROWS}.{sql_path(path)}"
        if column.type == "GEOGRAPHY" and not column.repeated:
            value = f"ST_ASTEXT({value})"
        elif column.repeated or column.type == "JSON":
            value = f"TO_JSON_STRING({value})"
        yield f"{value} DESC"


def _leaves(columns: Columns, path: Path = ()) -> Iterator[tuple[Path, Column]]:
    for column in columns:
        here = (*path, column.name)
        if column.type == "RECORD" and not column.repeated:
            yield from _leaves(column.fields, here)
        else:
            yield here, column


def _sum(one: LatestUpdate, other: LatestUpdate) -> LatestUpdate:
    return replace(
        other,
        keys_changed=one.keys_changed + other.keys_changed,
        days_applied=one.days_applied + other.days_applied,
        keys_recomputed=one.keys_recomputed + other.keys_recomputed,
        rebuilt=one.rebuilt or other.rebuilt,
        figures={
            name: one.figures.get(name, 0) + figure  # type: ignore[operator]
            for name, figure in other.figures.items()
        },
    )
