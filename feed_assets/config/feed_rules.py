"""Rules between the attributes of a feed. Each raises ValueError, worded to follow its name."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from feed_assets.config.columns import check_roles
from feed_assets.config.url_template import has_placeholders
from feed_assets.schema.datatypes import BY_NAME, parents
from feed_assets.schema.type_declarations import declared_name
from feed_assets.urls import WEB, Url, is_private

if TYPE_CHECKING:
    from feed_assets.config.feed import Feed

MAX_NAME = 1024
"""Characters of a dataset's name, bytes of a table's.

https://cloud.google.com/bigquery/docs/datasets#dataset-naming
https://cloud.google.com/bigquery/docs/tables#table_naming
"""
WEB_ONLY = (
    "pages",
    "basic_auth",
    "bearer_auth",
    "oauth2",
    "query_env",
    "client_certificate_env",
    "headers_env",
    "headers",
    "allow_insecure",
)
"""Attributes of requests over HTTP."""


def check_rules(feed: Feed) -> None:
    """Raise ValueError for attributes that do not fit together."""
    _check_names(feed)
    _check_request(feed)
    _check_pages(feed)
    _check_source(feed)
    _check_order(feed)
    _check_columns(feed)
    _check_day(feed)
    _check_blocking(feed)


def _check_names(feed: Feed) -> None:
    rejected = feed.destination.rejected
    longest = rejected.shard(date.max) if feed.partition_by_date else rejected
    if max(len(feed.dataset), len(longest.name)) > MAX_NAME:
        raise ValueError(
            f"has names longer than the {MAX_NAME} characters of BigQuery; its longest "
            f"table would be {longest.name[:40]}... with {len(longest.name)}"
        )
    if feed.partition_by_date and feed.dataset.startswith("_"):
        # https://cloud.google.com/bigquery/docs/datasets#hidden_datasets
        raise ValueError(
            "has a dataset that starts with _, whose tables BigQuery does not list; choose "
            "another name"
        )


def _check_request(feed: Feed) -> None:
    header = any(name.lower() == "authorization" for name in feed.headers_env)
    if bool(feed.basic_auth) + bool(feed.bearer_auth) + bool(feed.oauth2) + header > 1:
        raise ValueError(
            "has more than one of basic_auth, bearer_auth, oauth2 and an Authorization header"
        )
    if feed.client_certificate_env and feed.address.scheme != "https":
        raise ValueError("has a client certificate, which only https can use; correct url")
    parameters = {name for name, _ in feed.address.parameters}
    if twice := next(filter(parameters.__contains__, feed.query_env), None):
        raise ValueError(f"has {twice} in its url and in query_env; leave it out of the url")
    names = {name.lower() for name in feed.headers_env}
    if both := next((name for name in feed.headers if name.lower() in names), None):
        raise ValueError(f"has {both} in headers and in headers_env; leave one out")
    secret = feed.secret_variables
    token_url = Url.parse(feed.oauth2.token_url) if feed.oauth2 else feed.address
    private = is_private(feed.address) and is_private(token_url)
    if secret and not (private or feed.allow_insecure):
        raise ValueError(
            "would send its credentials over plain http; use https, or set allow_insecure: true"
        )


def _check_pages(feed: Feed) -> None:
    if feed.records and feed.format != "json":
        raise ValueError("has records, which only a JSON document has; declare format: json")
    if feed.pages is None:
        return
    if feed.pages.next_url and not (feed.format == "json" and feed.records):
        raise ValueError(
            "has pages with next_url, which only a JSON object has; declare format: json and "
            "records, the path of its rows"
        )
    if any(name == feed.pages.parameter for name, _ in feed.address.parameters):
        raise ValueError(
            f"has {feed.pages.parameter} in its url and as the parameter of its pages; leave "
            f"it out of the url"
        )


def _check_source(feed: Feed) -> None:
    scheme = feed.address.scheme
    if feed.sftp and scheme != "sftp":
        raise ValueError("has sftp, which only a url with sftp:// uses; leave it out")
    if scheme in WEB:
        return
    if given := next((name for name in WEB_ONLY if getattr(feed, name)), None):
        raise ValueError(
            f"has {given}, which only a url with http:// or https:// uses; leave it out"
        )
    if set(feed.empty_statuses) - {404}:
        raise ValueError(
            "has empty_statuses of a web server; the only one of a file is 404, a missing file"
        )
    if feed.partition_by_date and not has_placeholders(feed.url):
        raise ValueError(
            f"has no day in its url, so each day would be the same file; write, for example, "
            f"{scheme}://.../{{date:%Y-%m-%d}}.ndjson"
        )


def _check_order(feed: Feed) -> None:
    """Check the types of `key` and `updated_at`.

    BigQuery compares neither JSON nor GEOGRAPHY, and DuckDB stores BIGNUMERIC as text.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#comparable_data_types
    """
    types = {path: BY_NAME[declared_name(each)] for path, each in feed.types.items()}
    in_feed = feed.selection.original
    for name in feed.key:
        declared = types.get(in_feed(name))
        if declared and not declared.can_be_key:
            raise ValueError(f"has {name} in its key, which is {declared.name} and cannot be a key")
        if inside := next(filter(set(feed.key).__contains__, parents(name)), None):
            raise ValueError(f"has {inside} in its key and also {name}, which is inside it")
    updated_at = types.get(in_feed(feed.updated_at or ""))
    if updated_at and not updated_at.can_be_updated_at:
        raise ValueError(
            f"has {feed.updated_at} as updated_at, which is {updated_at.name} and not a time"
        )


def _check_columns(feed: Feed) -> None:
    deleted = feed.deleted.column if feed.deleted else None
    check_roles(feed.selection, feed.key, feed.updated_at, deleted, feed.types)
    if feed.deleted and not feed.has_latest:
        raise ValueError("has deleted, which needs partition_by_date, key and updated_at")


def _check_day(feed: Feed) -> None:
    placeholders = has_placeholders(feed.url)
    if placeholders and not feed.partition_by_date:
        raise ValueError(
            "has the placeholder of a day in its url, and a snapshot has no days; declare "
            "partition_by_date"
        )
    fixed = not placeholders and any(key == "date" for key, _ in feed.address.parameters)
    if feed.partition_by_date and fixed:
        raise ValueError(
            "has a date in its url; feed_assets adds the date of each day, or fills it in "
            "where the url has {date}"
        )


def _check_blocking(feed: Feed) -> None:
    if "key" in feed.blocking_checks and not feed.key:
        raise ValueError("has key among its blocking_checks, and no key")
    by_date = feed.partition_by_date and feed.updated_at
    if "updated_at" in feed.blocking_checks and not by_date:
        raise ValueError(
            "has updated_at among its blocking_checks, which needs partition_by_date and updated_at"
        )
