"""Validators of a response: the headers that identify its version (RFC 9110, 8.8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from feed_assets.download.headers import date_of, entity_tag

_MIN_AGE = timedelta(seconds=2)
"""Age of a Last-Modified that can be trusted; before, a second change may get the same one."""


@dataclass(frozen=True)
class Validators:
    """The ETag and the Last-Modified header of one response, as the server wrote them."""

    etag: str | None = None
    last_modified: str | None = None

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Validators:
        """Take the validators that can be trusted."""
        modified, now = (date_of(headers.get(name)) for name in ("Last-Modified", "Date"))
        trusted = modified is not None and now is not None and now - modified >= _MIN_AGE
        last_modified = headers.get("Last-Modified") if trusted else None
        return cls(entity_tag(headers.get("ETag")), last_modified)

    def __bool__(self) -> bool:
        return bool(self.etag or self.last_modified)

    @property
    def strong(self) -> str | None:
        """The ETag if it is a strong one: it identifies the body byte for byte."""
        return self.etag if self.etag and self.etag.startswith('"') else None

    def conditional_headers(self) -> Mapping[str, str]:
        """Request headers that ask for the body only if it has changed."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in headers.items() if value}
