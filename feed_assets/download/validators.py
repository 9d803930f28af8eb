"""What a server says by which an answer is known again (RFC 9110, 8.8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from feed_assets.download.headers import date_of, entity_tag

_SETTLED = timedelta(seconds=2)  # before, it may change once more under the same Last-Modified


@dataclass(frozen=True)
class Validators:
    """Of one answer: its entity tag, and when it was last modified, as the server wrote them."""

    etag: str | None = None
    last_modified: str | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Validators:
        """Those that can be trusted."""
        changed, now = (date_of(headers.get(name)) for name in ("Last-Modified", "Date"))
        settled = changed is not None and now is not None and now - changed >= _SETTLED
        last_modified = headers.get("Last-Modified") if settled else None
        return cls(entity_tag(headers.get("ETag")), last_modified)

    def __bool__(self) -> bool:
        return bool(self.etag or self.last_modified)

    @property
    def strong(self) -> str | None:
        """What says that the answer is the same to the byte, if anything does."""
        return self.etag if self.etag and self.etag.startswith('"') else None

    def unless_same(self) -> Mapping[str, str]:
        """Headers that ask for the answer only if it has changed."""
        asked = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in asked.items() if value}
