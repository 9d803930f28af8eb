"""Queries and scripts: checked by Google's analyzer, then run; statements that change columns."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pyarrow as pa
import sqlglot
from bqemulator.catalog.models import JobMeta, TableMeta, TableSchema
from bqemulator.domain.errors import (
    AlreadyExistsError,
    InvalidQueryError,
    NotFoundError,
)
from bqemulator.jobs import executor
from bqemulator.row_access.identity import CallerIdentity
from bqemulator.scripting.exceptions import ScriptRaise
from sqlglot import TokenType, exp

from feed_assets_tests.support.bigquery.analyzer import (
    SqlRefused,
    TableMissing,
    check_sql,
    output_fields,
)
from feed_assets_tests.support.bigquery.emulator_types import (
    JSON,
    Key,
    as_schema,
    field_of_sql,
    fields_of,
    literal,
    quoted,
    widened,
)
from feed_assets_tests.support.bigquery.emulator_wildcards import Wildcards, key_of

_LISTING = re.compile(r"`(?P<project>[^`.]+)\.(?P<dataset>[^`.]+)\.__TABLES__`")
_TEMPORARY = re.compile(r"\bCREATE TEMP TABLE (\w+)")
_GEOGRAPHY_TEXT = re.compile(r"ST_ASTEXT\((_table_rows\.[`\w.]+)\)")
"""The text of a column that is a geography; here it is boxed, and is text."""
ANYONE = CallerIdentity(principal="user:test@example.com", is_authenticated=True)


class Queries(Wildcards):
    """Query jobs, views and ALTER TABLE."""

    async def create_view(
        self, key: Key, query: str, body: JSON, known: TableMeta | None = None
    ) -> TableMeta:
        """Make a view; the columns it shows are those its query has now.

        https://cloud.google.com/bigquery/docs/views#view_limitations
        """
        self.check_sql(key.project, query)
        rows = await executor._run_single_sql(
            key.project, f"SELECT * FROM (\n{query}\n) LIMIT 0", None, self.context, caller=ANYONE
        )
        schema = {"fields": executor.build_response_schema(rows.schema)}
        return self.save(
            known or self.new(key, body),
            table_type="VIEW",
            view_query=query,
            schema_=TableSchema(fields=fields_of(schema)),
        )

    def check_sql(self, project: str, sql: str) -> None:
        """Refuse what Google's own analyzer refuses."""

        def columns(name: str) -> list[JSON] | None:
            parts = name.split(".")
            if len(parts) != 3:
                return None
            key = Key(*parts)
            if key.table.endswith("*"):
                shards = self.matching(key)
                meta = max(shards, key=lambda shard: shard.creation_time) if shards else None
            else:
                meta = self.catalog.get_table(*key)
            if meta is None:
                return None
            if meta.view_query is not None:
                return output_fields(meta.view_query, columns, key.project)
            fields: list[JSON] = as_schema(meta.schema_.fields)["fields"]
            return fields

        try:
            check_sql(sql, columns, project)
        except SqlRefused as refused:
            raise InvalidQueryError(str(refused)) from None
        except TableMissing as missing:
            name = str(missing)
            if name.endswith("*"):
                raise InvalidQueryError(f"{name} does not match any table.") from None
            raise NotFoundError(f"Not found: Table {name}") from None

    async def execute_query(
        self, project_id: str, job_id: str, bq_sql: str, *args: Any, **kwargs: Any
    ) -> JobMeta:
        """Run a query job; what changes columns or views is done here."""
        self.check_sql(project_id, bq_sql)
        with self.listings(bq_sql) as sql:
            return await self.execute_checked(project_id, job_id, sql, *args, **kwargs)

    async def execute_checked(
        self, project_id: str, job_id: str, bq_sql: str, *args: Any, **kwargs: Any
    ) -> JobMeta:
        bq_sql = _GEOGRAPHY_TEXT.sub(r"TO_JSON_STRING(\1)", bq_sql)
        try:
            statements = [s for s in sqlglot.parse(bq_sql, read="bigquery") if s is not None]
        except sqlglot.errors.SqlglotError:
            statements = []
        if not any(changes_schema(statement) for statement in statements):
            try:
                job = await executor.execute_query_job(project_id, job_id, bq_sql, *args, **kwargs)
            except ScriptRaise as raised:  # else the emulator reports a failure of its own
                # https://cloud.google.com/bigquery/docs/reference/standard-sql/procedural-language#raise
                raise InvalidQueryError(f"Query error: {raised.message}") from None
            finally:
                # Temporary tables end with their script:
                # https://cloud.google.com/bigquery/docs/multi-statement-queries#temporary_tables
                for name in _TEMPORARY.findall(bq_sql):
                    self.sql(f"DROP TABLE IF EXISTS temp.{quoted(name)}")
            for statement in statements:
                self.touch(project_id, statement)
            return job
        if len(statements) > 1:
            raise InvalidQueryError("not emulated: a script that changes columns or views")
        [statement] = statements
        kind = str(statement.args["kind"]).upper()
        if isinstance(statement, exp.Alter):
            self.alter(project_id, statement)
        elif isinstance(statement, exp.Create):
            await self.create_view_by_sql(project_id, statement, bq_sql)
        else:
            key = key_of(project_id, statement.this)
            if not (statement.args.get("exists") and self.catalog.get_table(*key) is None):
                self.find(key)
                self.catalog.delete_table(*key)
        return executor._build_ddl_job_meta(
            project_id=project_id,
            job_id=job_id,
            bq_sql=bq_sql,
            statement_type=f"{type(statement).__name__.upper()}_{kind}",
            arrow_table=pa.table({}),
            now=datetime.now(UTC),
            ctx=self.context,
        )

    @contextmanager
    def listings(self, sql: str) -> Iterator[str]:
        """Put a table that lists a dataset's tables in the place of each `__TABLES__`.

        Its columns are those that BigQuery's console and client libraries have always shown:
        https://github.com/googleapis/google-cloud-go/issues/1103
        """
        made: list[Key] = []

        def listing(match: re.Match[str]) -> str:
            key = Key(match["project"], match["dataset"], f"listing_{uuid4().hex}")
            tables = self.catalog.list_tables(key.project, key.dataset)
            if not tables:
                raise NotFoundError(f"Not found: Dataset {key.project}:{key.dataset}")
            rows = ", ".join(
                f"({literal(meta.table_id)}, {milliseconds(meta.creation_time)}, "
                f"{milliseconds(meta.last_modified_time)}, {self.count_of(meta)})"
                for meta in tables
            )
            columns = "table_id, creation_time, last_modified_time, row_count"
            self.sql(f"CREATE TABLE {key.sql} AS SELECT * FROM (VALUES {rows}) AS t({columns})")
            made.append(key)
            return f"`{key.project}.{key.dataset}.{key.table}`"

        try:
            yield _LISTING.sub(listing, sql)
        finally:
            for key in made:
                self.sql(f"DROP TABLE {key.sql}")

    def count_of(self, meta: TableMeta) -> str:
        if meta.view_query is not None:
            return "0"
        return f"(SELECT count(*) FROM {Key(meta.project_id, meta.dataset_id, meta.table_id).sql})"

    def touch(self, project: str, statement: exp.Expr) -> None:
        """A table whose rows a statement has changed says so.

        https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#Table.FIELDS.last_modified_time
        """
        if isinstance(statement, exp.Insert | exp.Update | exp.Delete | exp.Merge):
            table = statement.find(exp.Table)
            meta = table and self.catalog.get_table(*key_of(project, table))
            if meta:
                self.save(meta)

    async def create_view_by_sql(self, project: str, statement: exp.Create, sql: str) -> None:
        key = key_of(project, statement.this)
        known = self.catalog.get_table(*key)
        if known and statement.args.get("exists"):
            return
        if known and not statement.args.get("replace"):
            raise AlreadyExistsError(f"Already Exists: Table {key}")
        if known and known.view_query is None:
            raise InvalidQueryError(f"{key} is not a view")
        # CREATE OR REPLACE makes the view anew: without OPTIONS, its description is gone.
        # https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#create_view_statement
        properties = statement.args.get("properties")
        options = options_of(properties.expressions if properties else [])
        query = sql[body_of_view(sql) :].strip().rstrip(";")
        if known:
            options.setdefault("description", None)
        meta = await self.create_view(key, query, options, known)
        self.save(meta, description=options.get("description"))

    def alter(self, project: str, statement: exp.Alter) -> None:
        """Run ALTER TABLE; the catalog knows what it did.

        https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#alter_table_add_column_statement
        """
        key = key_of(project, statement.this)
        meta = self.catalog.get_table(*key)
        if meta is None and statement.args.get("exists"):
            return
        meta = meta or self.find(key)
        fields = list(meta.schema_.fields)
        changes: JSON = {}
        for action in statement.args["actions"]:
            names = {field.name.lower(): at for at, field in enumerate(fields)}
            if isinstance(action, exp.AlterSet):
                changes |= options_of(action.expressions[0].expressions)
                continue
            if isinstance(action, exp.RenameColumn):
                old = names[action.this.name.lower()]
                new_name = action.args["to"].name
                self.sql(
                    f"ALTER TABLE {key.sql} RENAME COLUMN {quoted(fields[old].name)} "
                    f"TO {quoted(new_name)}"
                )
                fields[old] = fields[old].model_copy(update={"name": new_name})
                meta = self.save(meta, schema_=TableSchema(fields=tuple(fields)))
                self.renamed.add(key)
                continue
            at = names.get((action.name or action.this.name).lower())
            if isinstance(action, exp.ColumnDef):
                if at is None:
                    fields.append(field_of_sql(action.name, action.args["kind"]))
                elif not action.args.get("exists"):
                    raise InvalidQueryError(f"Column already exists: {action.name}")
            elif at is None:
                raise InvalidQueryError(f"Column not found: {action.name}")
            elif isinstance(action, exp.AlterColumn) and action.args.get("dtype"):
                new = field_of_sql(fields[at].name, action.args["dtype"])
                fields[at] = widened(fields[at], new)
            elif isinstance(action, exp.Drop):
                del fields[at]
            else:
                raise InvalidQueryError(f"not emulated: {action.sql('bigquery')}")
        self.save(self.reshape(key, meta, tuple(fields)), **changes)


def milliseconds(moment: datetime) -> int:
    """A time as the API has it, in milliseconds since 1970."""
    return round(moment.timestamp() * 1000)


def changes_schema(statement: exp.Expr) -> bool:
    """Return whether a statement changes the columns of a table, or a view."""
    kind = str(statement.args.get("kind")).upper()
    if statement.find(exp.MaterializedProperty):
        return False
    return (isinstance(statement, exp.Alter) and kind == "TABLE") or (
        isinstance(statement, exp.Create | exp.Drop) and kind == "VIEW"
    )


def body_of_view(sql: str) -> int:
    """Find the start of a CREATE VIEW's query: after the AS outside all parentheses."""
    depth = 0
    for token in sqlglot.tokenize(sql, read="bigquery"):
        depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(token.token_type, 0)
        if token.token_type == TokenType.ALIAS and not depth:
            return token.end + 1
    raise InvalidQueryError("a view without a query")


def options_of(properties: list[exp.Expr]) -> JSON:
    """Parse OPTIONS(...), of which only the description is emulated."""
    options = {p.name.lower(): p.args["value"].name for p in properties}
    if unknown := options.keys() - {"description"}:
        raise InvalidQueryError(f"not emulated: OPTIONS {sorted(unknown)}")
    return options
