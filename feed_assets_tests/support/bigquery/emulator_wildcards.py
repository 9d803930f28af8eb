"""Wildcard tables as BigQuery reads them: `prefix_*` has the columns of the newest shard."""

import sqlglot
from bqemulator.catalog.models import TableMeta
from bqemulator.domain.errors import (
    InvalidQueryError,
)
from sqlglot import exp

from feed_assets_tests.support.bigquery.emulator_catalog import ENCRYPTION, Catalog
from feed_assets_tests.support.bigquery.emulator_types import (
    JSON,
    Key,
    by_name,
    difference,
    flexible,
    literal,
    projection,
    refusal,
)


class Wildcards(Catalog):
    """Queries of wildcard tables."""

    def expand_wildcards(self, sql: str, project: str, _catalog: object) -> str:
        """Put a view of DuckDB under each wildcard table that a query names.

        https://cloud.google.com/bigquery/docs/querying-wildcard-tables
        """
        if "*`" not in sql:
            return sql
        try:
            tree = sqlglot.parse_one(sql, read="bigquery")
        except sqlglot.errors.SqlglotError as problem:
            raise InvalidQueryError(f"Syntax error: {problem}") from problem
        for table in tree.find_all(exp.Table):
            if not table.name.endswith("*"):
                continue
            self.make_wildcard(key_of(project, table))
            select = table.find_ancestor(exp.Select)
            for star in select.expressions if select else []:
                # A pseudo-column is not a part of `*`.
                if isinstance(star, exp.Column) and isinstance(star.this, exp.Star):
                    if star.table == table.alias_or_name:
                        hide_suffix(star.this)
                elif isinstance(star, exp.Star):
                    hide_suffix(star)
        return tree.sql("bigquery")

    def matching(self, wildcard: Key) -> list[TableMeta]:
        prefix = wildcard.table[:-1]
        return [
            meta
            for meta in self.catalog.list_tables(wildcard.project, wildcard.dataset)
            if meta.table_id.startswith(prefix) and meta.table_id != prefix
        ]

    def tags(self, shard: TableMeta) -> JSON:
        key = Key(shard.project_id, shard.dataset_id, shard.table_id)
        return dict(self.extras.get(key, {}).get("resourceTags") or {})

    def check_limits(self, wildcard: Key, shard: TableMeta) -> None:
        """Refuse tables that a wildcard cannot read; the messages are our own.

        "Wildcard queries are not supported for tables protected by customer-managed encryption
        keys (CMEK)"; "all tables that are referenced in a wildcard query must have exactly the
        same set of tag keys and values",
        https://cloud.google.com/bigquery/docs/querying-wildcard-tables#limitations
        row access policies:
        https://cloud.google.com/bigquery/docs/using-row-level-security-with-features
        renamed columns:
        https://cloud.google.com/bigquery/docs/managing-table-schemas#change_a_columns_name
        """
        key = Key(shard.project_id, shard.dataset_id, shard.table_id)
        reasons = {
            "a customer-managed encryption key": ENCRYPTION in self.extras.get(key, {}),
            "row access policies": bool(self.context.row_access.list_for_table(*key)),
            "a renamed column": key in self.renamed,
        }
        for reason, given in reasons.items():
            if given:
                raise InvalidQueryError(
                    f"{wildcard} cannot be queried by wildcard: {key.table} has {reason}."
                )

    def make_wildcard(self, wildcard: Key) -> None:
        prefix = wildcard.table[:-1]
        shards = self.matching(wildcard)
        if not shards:
            raise InvalidQueryError(f"{wildcard} does not match any table.")
        for shard in shards:
            if shard.view_query is not None:
                raise InvalidQueryError(
                    "Views cannot be queried through prefix. "
                    f"First view {wildcard.project}:{wildcard.dataset}.{shard.table_id}."
                )
            self.check_limits(wildcard, shard)
        tags = [self.tags(shard) for shard in shards]
        if tags.count(tags[0]) != len(tags):
            raise InvalidQueryError(
                f"{wildcard}: all tables must have the same tags, with the same values."
            )
        # The schema of the table created last, not of the last by name:
        # https://cloud.google.com/bigquery/docs/querying-wildcard-tables#schema
        fields = max(shards, key=lambda shard: shard.creation_time).schema_.fields
        parts = []
        for shard in shards:
            key = Key(shard.project_id, shard.dataset_id, shard.table_id)
            if wrong := difference(shard.schema_.fields, fields):
                raise InvalidQueryError(
                    f"Cannot read field of type {wrong[1]} as {wrong[2]} Field: {wrong[0]}"
                )
            suffix = literal(shard.table_id.removeprefix(prefix))
            known = by_name(shard.schema_.fields)
            # "Wildcard tables aren't supported for tables with flexible column names"; such a
            # column, or by _TABLE_SUFFIX such a table, has to be left out of the query:
            # https://cloud.google.com/bigquery/docs/querying-wildcard-tables#limitations
            columns = ", ".join(
                refusal(field, f"{wildcard}: flexible column name {field.name}")
                if flexible(field) and field.name.lower() in known
                else projection(shard.schema_.fields, (field,))
                for field in fields
            )
            parts.append(f"SELECT {columns}, {suffix} AS _TABLE_SUFFIX FROM {key.sql}")
        view = Key(wildcard.project, wildcard.dataset, prefix).sql.removesuffix('"') + '*"'
        self.sql(f"CREATE OR REPLACE VIEW {view} AS {' UNION ALL '.join(parts)}")


def key_of(project: str, table: exp.Expr) -> Key:
    """The table that a statement names."""
    if not isinstance(table, exp.Table):
        raise InvalidQueryError(f"not emulated: {table.sql('bigquery')}")
    if not table.db:
        raise InvalidQueryError(f'Table "{table.name}" must be qualified with a dataset')
    return Key(table.catalog or project, table.db, table.name)


def hide_suffix(star: exp.Star) -> None:
    """Leave the pseudo-column out of a `*`."""
    column = exp.to_identifier("_TABLE_SUFFIX")
    star.set("except_", [*(star.args.get("except_") or []), column])
