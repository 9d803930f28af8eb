"""A feed as its user declares it: the request for a day, the table for a day."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit, urlunsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from feed_assets.access import (
    BasicAuth,
    BearerAuth,
    Declared,
    check_headers,
    headers_from_env,
    is_private,
    redact,
)
from feed_assets.errors import SettingError
from feed_assets.tables import Table
from feed_assets.type_names import TEXTS, check_types

LABEL = re.compile(r"[a-z0-9_-]{0,63}")
LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
RESERVED_LABELS = {"feed", "day", "managed_by"}
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_NAME = 1024
"""Characters of a dataset's name, bytes of a table's.

https://cloud.google.com/bigquery/docs/datasets#dataset-naming
https://cloud.google.com/bigquery/docs/tables#table_naming
"""


MAX_DESCRIPTION = 1024
"""Characters. https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema"""
STORED_BY = ("url", "types", "empty_as_null", "max_bad_lines", "max_line_bytes")
"""The attributes by which rows are what they are."""


class PartitionByDate(Declared):
    """Makes a feed by date: each day is requested by itself and kept in a table of its own."""

    start_date: date = Field(description="The first day the feed has.")
    end_date: date | None = Field(None, description="The last day it has, if it has ended.")
    timezone: str = Field("UTC", description="Whose midnight ends a day, such as Europe/Berlin.")
    refetch_days: int = Field(
        1, ge=0, description="Each scheduled run imports that many days before its own again."
    )
    include_today: bool = Field(
        True, description="Import the day that has begun, too, or only days that have ended."
    )

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> PartitionByDate:
        if self.end_date is not None and self.end_date < self.start_date:
            raise ValueError(f"end_date {self.end_date} is before start_date {self.start_date}")
        return self

    @model_validator(mode="after")
    def _has_begun(self) -> PartitionByDate:
        today = datetime.now(ZoneInfo(self.timezone)).date()
        if self.start_date > today:
            raise ValueError(
                f"start_date {self.start_date} is in the future, as it is {today} in "
                f"{self.timezone}; name the first day that the feed has"
            )
        return self

    @field_validator("timezone")
    @classmethod
    def _exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(
                f"there is no time zone {value!r}; write it as Europe/Berlin"
            ) from None
        return value


class Feed(Declared):
    """A URL that answers with NDJSON, and the table it goes to."""

    name: str = Field(description="Names the asset, and the table unless that is given.")
    url: str = Field(description="Where the feed is. By date, date=YYYYMMDD is added to its query.")
    dataset: str = Field(description="The BigQuery dataset (in DuckDB: the schema) to store in.")
    table: str = Field(
        "", description="The table, or the start of the shards' names. Default: name."
    )
    basic_auth: BasicAuth | None = Field(None, description="HTTP Basic Auth, from the environment.")
    bearer_auth: BearerAuth | None = Field(None, description="A bearer token, in its place.")
    headers_env: Mapping[str, str] = Field(
        default_factory=dict, description="Headers to send, by their environment variables."
    )
    allow_insecure: bool = Field(False, description="Send credentials over plain http, too.")
    partition_by_date: PartitionByDate | None = Field(
        None, description="One shard a day. Left out, the feed is a snapshot, replaced whole."
    )
    schedule: str = Field("0 5 * * *", description="When to import, as a cron expression.")
    key: tuple[str, ...] = Field(
        (), description="What tells one row from another, as the feed sends it: id, customer.id."
    )
    updated_at: str | None = Field(
        None, description="Where a row's last change is, as the feed sends it."
    )
    types: Mapping[str, str] = Field(
        default_factory=dict, description="Columns whose type is fixed: {total: NUMERIC}."
    )
    column_descriptions: Mapping[str, str] = Field(
        default_factory=dict,
        description="What columns hold, shown in the UI and in the warehouse: {customer.id: ...}.",
    )
    empty_as_null: bool = Field(False, description='Read "" as null.')
    max_bad_lines: int = Field(
        0,
        ge=0,
        description="How many bad lines may go to rejected_<table> before the import fails.",
    )
    max_line_bytes: int = Field(64 << 20, gt=0, description="A line beyond that is a bad line.")
    max_feed_bytes: int = Field(
        10_000_000_000, gt=0, description="A feed beyond that, unzipped, is refused."
    )
    allow_empty: bool = Field(False, description="Let a snapshot without rows replace the table.")
    min_rows: int = Field(0, ge=0, description="Refuse a feed with fewer rows.")
    max_shrink: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Refuse to replace a table by one so much smaller; 0.5 is by more than half.",
    )
    blocking_checks: tuple[Literal["key", "updated_at"], ...] = Field(
        (), description="Refuse what does not pass these checks: [key, updated_at]."
    )
    connect_timeout: float = Field(10, gt=0, description="Seconds to wait for a connection.")
    read_timeout: float = Field(300, gt=0, description="Seconds to wait for the next bytes.")
    download_timeout: float = Field(
        7200, gt=0, le=threading.TIMEOUT_MAX, description="Seconds for all of it, retries included."
    )
    max_attempts: int = Field(5, ge=1, description="Requests for one download, retries included.")
    retry_wait: float = Field(
        1, ge=0, description="Seconds before the first retry; doubled for each further one."
    )
    max_retry_wait: float = Field(
        300, ge=0, description="A server that asks for a longer wait (Retry-After) is given up."
    )
    conditional_requests: bool = Field(
        True, description="Have a snapshot's server say so if nothing has changed (ETag)."
    )
    parallel_requests: int = Field(4, ge=1, description="Requests at once in a backfill.")
    days_per_run: int | None = Field(
        None, ge=1, description="Split a backfill into runs of so many days. Default: one run."
    )
    run_retries: int = Field(
        3, ge=0, description="How often Dagster runs an import again that failed for now."
    )
    run_retry_wait: float = Field(
        60, ge=0, description="Seconds before it does so first; doubled for each further time."
    )
    labels: Mapping[str, str] = Field(
        default_factory=dict, description="Labels of its tables and load jobs in BigQuery."
    )
    description: str | None = Field(None, description="What the rows are, shown in the UI.")
    group: str = Field("", description="The group of its assets in the UI. Default: dataset.")
    owners: tuple[str, ...] = Field(
        (), description="Whose it is, shown in the UI: [data@example.com, team:crm]."
    )
    tags: Mapping[str, str] = Field(
        default_factory=dict, description="Tags of its assets in the UI: {domain: sales}."
    )

    @field_validator("name", "dataset", "table")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError(
                f"{value!r} must be of letters, digits and _, not beginning with a digit"
            )
        return value

    @field_validator("headers_env")
    @classmethod
    def _are_headers(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        check_headers(value)
        return value

    @field_validator("labels")
    @classmethod
    def _are_labels(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for key, text in value.items():
            if not LABEL_KEY.fullmatch(key) or not LABEL.fullmatch(text):
                raise ValueError(
                    f"{key}: {text} is no label; BigQuery takes small letters, digits, _ and -, "
                    f"63 at the most, the key beginning with a letter"
                )
            if key in RESERVED_LABELS:
                raise ValueError(f"{key} is a label that feed_assets sets itself")
        return value

    @field_validator("column_descriptions")
    @classmethod
    def _are_descriptions(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for path, text in value.items():
            if len(text) > MAX_DESCRIPTION:
                raise ValueError(
                    f"what {path} holds is told in {len(text)} characters, of which BigQuery takes "
                    f"{MAX_DESCRIPTION}; shorten it"
                )
        return value

    @field_validator("types")
    @classmethod
    def _are_types(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        try:
            check_types(value)
        except SettingError as mistake:
            raise ValueError(str(mistake)) from None
        return value

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if "{{" in value:
            raise ValueError("has a template in it, which is not filled in; write the URL itself")
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{redact(value)!r} is no http or https URL")
        if parts.username or parts.password:
            raise ValueError("has credentials in it; put them in the environment, see basic_auth")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Feed:
        rejected = self.destination.rejected
        longest = rejected.shard(date.max) if self.partition_by_date else rejected
        if max(len(self.dataset), len(longest.name)) > MAX_NAME:
            raise ValueError(
                f"has names longer than the {MAX_NAME} characters that BigQuery takes; its longest "
                f"table would be {longest.name[:40]}... with {len(longest.name)}"
            )
        if self.partition_by_date and self.dataset.startswith("_"):
            # https://cloud.google.com/bigquery/docs/datasets#hidden_datasets
            raise ValueError(
                "has a dataset that begins with _, of which BigQuery does not list the shards; "
                "name it otherwise"
            )
        header = any(name.lower() == "authorization" for name in self.headers_env)
        if bool(self.basic_auth) + bool(self.bearer_auth) + header > 1:
            raise ValueError(
                "has more than one of basic_auth, bearer_auth and an Authorization header"
            )
        secret = self.basic_auth or self.bearer_auth or self.headers_env
        if secret and not (is_private(self.url) or self.allow_insecure):
            raise ValueError(
                "would send its credentials over plain http; use https, or set allow_insecure: true"
            )
        self._have_an_order()
        query = parse_qsl(urlsplit(self.url).query)
        if self.partition_by_date and any(key == "date" for key, _ in query):
            raise ValueError("has a date in its url already; it is added for each day")
        return self

    @model_validator(mode="after")
    def _has_what_blocks(self) -> Feed:
        if "key" in self.blocking_checks and not self.key:
            raise ValueError("has key among its blocking_checks, and no key")
        by_date = self.partition_by_date and self.updated_at
        if "updated_at" in self.blocking_checks and not by_date:
            raise ValueError(
                "has updated_at among its blocking_checks, which checks a feed by date that has an "
                "updated_at"
            )
        return self

    def _have_an_order(self) -> None:
        """BigQuery compares neither JSON nor geographies, and DuckDB has BIGNUMERIC as text.

        https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#comparable_data_types
        """
        kinds = check_types(self.types)
        for name in self.key:
            if kinds.get(name) in TEXTS:
                raise ValueError(f"has {name} in its key, which is {kinds[name]}; that is no key")
        if (kind := kinds.get(self.updated_at or "")) in TEXTS | {"BIGNUMERIC"}:
            raise ValueError(
                f"has {self.updated_at} as updated_at, which is {kind}; that is no time"
            )

    @property
    def destination(self) -> Table:
        """The snapshot's table; by date, what the shards and the view are named after."""
        return Table(self.dataset, self.table or self.name)

    @property
    def has_latest(self) -> bool:
        """Whether a view of the latest state can be made over the shards."""
        return bool(self.partition_by_date and self.key and self.updated_at)

    @property
    def fingerprint(self) -> str:
        """What is another one for a feed that is declared otherwise."""
        return _hash(self.model_dump(mode="json"))

    @property
    def code_version(self) -> str:
        """What is another one if the same answers of the server would be stored otherwise.

        Or other answers would be, or elsewhere: not when, how patiently, or under which words.
        """
        stored = self.model_dump(mode="json", include=set(STORED_BY))
        return _hash({**stored, "by date": bool(self.partition_by_date)}, str(self.destination))

    @property
    def latest_version(self) -> str:
        """The same of the view of the latest state."""
        return _hash([self.key, self.updated_at], str(self.destination))

    def url_for(self, day: date | None) -> str:
        """The URL to request: for a day, with `date=YYYYMMDD` added to its query."""
        if day is None:
            return self.url
        parts = urlsplit(self.url)
        query = f"{parts.query}&" if parts.query else ""
        return urlunsplit(parts._replace(query=f"{query}date={day:%Y%m%d}"))

    @property
    def secret_variables(self) -> Sequence[str]:
        """The environment variables that hold credentials."""
        auth = self.basic_auth or self.bearer_auth
        return [*(auth.model_dump().values() if auth else ()), *self.headers_env.values()]

    def credentials(self) -> Mapping[str, bytes]:
        """The headers that are secret. Raises SettingError naming a variable that is not set."""
        auth = self.basic_auth or self.bearer_auth
        return {**(auth.headers() if auth else {}), **headers_from_env(self.headers_env)}

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """As pydantic has them, the URL fit to be shown."""
        for name, value in super().__repr_args__():
            yield name, redact(value) if name == "url" else value


def _hash(*declared: object) -> str:
    """Of values as JSON has them; the order of keys does not matter."""
    text = json.dumps(declared, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
