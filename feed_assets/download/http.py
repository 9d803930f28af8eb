"""One request to a feed's server: its headers, its redirects, and what its refusals mean."""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

import requests
import urllib3.exceptions
from requests.cookies import RequestsCookieJar, extract_cookies_to_jar
from requests.utils import get_environ_proxies, select_proxy

from feed_assets.config.feed import Feed
from feed_assets.download.cancellation import Adapter, Transfer
from feed_assets.download.diagnosis import diagnose, proxy_wants_credentials, without_day
from feed_assets.download.headers import delay, printable
from feed_assets.errors import (
    AccessRefused,
    NotFound,
    NotNdjson,
    RequestRefused,
    ServerFailed,
    SettingError,
)
from feed_assets.urls import Url, is_private, may_follow

BUSY = {408, 425, 429}
CONDITION_REFUSED = {400, 412, 416, 431, 501}
"""Answers of servers that do not understand a condition; any other means the feed itself."""
REDIRECTS = 10
ASCII = bytes(range(0x80)).decode()
USER_AGENT = f"feed_assets/{version('feed_assets')}"


class ConditionRefused(ServerFailed):
    """An answer to headers that only save work; the same request without them can succeed."""


class _Redacted(logging.Filter):
    """urllib3 logs URLs with their queries, and with a traceback the headers it cannot read."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = re.sub(r"\?[^\s\"')]*", "?***", record.getMessage()), ()
        return not record.exc_info


for _name in ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(_Redacted())


class _Session(requests.Session):
    def resolve_redirects(self, *args: Any, **options: Any) -> Any:
        """Nothing: its parent's reads a redirect's whole body, also where it is not followed."""
        return iter(())


@contextmanager
def session(feed: Feed) -> Iterator[requests.Session]:
    """A session for all days of a run: it shares connections, and no cookies.

    `requests` itself reads nothing from the environment: it would send what a ~/.netrc has for
    the host, and what is for this machine through a proxy.
    """
    with _Session() as made:
        made.mount("http://", adapter := Adapter(pool_maxsize=feed.parallel_requests))
        made.mount("https://", adapter)
        made.trust_env = False
        made.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        made.headers.update(
            {
                "Accept": "application/x-ndjson, application/json;q=0.9, */*;q=0.5",
                "Accept-Encoding": "gzip",
                "User-Agent": USER_AGENT,
            }
        )
        yield made


@contextmanager
def answered(
    http: requests.Session,
    feed: Feed,
    url: Url,
    asked: Mapping[str, str],
    transfer: Transfer,
) -> Iterator[requests.Response]:
    """The answer to a request with these headers, its body still to be read.

    Its status is 200, or one that only these headers allow: 206 and 416 to a Range, 304 to an
    If-None-Match or If-Modified-Since. Anything else raises DownloadError.
    """
    secret = given = feed.credentials()
    cookies = defaultdict[object, RequestsCookieJar](RequestsCookieJar)  # of each origin its own
    for _ in range(REDIRECTS + 1):
        shown = str(url)
        transfer.check()
        left = max(transfer.remaining, 0.001)
        try:
            response = http.get(
                url.full,
                headers={**asked, **secret},
                cookies=cookies[url.origin],
                proxies=_proxies(url),
                verify=_authorities(),
                timeout=(min(feed.connect_timeout, left), min(feed.read_timeout, left)),
                stream=True,
                allow_redirects=False,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as failure:
            transfer.check()  # it may have been cut
            raise diagnose(failure, url, _proxy(url), feed) from None
        with response:
            if not response.is_redirect:
                if response.status_code in {401, 403} and secret != given:
                    raise _without_credentials(response, shown)
                if response.status_code == 407:
                    raise SettingError(proxy_wants_credentials(_proxy(url)))
                _check_status(response, shown, asked, feed)
                yield response
                transfer.lets_go()
                return
            extract_cookies_to_jar(  # type: ignore[no-untyped-call]  # its stub has no types
                cookies[url.origin], response.request, response.raw
            )
        target = _target(url, response.headers["Location"], feed)
        if not may_follow(url, target):
            secret = {}
        url = target
    raise RequestRefused(
        f"{feed.address} redirects more than {REDIRECTS} times, the last time to {url}; check the "
        f"feed's url",
        url=str(feed.address),
    )


def _proxies(url: Url) -> dict[str, str]:
    """The proxies that the environment names for a URL: for one on this machine, none."""
    return {} if url.is_loopback else get_environ_proxies(url.full)


def _authorities() -> str | bool:
    """The file of authorities to trust that the environment names; else those of `certifi`."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True


def _target(url: Url, location: str, feed: Feed) -> Url:
    """Where a redirect leads: never from what is private to where others could read and change."""
    try:
        # header values are bytes that http.client decodes as Latin-1
        target = url.join(quote(location.encode("latin-1"), safe=ASCII))
    except ValueError as mistake:
        raise RequestRefused(
            f"{url} redirects to an address that {mistake}; have the feed's server corrected, or "
            f"set url to where the feed is",
            url=str(url),
        ) from None
    if is_private(url) and not is_private(target) and not feed.allow_insecure:
        raise RequestRefused(
            f"{url} redirects to {target}, which is plain http and no longer private; have it "
            f"redirect to https, or set allow_insecure: true",
            url=str(url),
        )
    return target


def _proxy(url: Url) -> str | None:
    """The proxy that a request to the URL goes through."""
    return select_proxy(url.full, _proxies(url))


def _answer_of(url: str, response: requests.Response) -> str:
    return f"{url} answered {response.status_code} {printable(response.reason)}".rstrip()


def _without_credentials(response: requests.Response, url: str) -> AccessRefused:
    return AccessRefused(
        f"{_answer_of(without_day(url), response)}; the feed's url redirects there, and "
        f"credentials are not sent to another server: set url to where it leads",
        url=url,
        status=response.status_code,
    )


def _is_final(status: int) -> bool:
    """Tell whether the same request gets the same answer later; of a 401 each request would."""
    return status not in BUSY and status != 401 and (status < 500 or status == 501)


def _check_status(
    response: requests.Response, url: str, asked: Mapping[str, str], feed: Feed
) -> None:
    status = response.status_code
    said = _answer_of(url, response)
    if status == 200 or (status == 206 and "Range" in asked):
        return
    if status == 304 and {"If-None-Match", "If-Modified-Since"} & asked.keys():
        return
    if (status in CONDITION_REFUSED and asked) or ("Range" in asked and _is_final(status)):
        raise ConditionRefused(
            f"{said} to a request with {' and '.join(asked)}", url=url, status=status
        )
    if status in BUSY or status >= 500:
        wait = delay(response.headers.get("Retry-After"), response.headers.get("Date"))
        if wait is not None:
            said += f" and wants to be asked again in {wait:.0f} s"
        raise ServerFailed(said, url=url, status=status, retry_after=wait)
    if status == 204:
        raise NotNdjson(f"{said}, so there is no feed; a feed without rows is a 200 with no lines")
    if status in {401, 403}:
        variables = " and ".join(feed.secret_variables)
        check = (
            f"check what the environment has in {variables}"
            if variables
            else "the feed declares no credentials (basic_auth, bearer_auth or headers_env)"
        )
        if status == 401:  # which concerns every day
            said = _answer_of(without_day(url), response)
        raise AccessRefused(f"{said}; {check}", url=url, status=status)
    if status in {404, 410}:
        day = ", and that it has this day" if feed.partition_by_date else ""
        raise NotFound(f"{said}; check the feed's url{day}", url=url, status=status)
    raise RequestRefused(
        f"{said}; check the feed's url and what its server expects", url=url, status=status
    )
