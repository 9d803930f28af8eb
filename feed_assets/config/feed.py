"""The attributes of a feed in YAML, with its URL and its table."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from feed_assets.config.auth import (
    BasicAuth,
    BearerAuth,
    OAuth2,
    Sftp,
    certificate_from_env,
    check_fixed_headers,
    check_headers,
    check_parameters,
    check_variable,
    headers_from_env,
    parameters_from_env,
)
from feed_assets.config.columns import Columns
from feed_assets.config.deleted_rows import DeletedRows
from feed_assets.config.feed_rules import check_rules
from feed_assets.config.labels import Labels
from feed_assets.config.model import FrozenModel, Name
from feed_assets.config.pages import Pages, check_path
from feed_assets.config.partition import PartitionByDate
from feed_assets.config.url_template import has_placeholders, parse_source, url_of_day
from feed_assets.config.values import NO_EMPTY_AS_NULL, NullValues, Types
from feed_assets.schema.selection import NO_SELECTION, Selection
from feed_assets.schema.table import Table
from feed_assets.schema.type_declarations import declaration_schema
from feed_assets.urls import BUCKETS, Url

COUNT = 2**63 - 1
"""Largest number of rows, lines or bytes (64-bit integer)."""
LONGEST_LINE = 1 << 30
"""Bytes. The text of an Arrow array is limited to 2 GiB."""
LONGEST_WAIT = 7 * 24 * 3600
"""Seconds of any timeout or wait."""
Wait = Annotated[float, Field(ge=0, le=LONGEST_WAIT)]
Timeout = Annotated[float, Field(ge=0.001, le=LONGEST_WAIT)]
"""Seconds. A timeout of 0 would fail every connection."""
MAX_TABLE_DESCRIPTION = 16_384
"""Characters. https://cloud.google.com/bigquery/quotas#all_tables"""
RESERVED = frozenset(
    re.findall(
        r"\w+",
        """
        and arg_dict as assert async await bool break class conf config context continue def
        del dict elif else except False finally float for from global if import in input
        input_arg_dict int is lambda meta None nonlocal not or output output_arg_dict pass
        raise return str True try type while with yield
        """,
    )
)
"""Names that Dagster rejects for assets: keywords of Python, and its own."""
MAX_DESCRIPTION = 1024
"""Characters. https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema"""
EMPTY_STATUSES = {204, 400, 404, 410, 422}
"""Statuses that some server answers for a day without rows, and none for a refusal."""
STORED_BY = (
    "url",
    "format",
    "records",
    "pages",
    "query_env",
    "headers_env",
    "headers",
    "empty_statuses",
    "types",
    "null_values",
    "columns",
    "max_bad_lines",
    "max_line_bytes",
)
"""Attributes that decide which rows are stored."""


class Feed(FrozenModel):
    """A feed: the URL of its rows, and the table for them."""

    @model_validator(mode="before")
    @classmethod
    def _has_no_old_attribute(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "empty_as_null" in value:
            raise ValueError(NO_EMPTY_AS_NULL)
        return value

    name: Name = Field(
        examples=["crm_orders"], description="Name of the asset; also of the table, by default."
    )
    url: str = Field(
        examples=["https://example.com/feed.ndjson"],
        description="URL of the feed: https, file, sftp, gs or s3. {date}, {date:%Y-%m-%d} and "
        "{next_date} stand for the day. Without them date=YYYYMMDD is added to the query of a feed "
        "by date.",
    )

    @field_validator("url")
    @classmethod
    def _is_a_source(cls, value: str) -> str:
        if "{{" in value:
            raise ValueError("has a template in it, which is not filled in; write the URL itself")
        try:
            parse_source(value)
        except ValueError as mistake:
            scheme = value.partition("://")[0].lower()
            if has_placeholders(value) or scheme in ("file", *BUCKETS):
                raise
            where, by = ("sftp", "sftp") if scheme == "sftp" else ("https", "basic_auth")
            raise ValueError(
                f"{mistake}; write {where}://example.com/feed.ndjson, and credentials by {by}"
            ) from None
        return value

    format: Literal["ndjson", "json"] = Field(
        "ndjson",
        examples=["json"],
        description="Format of the feed: NDJSON, or a JSON document with an array of rows.",
    )
    records: str | None = Field(
        None,
        examples=["data.items"],
        description="Path of the array of rows in a JSON object. Default: the document itself.",
    )

    @field_validator("records")
    @classmethod
    def _is_a_path(cls, value: str | None) -> str | None:
        return check_path(value)

    pages: Pages | None = Field(
        None,
        examples=[{"parameter": "page"}],
        description="Read the feed page by page. All pages of a day are one import.",
    )

    dataset: Name = Field(
        examples=["crm"], description="BigQuery dataset (in DuckDB: schema) of the table."
    )
    table: Name = Field(
        "",
        examples=["orders"],
        description="Name of the table; by date, prefix of the shards. Default: name.",
    )

    @field_validator("name")
    @classmethod
    def _is_an_assets_name(cls, value: str) -> str:
        if value in RESERVED:
            raise ValueError(f"{value!r} is a name that Dagster reserves; choose a different one")
        return value

    basic_auth: BasicAuth | None = Field(
        None,
        examples=[{"username_env": "CRM_FEED_USERNAME", "password_env": "CRM_FEED_PASSWORD"}],
        description="HTTP Basic Auth.",
    )
    bearer_auth: BearerAuth | None = Field(
        None,
        examples=[{"token_env": "CRM_TOKEN"}],
        description="Bearer token, instead of basic_auth.",
    )
    oauth2: OAuth2 | None = Field(
        None,
        examples=[
            {
                "token_url": "https://example.com/oauth/token",
                "client_id_env": "CRM_CLIENT_ID",
                "client_secret_env": "CRM_CLIENT_SECRET",
            }
        ],
        description="Bearer tokens by OAuth 2.0 client credentials, instead of basic_auth.",
    )
    query_env: Annotated[Mapping[str, str], AfterValidator(check_parameters)] = Field(
        default_factory=dict,
        examples=[{"api_key": "CRM_KEY"}],
        description="Parameters of the query, each with the environment variable of its value.",
    )

    client_certificate_env: str | None = Field(
        None,
        examples=["CRM_CERTIFICATE"],
        description="Environment variable with the path of a client certificate and its key (PEM).",
    )

    @field_validator("client_certificate_env")
    @classmethod
    def _is_a_variable(cls, value: str | None) -> str | None:
        return value if value is None else check_variable(value)

    sftp: Sftp | None = Field(
        None,
        examples=[{"username_env": "CRM_SFTP_USERNAME", "private_key_env": "CRM_SFTP_KEY"}],
        description="Login of a feed at sftp://. Default: that of ~/.ssh and the SSH agent.",
    )

    headers_env: Annotated[Mapping[str, str], AfterValidator(check_headers)] = Field(
        default_factory=dict,
        examples=[{"X-Api-Key": "CRM_KEY"}],
        description="Request headers, each with the environment variable of its value.",
    )

    headers: Annotated[Mapping[str, str], AfterValidator(check_fixed_headers)] = Field(
        default_factory=dict,
        examples=[{"Accept": "application/json"}],
        description="Request headers with fixed values that are not secret.",
    )

    allow_insecure: bool = Field(
        False, examples=[True], description="Allow credentials over plain http."
    )
    partition_by_date: PartitionByDate | None = Field(
        None,
        examples=[{"start_date": "2020-01-01", "timezone": "Europe/Berlin"}],
        description="Import by date, one shard per day. Without it the feed is a snapshot.",
    )
    schedule: str = Field(
        "0 5 * * *",
        examples=["0 5 * * *", "30 6 * * 1-5", "@hourly"],
        description="Cron expression of the import schedule.",
    )
    key: tuple[str, ...] = Field(
        (),
        examples=[["orderId"], ["shop", "customer.id"]],
        description="Columns that identify a row, named as in the feed: id, customer.id.",
    )
    updated_at: str | None = Field(
        None,
        examples=["updatedAt"],
        description="Column with the time of a row's last change, named as in the feed.",
    )

    @field_validator("key", "updated_at")
    @classmethod
    def _are_columns(cls, value: tuple[str, ...] | str | None) -> tuple[str, ...] | str | None:
        columns = (value,) if isinstance(value, str) else value or ()
        for column in columns:
            if not all(part.strip() for part in column.split(".")):
                raise ValueError(
                    f"{column!r} is not a column; write a name as the feed sends it, or a path "
                    f"such as customer.id"
                )
        if len(set(columns)) < len(columns):
            raise ValueError("names a column twice")
        return value

    deleted: DeletedRows | None = Field(
        None,
        examples=[{"column": "status", "values": ["deleted"]}],
        description="Rows to leave out of the latest state: {column: status, values: [deleted]}.",
    )

    types: Types = Field(
        default_factory=dict,
        json_schema_extra={"additionalProperties": declaration_schema()},
        examples=[
            {"total": "NUMERIC", "updatedAt": {"type": "DATETIME", "format": "%d.%m.%Y %H:%M"}}
        ],
        description="Types of columns, instead of inferred ones: {total: NUMERIC}. With a format: "
        '{updatedAt: {type: DATETIME, format: "%d.%m.%Y"}}, or epoch_s or epoch_ms.',
    )

    column_descriptions: Mapping[str, str] = Field(
        default_factory=dict,
        examples=[{"orderId": "The shop's number of the order."}],
        description="Descriptions of columns, for the UI and the warehouse: {customer.id: ...}.",
    )

    @field_validator("column_descriptions")
    @classmethod
    def _are_descriptions(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for path, text in value.items():
            if len(text) > MAX_DESCRIPTION:
                raise ValueError(
                    f"the description of {path} is {len(text):,} characters long; BigQuery allows "
                    f"{MAX_DESCRIPTION:,}"
                )
        return value

    null_values: NullValues = Field(
        (),
        examples=[["", "N/A", "0000-00-00"]],
        description="Strings to read as null, wherever they are values.",
    )
    columns: Columns | None = Field(
        None,
        examples=[{"exclude": ["customer.email"], "rename": {"custNo": "customer_id"}}],
        description="Columns to leave out, to hash or to rename.",
    )
    max_bad_lines: int = Field(
        0,
        ge=0,
        le=100_000,  # each is in memory; a feed with more of them is not NDJSON
        examples=[10],
        description="Number of bad lines to accept, which go to rejected_<table>.",
    )
    quote_rows: bool = Field(
        False,
        examples=[True],
        description="Quote values of rows and the starts of bad lines in alerts, logs and the UI.",
    )
    max_line_bytes: int = Field(
        64 << 20,
        gt=0,
        le=LONGEST_LINE,
        examples=[1 << 20],
        description="Longest line; a longer one fails the import, whatever max_bad_lines is.",
    )
    max_feed_bytes: int = Field(
        10_000_000_000,
        gt=0,
        le=COUNT,
        examples=[100_000_000_000],
        description="Largest feed, decompressed; a larger one fails the import.",
    )
    empty_statuses: tuple[int, ...] = Field(
        (),
        examples=[[404]],
        description="Status codes that mean a feed without rows: 204, 400, 404, 410 or 422.",
    )

    @field_validator("empty_statuses")
    @classmethod
    def _may_mean_empty(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        for status in value:
            if status not in EMPTY_STATUSES:
                raise ValueError(
                    f"{status} cannot mean a feed without rows; only "
                    f"{', '.join(map(str, sorted(EMPTY_STATUSES)))} can"
                )
        return value

    allow_empty: bool = Field(
        False, examples=[True], description="Allow a snapshot without rows to empty the table."
    )
    min_rows: int = Field(
        0, ge=0, le=COUNT, examples=[1000], description="Fewest rows; fewer fail the import."
    )
    max_shrink: float | None = Field(
        None,
        gt=0,
        lt=1,
        examples=[0.5],
        description="Largest share of rows that an import may remove; 0.5 is half.",
    )
    blocking_checks: tuple[Literal["key", "updated_at"], ...] = Field(
        (),
        examples=[["key", "updated_at"]],
        description="Checks whose failure fails the import: [key, updated_at].",
    )
    connect_timeout: Timeout = Field(
        10,
        examples=[30],
        description="Seconds to wait for a connection.",
    )
    read_timeout: Timeout = Field(
        300,
        examples=[60],
        description="Seconds to wait for the next bytes.",
    )
    download_timeout: Timeout = Field(
        7200,
        examples=[600],
        description="Seconds for the whole download, retries included.",
    )
    max_attempts: int = Field(
        5,
        ge=1,
        le=1000,
        examples=[3],
        description="Requests per download, retries included.",
    )
    retry_wait: Wait = Field(
        1,
        examples=[5],
        description="Seconds before the first retry; doubled for each later one.",
    )
    max_retry_wait: Wait = Field(
        300,
        examples=[900],
        description="Longest wait in seconds; a longer Retry-After fails the download.",
    )
    conditional_requests: bool = Field(
        True,
        examples=[False],
        description="Download a snapshot only if it has changed (ETag, Last-Modified).",
    )
    parallel_requests: int = Field(
        4, ge=1, le=100, examples=[1], description="Number of concurrent requests in a backfill."
    )
    parallel_loads: int | None = Field(
        None,
        ge=1,
        le=10,
        examples=[2],
        description="Number of days to load at once into BigQuery. Default: 8. DuckDB loads one.",
    )
    days_per_run: int | None = Field(
        None,
        ge=1,
        le=10_000,
        examples=[31],
        description="Number of days per run of a backfill. Default: all.",
    )
    run_retries: int = Field(
        3,
        ge=0,
        le=10_000,
        examples=[0],
        description="Number of run retries after a temporary failure.",
    )
    run_retry_wait: Wait = Field(
        60,
        examples=[300],
        description="Seconds before the first run retry; doubled for each later one, to an hour.",
    )
    labels: Labels = Field(
        default_factory=dict,
        examples=[{"team": "crm"}],
        description="Labels of the tables and load jobs in BigQuery.",
    )

    description: str | None = Field(
        None,
        max_length=MAX_TABLE_DESCRIPTION,
        examples=["Orders of the shop."],
        description="Description of the table.",
    )
    group: str = Field(
        "",
        examples=["sales", "sales/orders"],
        description="Group of the assets in the UI. Default: dataset.",
    )
    owners: tuple[str, ...] = Field(
        (),
        examples=[["data@example.com", "team:crm"]],
        description="Owners of the assets, for the UI: [data@example.com, team:crm].",
    )
    tags: Mapping[str, str] = Field(
        default_factory=dict,
        examples=[{"domain": "sales"}],
        description="Tags of the assets in the UI: {domain: sales}.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Feed:
        check_rules(self)
        return self

    @property
    def selection(self) -> Selection:
        """The paths that `columns` names, without the key of the hashes."""
        return self.columns.selection if self.columns else NO_SELECTION

    def in_table(self, path: str) -> str:
        """Return the path of a column as the table has it, for one as the feed has it."""
        return self.selection.renamed(path)

    @property
    def table_descriptions(self) -> Mapping[str, str]:
        """Descriptions by the path of a column as the table has it."""
        return {self.in_table(path): text for path, text in self.column_descriptions.items()}

    @property
    def destination(self) -> Table:
        """Table of a snapshot; by date, the view, and the prefix of the shards."""
        return Table(self.dataset, self.table or self.name)

    @property
    def unit(self) -> str:
        """Return the word for a numbered row in errors: line, or element of a JSON document."""
        return "element" if self.format == "json" else "line"

    @property
    def has_latest(self) -> bool:
        """True if the shards have a latest state: by date, with `key` and `updated_at`."""
        return bool(self.partition_by_date and self.key and self.updated_at)

    @property
    def latest_description(self) -> str:
        """Description of the latest state."""
        return f"Of each {', '.join(self.key)}, the row with the newest {self.updated_at}."

    @property
    def fingerprint(self) -> str:
        """Hash of the whole declaration; changes when any attribute changes."""
        return _hash(self.model_dump(mode="json"))

    @property
    def code_version(self) -> str:
        """Hash of the attributes that decide which rows are stored, and where.

        Schedule, retries and descriptions do not change it.
        """
        stored = self.model_dump(mode="json", include=set(STORED_BY))
        return _hash({**stored, "by date": bool(self.partition_by_date)}, str(self.destination))

    @property
    def latest_version(self) -> str:
        """Hash of the attributes that decide the rows of the latest state."""
        hidden = self.deleted.model_dump(mode="json") if self.deleted else None
        declared = [self.key, self.updated_at, hidden]
        renamed = [dict(self.selection.rename)] if self.selection.rename else []
        return _hash([*declared, *renamed], str(self.destination))

    @property
    def address(self) -> Url:
        """The feed's URL, parsed; a template if it has placeholders."""
        return parse_source(self.url)

    def url_for(self, day: date | None) -> Url:
        """Return the URL to request: by date, with the day filled in, or added to its query."""
        if day is None:
            return self.address
        if has_placeholders(self.url):
            assert self.partition_by_date is not None
            return url_of_day(self.address, day, self.partition_by_date.timezone)
        return self.address.with_parameter("date", f"{day:%Y%m%d}")

    @property
    def secret_variables(self) -> Sequence[str]:
        """Names of the environment variables with credentials."""
        auth = self.basic_auth or self.bearer_auth
        return [
            *(auth.model_dump().values() if auth else ()),
            *(self.oauth2.variables if self.oauth2 else ()),
            *(self.sftp.variables if self.sftp else ()),
            *self.query_env.values(),
            *((self.client_certificate_env,) if self.client_certificate_env else ()),
            *self.headers_env.values(),
        ]

    def secret_parameters(self) -> Mapping[str, str]:
        """Return the secret parameters of the query, percent-encoded. Raises SettingError."""
        return parameters_from_env(self.query_env)

    def certificate(self) -> str | None:
        """Return the path of the client certificate, if there is one. Raises SettingError."""
        variable = self.client_certificate_env
        return certificate_from_env(variable) if variable else None

    def check_credentials(self) -> None:
        """Raise SettingError for a credential that the environment lacks."""
        self.credentials(), self.secret_parameters(), self.certificate()
        if self.columns:
            self.columns.hash_key()
        if self.oauth2:
            self.oauth2.request()
        if self.sftp:
            self.sftp.credentials()

    def credentials(self) -> Mapping[str, bytes]:
        """Return the secret headers. Raises SettingError for a variable that is not set."""
        auth = self.basic_auth or self.bearer_auth
        return {**(auth.headers() if auth else {}), **headers_from_env(self.headers_env)}

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Show all attributes, the URL redacted."""
        for name, value in super().__repr_args__():
            yield name, str(self.address) if name == "url" else value


def _hash(*declared: object) -> str:
    text = json.dumps(declared, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
