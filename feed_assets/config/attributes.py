"""The attributes of a feed, as they stand in its YAML: what each is called, means and may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from feed_assets.config.auth import BasicAuth, BearerAuth, Declared
from feed_assets.config.partition import PartitionByDate
from feed_assets.schema.datatypes import type_schema

COUNT = 2**63 - 1
"""The largest number of rows, lines or bytes: what a column of 64 bits can count."""
LONGEST_LINE = 1 << 30
"""Bytes: the text of one Arrow array has to stay below 2 GiB."""
LONGEST_WAIT = 7 * 24 * 3600
"""Seconds of any timeout or wait. Beyond some 290 years, the system's calls refuse it."""
SHORTEST_WAIT = 0.001
"""Seconds of a timeout. Without any time, no connection is ever made."""
MAX_TABLE_DESCRIPTION = 16_384
"""Characters. https://cloud.google.com/bigquery/quotas#all_tables"""


class Attributes(Declared):
    """A URL that answers with NDJSON, and the table it goes to."""

    name: str = Field(
        examples=["crm_orders"], description="Names the asset, and the table unless that is given."
    )
    url: str = Field(
        examples=["https://example.com/feed.ndjson"],
        description="Where the feed is. By date, date=YYYYMMDD is added to its query.",
    )
    dataset: str = Field(
        examples=["crm"], description="The BigQuery dataset (in DuckDB: the schema) to store in."
    )
    table: str = Field(
        "",
        examples=["orders"],
        description="The table, or the start of the shards' names. Default: name.",
    )
    basic_auth: BasicAuth | None = Field(
        None,
        examples=[{"username_env": "CRM_FEED_USERNAME", "password_env": "CRM_FEED_PASSWORD"}],
        description="HTTP Basic Auth, from the environment.",
    )
    bearer_auth: BearerAuth | None = Field(
        None, examples=[{"token_env": "CRM_TOKEN"}], description="A bearer token, in its place."
    )
    headers_env: Mapping[str, str] = Field(
        default_factory=dict,
        examples=[{"X-Api-Key": "CRM_KEY"}],
        description="Headers to send, by their environment variables.",
    )
    allow_insecure: bool = Field(
        False, examples=[True], description="Send credentials over plain http, too."
    )
    partition_by_date: PartitionByDate | None = Field(
        None,
        examples=[{"start_date": "2020-01-01", "timezone": "Europe/Berlin"}],
        description="One shard a day. Left out, the feed is a snapshot, replaced whole.",
    )
    schedule: str = Field(
        "0 5 * * *",
        examples=["0 5 * * *", "30 6 * * 1-5", "@hourly"],
        description="When to import, as a cron expression.",
    )
    key: tuple[str, ...] = Field(
        (),
        examples=[["orderId"], ["shop", "customer.id"]],
        description="What tells one row from another, as the feed sends it: id, customer.id.",
    )
    updated_at: str | None = Field(
        None,
        examples=["updatedAt"],
        description="Where a row's last change is, as the feed sends it.",
    )
    types: Mapping[str, str] = Field(
        default_factory=dict,
        json_schema_extra={"additionalProperties": type_schema()},
        examples=[{"total": "NUMERIC", "customer.id": "STRING"}],
        description="Columns whose type is fixed: {total: NUMERIC}.",
    )
    column_descriptions: Mapping[str, str] = Field(
        default_factory=dict,
        examples=[{"orderId": "The shop's number of the order."}],
        description="What columns hold, shown in the UI and in the warehouse: {customer.id: ...}.",
    )
    empty_as_null: bool = Field(False, examples=[True], description='Read "" as null.')
    max_bad_lines: int = Field(
        0,
        ge=0,
        le=100_000,  # each is in memory; a feed with more of them is not NDJSON
        examples=[10],
        description="How many bad lines may go to rejected_<table> before the import fails.",
    )
    max_line_bytes: int = Field(
        64 << 20,
        gt=0,
        le=LONGEST_LINE,
        examples=[1 << 20],
        description="A feed with a line beyond that is refused, whatever max_bad_lines lets pass.",
    )
    max_feed_bytes: int = Field(
        10_000_000_000,
        gt=0,
        le=COUNT,
        examples=[100_000_000_000],
        description="A feed beyond that, unzipped, is refused.",
    )
    allow_empty: bool = Field(
        False, examples=[True], description="Let a snapshot without rows replace the table."
    )
    min_rows: int = Field(
        0, ge=0, le=COUNT, examples=[1000], description="Refuse a feed with fewer rows."
    )
    max_shrink: float | None = Field(
        None,
        gt=0,
        lt=1,
        examples=[0.5],
        description="Refuse to replace a table by one so much smaller; 0.5 is by more than half.",
    )
    blocking_checks: tuple[Literal["key", "updated_at"], ...] = Field(
        (),
        examples=[["key", "updated_at"]],
        description="Refuse what does not pass these checks: [key, updated_at].",
    )
    connect_timeout: float = Field(
        10,
        ge=SHORTEST_WAIT,
        le=LONGEST_WAIT,
        examples=[30],
        description="Seconds to wait for a connection.",
    )
    read_timeout: float = Field(
        300,
        ge=SHORTEST_WAIT,
        le=LONGEST_WAIT,
        examples=[60],
        description="Seconds to wait for the next bytes.",
    )
    download_timeout: float = Field(
        7200,
        ge=SHORTEST_WAIT,
        le=LONGEST_WAIT,
        examples=[600],
        description="Seconds for all of it, retries included.",
    )
    max_attempts: int = Field(
        5, ge=1, le=1000, examples=[3], description="Requests for one download, retries included."
    )
    retry_wait: float = Field(
        1,
        ge=0,
        le=LONGEST_WAIT,
        examples=[5],
        description="Seconds before the first retry; doubled for each further one.",
    )
    max_retry_wait: float = Field(
        300,
        ge=0,
        le=LONGEST_WAIT,
        examples=[900],
        description="A server that asks for a longer wait (Retry-After) is given up.",
    )
    conditional_requests: bool = Field(
        True,
        examples=[False],
        description="Have a snapshot's server say so if nothing has changed (ETag).",
    )
    parallel_requests: int = Field(
        4, ge=1, le=100, examples=[1], description="Requests at once in a backfill."
    )
    days_per_run: int | None = Field(
        None,
        ge=1,
        le=10_000,
        examples=[31],
        description="Split a backfill into runs of so many days. Default: one run.",
    )
    run_retries: int = Field(
        3,
        ge=0,
        le=10_000,
        examples=[0],
        description="How often Dagster runs an import again that failed for now.",
    )
    run_retry_wait: float = Field(
        60,
        ge=0,
        le=LONGEST_WAIT,
        examples=[300],
        description="Seconds before it does so first; doubled for each further time, to an hour.",
    )
    labels: Mapping[str, str] = Field(
        default_factory=dict,
        examples=[{"team": "crm"}],
        description="Labels of its tables and load jobs in BigQuery.",
    )
    description: str | None = Field(
        None,
        max_length=MAX_TABLE_DESCRIPTION,
        examples=["Orders of the shop."],
        description="What the rows are, shown in the UI.",
    )
    group: str = Field(
        "",
        examples=["sales", "sales/orders"],
        description="The group of its assets in the UI. Default: dataset.",
    )
    owners: tuple[str, ...] = Field(
        (),
        examples=[["data@example.com", "team:crm"]],
        description="Whose it is, shown in the UI: [data@example.com, team:crm].",
    )
    tags: Mapping[str, str] = Field(
        default_factory=dict,
        examples=[{"domain": "sales"}],
        description="Tags of its assets in the UI: {domain: sales}.",
    )
