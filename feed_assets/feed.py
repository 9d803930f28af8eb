"""A feed as its user declares it: the request for a day, the table for a day."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from datetime import date
from itertools import combinations
from urllib.parse import parse_qsl, urlsplit, urlunsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from feed_assets.errors import SettingError
from feed_assets.tables import Table

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
DAY = re.compile(r"\d{8}")
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class BasicAuth(_Declared):
    """HTTP Basic Auth, by the names of the environment variables that hold it."""

    username_env: str = Field(description="Environment variable holding the user name.")
    password_env: str = Field(description="Environment variable holding the password.")


class PartitionByDate(_Declared):
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


class Feed(_Declared):
    """A URL that answers with NDJSON, and the table it goes to."""

    name: str = Field(description="Names the asset, and the table unless that is given.")
    url: str = Field(description="Where the feed is. By date, date=YYYYMMDD is added to its query.")
    dataset: str = Field(description="The BigQuery dataset (in DuckDB: the schema) to store in.")
    table: str = Field(
        "", description="The table, or the start of the shards' names. Default: name."
    )
    basic_auth: BasicAuth | None = Field(None, description="HTTP Basic Auth, from the environment.")
    allow_insecure: bool = Field(False, description="Send credentials over plain http, too.")
    partition_by_date: PartitionByDate | None = Field(
        None, description="One shard a day. Left out, the feed is a snapshot, replaced whole."
    )
    schedule: str = Field("0 5 * * *", description="When to import, as a cron expression.")
    key: tuple[str, ...] = Field((), description="The columns that tell one row from another.")
    updated_at: str | None = Field(None, description="The column with a row's last change.")
    types: Mapping[str, str] = Field(
        default_factory=dict, description="Columns whose type is fixed: {total: NUMERIC}."
    )
    empty_as_null: bool = Field(False, description='Read "" as null.')
    max_bad_lines: int = Field(
        0,
        ge=0,
        description="How many bad lines may go to rejected_<table> before the import fails.",
    )
    allow_empty: bool = Field(False, description="Let a snapshot without rows replace the table.")
    connect_timeout: float = Field(10, gt=0, description="Seconds to wait for a connection.")
    read_timeout: float = Field(300, gt=0, description="Seconds to wait for the next bytes.")
    parallel_requests: int = Field(4, ge=1, description="Requests at once in a backfill.")
    description: str | None = Field(None, description="What the rows are, shown in the UI.")

    @field_validator("name", "dataset", "table")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if value and not NAME.fullmatch(value):
            raise ValueError(
                f"{value!r} must be of letters, digits and _, not beginning with a digit"
            )
        return value

    @field_validator("types")
    @classmethod
    def _are_types(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        from feed_assets.ndjson.declared import check_types

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
        parts = urlsplit(self.url)
        secure = parts.scheme == "https" or parts.hostname in LOOPBACK or self.allow_insecure
        if self.basic_auth and not secure:
            raise ValueError(
                "would send its password over plain http; use https, or set allow_insecure: true"
            )
        if self.partition_by_date and any(key == "date" for key, _ in parse_qsl(parts.query)):
            raise ValueError("has a date in its url already; it is added for each day")
        return self

    @property
    def destination(self) -> Table:
        """The snapshot's table; by date, what the shards and the view are named after."""
        return Table(self.dataset, self.table or self.name)

    @property
    def has_latest(self) -> bool:
        """Whether a view of the latest state can be made over the shards."""
        return bool(self.partition_by_date and self.key and self.updated_at)

    def url_for(self, day: date | None) -> str:
        """The URL to request: for a day, with `date=YYYYMMDD` added to its query."""
        if day is None:
            return self.url
        parts = urlsplit(self.url)
        query = f"{parts.query}&" if parts.query else ""
        return urlunsplit(parts._replace(query=f"{query}date={day:%Y%m%d}"))

    def credentials(self) -> tuple[str, str] | None:
        """User name and password. Raises SettingError naming a variable that is not set."""
        if self.basic_auth is None:
            return None
        return (_from_env(self.basic_auth.username_env), _from_env(self.basic_auth.password_env))


def _from_env(variable: str) -> str:
    value = os.environ.get(variable)
    if value is None:
        raise SettingError(
            f"the environment variable {variable} is not set; the feed's basic_auth reads it"
        )
    return value


def redact(url: str) -> str:
    """The URL fit to be shown: without credentials, and with the values of its query hidden.

    Only `date` is shown, as it is ours and no secret.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    shown = []
    for item in parts.query.split("&") if parts.query else []:
        name, equals, value = item.partition("=")
        if item == f"date={value}" and DAY.fullmatch(value):
            shown.append(item)
        else:
            shown.append(f"{name}{equals}{'***' if value else ''}" if equals else "***")
    return urlunsplit((parts.scheme, host, parts.path, "&".join(shown), ""))


def check_together(feeds: Iterable[Feed], *, wildcards: bool) -> None:
    """Refuses feeds that would write to one table, or show up among another's shards.

    `wildcards` says whether the warehouse queries shards by prefix, as BigQuery does: then nothing
    but a feed's shards may match `table_*`. Raises SettingError naming both feeds.
    """
    for one, other in combinations(feeds, 2):
        if one.name == other.name:
            raise SettingError(f"two feeds are named {one.name}; rename one")
        for feed, against in ((one, other), (other, one)):
            for name in _names(feed):
                if clash := _clash(name, against, wildcards=wildcards):
                    raise SettingError(
                        f"feeds {one.name} and {other.name} would collide: {name} of {feed.name} "
                        f"{clash} of {against.name}; give one of them another table or dataset"
                    )


def _names(feed: Feed) -> list[Table]:
    table = feed.destination
    return (
        [table, table.rejected, table.columns]
        if feed.partition_by_date
        else [table, table.rejected]
    )


def _clash(name: Table, feed: Feed, *, wildcards: bool) -> str | None:
    if name.dataset.casefold() != feed.dataset.casefold():
        return None
    if any(name.name.casefold() == taken.name.casefold() for taken in _names(feed)):
        return "is also a table"
    for table in (feed.destination, feed.destination.rejected) if feed.partition_by_date else ():
        if wildcards and name.name.casefold().startswith(f"{table.name}_".casefold()):
            return f"matches {table}_*, the shards"
        if name.is_shard_of(table):
            return "is named like a shard"
    return None
