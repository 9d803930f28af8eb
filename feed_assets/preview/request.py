"""What a preview was asked for, as the feed that an import would have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from feed_assets.config.feed import NAME, RESERVED, Feed
from feed_assets.errors import SettingError
from feed_assets.urls import Url

STDIN = "-"
PLACEHOLDER = "https://example.com/feed.ndjson"
"""The URL of a feed of which there is a file so far."""
DATASET = "crm"
_ATTEMPTS = 3  # somebody is waiting


@dataclass(frozen=True)
class Asked:
    """A source, and the day it is previewed for. `attributes` are those of the feed, as given."""

    source: str
    day: date | None = None
    name: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_url(self) -> bool:
        return "://" in self.source

    def feed(self) -> Feed:
        """Raises SettingError."""
        declared = {
            "name": self.name or _name(self.source),
            "url": self.source if self.is_url else PLACEHOLDER,
            "dataset": DATASET,
            "max_attempts": _ATTEMPTS,
            **self.attributes,
        }
        if self.day is not None:
            today = datetime.now(UTC).date()  # it may be tomorrow already where the feed is
            declared["partition_by_date"] = {"start_date": min(self.day, today)}
        try:
            return Feed(**declared)
        except ValidationError as failure:
            first = failure.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the feed"
            why = first["msg"].removeprefix("Value error, ")
            raise SettingError(why if why.startswith(where) else f"{where} {why}") from None


def _name(source: str) -> str:
    """A name for the feed, from the last part of where it is."""
    path = PurePosixPath(_path(source) if "://" in source else source)
    name = re.sub(r"[^A-Za-z0-9]+", "_", path.name.partition(".")[0]).strip("_").lower()
    return name if NAME.fullmatch(name) and name not in RESERVED else "feed"


def _path(url: str) -> str:
    try:
        return Url.parse(url).path
    except ValueError:
        return ""
