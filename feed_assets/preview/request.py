"""The arguments of a preview, and the feed they describe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from feed_assets.config.feed import RESERVED, Feed
from feed_assets.config.model import NAME
from feed_assets.errors import SettingError
from feed_assets.urls import PLACEHOLDER, SOURCES, Url

STDIN = "-"
EXAMPLE_URL = "https://example.com/feed.ndjson"
"""URL of the feed if the preview reads a file."""
DATASET = "crm"
ATTEMPTS = 3  # few, as the user is waiting


@dataclass(frozen=True)
class PreviewRequest:
    """A source (URL, path or "-"), the day to request, and the feed's other attributes."""

    source: str
    day: date | None = None
    name: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_url(self) -> bool:
        return "://" in self.source

    def feed(self) -> Feed:
        """Build the feed. Raises SettingError."""
        declared = {
            "name": self.name or _name(self.source),
            "url": self.source if self.is_url else EXAMPLE_URL,
            "dataset": DATASET,
            "max_attempts": ATTEMPTS,
            **self.attributes,
        }
        if self.day is not None:
            today = datetime.now(UTC).date()  # in the feed's time zone it may be tomorrow already
            given = declared.get("partition_by_date") or {}
            declared["partition_by_date"] = {"start_date": min(self.day, today), **given}
        try:
            return Feed(**declared)
        except ValidationError as failure:
            first = failure.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the feed"
            texts = {
                "extra_forbidden": "is not an attribute",
                "tuple_type": "is a list: write [a, b]",
            }
            why = texts.get(first["type"], first["msg"].removeprefix("Value error, "))
            raise SettingError(why if why.startswith(where) else f"{where} {why}") from None


def _name(source: str) -> str:
    """Derive the feed's name from the last part of the source."""
    path = PurePosixPath(_path(PLACEHOLDER.sub("", source)) if "://" in source else source)
    name = re.sub(r"[^A-Za-z0-9]+", "_", path.name.partition(".")[0]).strip("_").lower()
    return name if NAME.fullmatch(name) and name not in RESERVED else "feed"


def _path(url: str) -> str:
    try:
        return Url.parse(url, schemes=SOURCES).path
    except ValueError:
        return ""
