"""A feed as its user declares it: the request for a day, the table for a day."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from pydantic import field_validator, model_validator

from feed_assets.config.attributes import Attributes
from feed_assets.config.auth import check_headers, headers_from_env
from feed_assets.errors import SettingError
from feed_assets.schema.datatypes import TEXTS, check_types, parents
from feed_assets.schema.table import Table
from feed_assets.urls import Url, is_private

LABEL = re.compile(r"[a-z0-9_-]{0,63}")
LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
RESERVED_LABELS = {"feed", "day", "managed_by"}
MAX_LABELS = 64 - len(RESERVED_LABELS)
"""https://cloud.google.com/bigquery/docs/labels-intro#requirements"""
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
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
"""What Dagster names no asset: words of Python's, and of its own."""
MAX_NAME = 1024
"""Characters of a dataset's name, bytes of a table's.

https://cloud.google.com/bigquery/docs/datasets#dataset-naming
https://cloud.google.com/bigquery/docs/tables#table_naming
"""


MAX_DESCRIPTION = 1024
"""Characters. https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema"""
NO_ORDER = TEXTS | {"BIGNUMERIC", "BOOLEAN", "BYTES"}
"""Types that a row's last change cannot have."""
STORED_BY = ("url", "headers_env", "types", "empty_as_null", "max_bad_lines", "max_line_bytes")
"""The attributes by which rows are what they are."""


class Feed(Attributes):
    """A URL that answers with NDJSON, and the table it goes to."""

    @field_validator("name", "dataset", "table")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError(
                f"{value!r} must be of letters, digits and _, not beginning with a digit"
            )
        return value

    @field_validator("name")
    @classmethod
    def _is_an_assets_name(cls, value: str) -> str:
        if value in RESERVED:
            raise ValueError(f"{value!r} is a word that Dagster keeps to itself; name it otherwise")
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
        if len(value) > MAX_LABELS:
            raise ValueError(
                f"has {len(value)} labels; BigQuery allows 64, of which feed_assets sets "
                f"{len(RESERVED_LABELS)}"
            )
        return value

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
        try:
            Url.parse(value)
        except ValueError as mistake:
            raise ValueError(
                f"{mistake}; write https://example.com/feed.ndjson, and credentials by basic_auth"
            ) from None
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
        if secret and not (is_private(self.address) or self.allow_insecure):
            raise ValueError(
                "would send its credentials over plain http; use https, or set allow_insecure: true"
            )
        self._have_an_order()
        if self.partition_by_date and any(key == "date" for key, _ in self.address.parameters):
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
            if kinds.get(name) in TEXTS | {"FLOAT"}:
                raise ValueError(f"has {name} in its key, which is {kinds[name]}; that is no key")
            if inside := next(filter(set(self.key).__contains__, parents(name)), None):
                raise ValueError(f"has {inside} in its key and also {name}, which is inside it")
        if (kind := kinds.get(self.updated_at or "")) in NO_ORDER:
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

    @property
    def address(self) -> Url:
        """The feed's URL, parsed."""
        return Url.parse(self.url)

    def url_for(self, day: date | None) -> Url:
        """The URL to request: for a day, with `date=YYYYMMDD` added to its query."""
        if day is None:
            return self.address
        return self.address.with_parameter("date", f"{day:%Y%m%d}")

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
            yield name, str(self.address) if name == "url" else value


def _hash(*declared: object) -> str:
    """Of values as JSON has them; the order of keys does not matter."""
    text = json.dumps(declared, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
