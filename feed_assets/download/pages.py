"""The pages of a feed, one after the other."""

from __future__ import annotations

import hashlib
from logging import LoggerAdapter
from typing import Any
from urllib.parse import quote

from requests.utils import parse_header_links

from feed_assets.config.feed import Feed
from feed_assets.config.pages import Pages
from feed_assets.download.response_body import BodyEnd
from feed_assets.errors import RequestRefused, TooLarge
from feed_assets.urls import ASCII, Url, is_private


class PageSequence:
    """Leads from one page to the next. `url` is that of the page to request."""

    def __init__(self, feed: Feed, pages: Pages, url: Url, log: LoggerAdapter[Any]) -> None:
        """`url` is that of the feed, for a day."""
        self._feed, self._pages, self._first, self._log = feed, pages, url, log
        self._number = 1
        self._previous = b""
        self._next_was_named = False
        self.url = self._numbered()
        self._requested = {_digest(self.url)}

    def advance(self, end: BodyEnd, rows: bytes) -> bool:
        """Go to the next page, unless this one is the last. `rows` is a hash, or b"" for none.

        Raises RequestRefused for pages that repeat and for a link that must not be followed, and
        TooLarge after `max_pages`.
        """
        if rows and rows == self._previous:
            raise RequestRefused(
                f"pages {self._number - 1} and {self._number} of {self._first} have the same rows, "
                f"so the pages would never end; check pages in the feed's YAML",
                url=str(self._first),
            )
        target = self._next(end, rows)
        if target is None:
            self._log.info(f"read {self._number} pages")
            return False
        if _digest(target) in self._requested:
            raise RequestRefused(
                f"page {self._number - 1} of {self._first} names a page as the next one that was "
                f"read before, so the pages would never end; have its server name none on the "
                f"last page",
                url=str(self._first),
            )
        if self._number > self._pages.max_pages + bool(self._pages.parameter):  # the empty one
            raise TooLarge(
                f"{self._first} has more than {self._pages.max_pages:,} pages; if that is right, "
                f"raise max_pages",
                url=str(self._first),
            )
        self._requested.add(_digest(target))
        self._previous, self.url = rows, target
        return True

    def _next(self, end: BodyEnd, rows: bytes) -> Url | None:
        if self._pages.parameter:
            self._number += bool(rows)
            return self._numbered() if rows else None
        link = self._link(end)
        if link is None:
            if self._number > 1 or self._pages.link_header or self._next_was_named:
                return None
            self._log.warning(
                f"the first page has no {self._pages.next_url}, so it counts as the only one; "
                f"check pages in the feed's YAML"
            )
            return None
        target = self._resolved(end, link)
        self._number += 1
        return target

    def _numbered(self) -> Url:
        pages = self._pages
        if not pages.parameter:
            return self._first
        value = pages.start + (self._number - 1) * pages.step
        return self._first.with_parameter(quote(pages.parameter), str(value), public=True)

    def _link(self, end: BodyEnd) -> str | None:
        if self._pages.link_header:
            links: list[dict[str, str]] = parse_header_links(end.link)
            rels = ((each.get("rel", "").lower().split(), each["url"]) for each in links)
            return next((url for rel, url in rels if "next" in rel), None)
        path = self._pages.next_url or ""
        self._next_was_named = self._next_was_named or path in end.values
        value = end.values.get(path)
        if value in (None, "", False):
            return None
        if not isinstance(value, str):
            raise RequestRefused(
                f"page {self._number} of {self._first} has a {path} that is not a URL; check pages "
                f"in the feed's YAML",
                url=str(self._first),
            )
        return value

    def _resolved(self, end: BodyEnd, link: str) -> Url:
        page = f"page {self._number} of {self._first}"
        try:
            target = end.url.join(quote(link, safe=ASCII))
        except ValueError as mistake:
            raise RequestRefused(
                f"{page} names a next page whose address {mistake}; correct the feed's server",
                url=str(self._first),
            ) from None
        if is_private(self._first) and not is_private(target) and not self._feed.allow_insecure:
            raise RequestRefused(
                f"{page} names {target} as the next one, which is plain http and no longer "
                f"private; configure its server to name https, or set allow_insecure: true",
                url=str(self._first),
            )
        return target


def _digest(url: Url) -> bytes:
    return hashlib.sha256(url.full.encode()).digest()
