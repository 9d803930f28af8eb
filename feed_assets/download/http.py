"""Send one request to a feed's server: headers, redirects, and errors for its refusals."""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import requests
import urllib3.exceptions
from requests.cookies import RequestsCookieJar, extract_cookies_to_jar
from requests.utils import get_environ_proxies, select_proxy

from feed_assets.config.feed import Feed
from feed_assets.decompression import PIECE
from feed_assets.download.cancellation import Adapter, Transfer
from feed_assets.download.diagnosis import diagnose, proxy_wants_credentials
from feed_assets.download.headers import content_range, delay, printable
from feed_assets.download.response import BodyRequest, Response
from feed_assets.download.validators import Validators
from feed_assets.errors import (
    AccessRefused,
    NotFound,
    NotNdjson,
    NotReady,
    RequestRefused,
    ServerFailed,
    SettingError,
    Truncated,
)
from feed_assets.urls import ASCII, BUCKETS, Url, is_private, may_follow

if TYPE_CHECKING:
    from feed_assets.download.oauth2 import AccessTokens

BUSY = {408, 425, 429}
CONDITION_REFUSED = {400, 412, 416, 431, 501}
"""Statuses of servers that do not support a conditional header; others concern the feed."""
MAX_REDIRECTS = 10
USER_AGENT = f"feed_assets/{version('feed_assets')}"


class ConditionRefused(ServerFailed):
    """The server refused headers that only save work; a request without them can succeed."""


_requesting: ContextVar[bool] = ContextVar("requesting", default=False)


class _Redacted(logging.Filter):
    """Redact urllib3's log of our requests: its URLs have queries, its tracebacks have headers."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not _requesting.get():
            return True
        record.msg, record.args = re.sub(r"\?[^\s\"')]*", "?***", record.getMessage()), ()
        return not record.exc_info


for _name in ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(_Redacted())


class _Session(requests.Session):
    tokens: AccessTokens | None = None

    def send(self, *args: Any, **options: Any) -> requests.Response:
        """Send a request; meanwhile urllib3's log is redacted."""
        token = _requesting.set(True)
        try:
            return super().send(*args, **options)
        finally:
            _requesting.reset(token)

    def resolve_redirects(self, *args: Any, **options: Any) -> Any:
        """Return nothing; the parent reads the body of a redirect, even if it does not follow."""
        return iter(())


@contextmanager
def web_session(feed: Feed) -> Iterator[requests.Session]:
    """Open a session for all days of a run, which share connections but no cookies.

    `trust_env` is off: `requests` would send credentials from ~/.netrc, and use a proxy for
    localhost.
    """
    with _Session() as opened:
        opened.mount("http://", adapter := Adapter(pool_maxsize=feed.parallel_requests))
        opened.mount("https://", adapter)
        opened.trust_env = False
        if feed.oauth2:
            from feed_assets.download.oauth2 import AccessTokens

            opened.tokens = AccessTokens(feed.oauth2)
        opened.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        opened.headers.update(
            {
                "Accept": "application/x-ndjson, application/json;q=0.9, */*;q=0.5",
                "Accept-Encoding": "gzip",
                "User-Agent": USER_AGENT,
            }
        )
        yield opened


@contextmanager
def open_response(
    http: requests.Session,
    feed: Feed,
    url: Url,
    request: BodyRequest,
    transfer: Transfer,
) -> Iterator[Response]:
    """Send a request, follow redirects, and yield the unread response.

    A status that is none of a Response raises DownloadError. Credentials go to the feed's
    server only, whose page `url` is.
    """
    extra_headers, shown = request.headers(), str(url)
    fixed = {name: value.encode() for name, value in feed.headers.items()}
    headers = {**fixed, **extra_headers}
    credentials, parameters = feed.credentials(), feed.secret_parameters()
    certificate = feed.certificate()
    trusted = may_follow(feed.address, url)
    link = "a redirect" if trusted else "a link to the next page"
    refused_token = ""
    cookies = defaultdict[object, RequestsCookieJar](RequestsCookieJar)  # one jar per origin
    for _ in range(MAX_REDIRECTS + 1):
        asked, token = url, ""
        if trusted:
            asked = url.with_parameters(parameters)
            token = _token(http, feed, transfer)
        response = send(
            http,
            feed,
            transfer,
            asked,
            headers={**headers, **(credentials if trusted else {}), **_bearer(token)},
            cookies=cookies[url.origin],
            cert=certificate if trusted else None,
        )
        with response:
            if response.status_code == 401 and token and not refused_token:
                refused_token = token  # it may have been revoked before its end
                cast("_Session", http).tokens.discard(token)  # type: ignore[union-attr]
                continue
            if not response.is_redirect:
                if response.status_code in {401, 403} and feed.secret_variables and not trusted:
                    raise _without_credentials(response, url, link)
                if response.status_code == 407:
                    raise SettingError(proxy_wants_credentials(_proxy(url)))
                check_status(response, url, extra_headers, feed)
                yield unread(response, Url.parse(response.url), shown, transfer)
                transfer.detach()
                return
            extract_cookies_to_jar(  # type: ignore[no-untyped-call]  # its stub has no types
                cookies[url.origin], response.request, response.raw
            )
        target = _target(url, response.headers["Location"], feed)
        trusted = trusted and may_follow(url, target)
        url = target
    raise RequestRefused(
        f"{feed.address} redirects more than {MAX_REDIRECTS} times, last to {url}; check "
        f"the feed's url",
        url=str(feed.address),
    )


def unread(response: requests.Response, url: Url, shown: str, transfer: Transfer) -> Response:
    """Return the response, whose body is read piece by piece as it arrives."""
    headers = response.headers
    return Response(
        url,
        response.status_code,
        _pieces(response, shown, transfer),
        Validators.from_headers(headers),
        response.raw.length_remaining,
        response.raw.chunked,
        _encoding(headers.get("Content-Encoding", "")),
        content_range(headers.get("Content-Range")),
        headers.get("Link", ""),
    )


def _pieces(response: requests.Response, shown: str, transfer: Transfer) -> Iterator[bytes]:
    try:
        while data := response.raw.read1(PIECE, decode_content=False):
            yield data
    except urllib3.exceptions.HTTPError as failure:
        transfer.check()  # the connection may have been cut
        stalled = isinstance(failure, urllib3.exceptions.TimeoutError)
        why = "stalled for longer than read_timeout" if stalled else "broke off before its end"
        raise Truncated(f"the response of {shown} {why}", url=shown) from None
    transfer.check()  # a cut could look like the end


def _encoding(header: str) -> str:
    names = (each.strip() for each in header.lower().split(","))
    return ", ".join(name for name in names if name not in {"", "identity"})


def send(
    http: requests.Session,
    feed: Feed,
    transfer: Transfer,
    url: Url,
    *,
    method: str = "GET",
    setting: str = "the feed's url",
    **options: Any,
) -> requests.Response:
    """Send one request, and return its response without its body.

    `setting` is what errors say to check.
    """
    transfer.check()
    seconds = max(transfer.remaining, 0.001)
    try:
        return http.request(
            method,
            url.full,
            proxies=_proxies(url),
            verify=_ca_file(),
            timeout=(min(feed.connect_timeout, seconds), min(feed.read_timeout, seconds)),
            stream=True,
            allow_redirects=False,
            **options,
        )
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as failure:
        transfer.check()  # the connection may have been cut
        raise diagnose(failure, url, _proxy(url), feed, setting) from None


def _token(http: requests.Session, feed: Feed, transfer: Transfer) -> str:
    """Return the access token, or "" for a feed without oauth2."""
    tokens = cast("_Session", http).tokens
    if tokens is None:
        return ""

    def post(url: Url, headers: dict[str, bytes], body: bytes) -> requests.Response:
        setting = "token_url of the feed's oauth2"
        return send(
            http, feed, transfer, url, method="POST", setting=setting, headers=headers, data=body
        )

    return tokens.current(post)


def _bearer(token: str) -> dict[str, bytes]:
    return {"Authorization": b"Bearer " + token.encode()} if token else {}


def _proxies(url: Url) -> dict[str, str]:
    """Proxies from the environment for a URL; none for localhost."""
    return {} if url.is_loopback else get_environ_proxies(url.full)


def _ca_file() -> str | bool:
    """File of trusted certificate authorities from the environment, or True for certifi's."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True


def _target(url: Url, location: str, feed: Feed) -> Url:
    """Resolve a redirect; refuse one from a private URL to plain http."""
    try:
        # header values are bytes that http.client decodes as Latin-1
        target = url.join(quote(location.encode("latin-1"), safe=ASCII))
    except ValueError as mistake:
        raise RequestRefused(
            f"{url} redirects to an address that {mistake}; correct the feed's "
            f"server, or set url to the address of the feed",
            url=str(url),
        ) from None
    if is_private(url) and not is_private(target) and not feed.allow_insecure:
        raise RequestRefused(
            f"{url} redirects to {target}, which is plain http and no longer private; configure "
            f"its server to redirect to https, or set allow_insecure: true",
            url=str(url),
        )
    return target


def _proxy(url: Url) -> str | None:
    """The proxy for a URL, if any."""
    return select_proxy(url.full, _proxies(url))


def _status_line(url: str, response: requests.Response) -> str:
    return f"{url} answered {response.status_code} {printable(response.reason)}".rstrip()


def _without_credentials(response: requests.Response, url: Url, link: str) -> AccessRefused:
    return AccessRefused(
        f"{_status_line(url.without_day, response)}; {link} of the feed leads there, "
        f"and credentials are never sent to another server: set url to that server's, or ask who "
        f"runs the feed",
        url=str(url),
        status=response.status_code,
    )


def _is_final(status: int) -> bool:
    """True if only this request fails with the status; a 401 concerns every request."""
    return status not in BUSY and status != 401 and (status < 500 or status == 501)


def check_status(
    response: requests.Response, url: Url, extra_headers: Mapping[str, str], feed: Feed
) -> None:
    """Raise DownloadError for a status that is none of a Response."""
    status, shown = response.status_code, str(url)
    message = _status_line(shown, response)
    partial = "Range" in extra_headers
    if status == 200 or (status == 206 and partial):
        return
    if status == 304 and {"If-None-Match", "If-Modified-Since"} & extra_headers.keys():
        return
    wait = delay(response.headers.get("Retry-After"), response.headers.get("Date"))
    if status == 202:
        raise NotReady(
            f"{message}: the feed is not ready yet", url=shown, status=status, retry_after=wait
        )
    if (status in CONDITION_REFUSED and extra_headers) or (partial and _is_final(status)):
        raise ConditionRefused(
            f"{message} to a request with {' and '.join(extra_headers)}", url=shown, status=status
        )
    if status in feed.empty_statuses:
        return
    if status in BUSY or status >= 500:
        if wait is not None:
            message += f" and asks for a retry in {wait:.0f} s"
        raise ServerFailed(message, url=shown, status=status, retry_after=wait)
    if status == 204:
        raise NotNdjson(
            f"{message}, so there is no feed; an empty feed is status 200 with no lines, or "
            f"declare empty_statuses: [204]"
        )
    if status in {401, 403}:
        variables = " and ".join(feed.secret_variables)
        check = (
            "check that the environment's credentials may read it; those that may not list the "
            "bucket get 403 for a missing object, too"
            if url.scheme in BUCKETS
            else f"check what the environment has in {variables}"
            if variables
            else "the feed declares no credentials (basic_auth, bearer_auth, oauth2, query_env "
            "or headers_env)"
        )
        if status == 401:  # concerns every day
            message = _status_line(url.without_day, response)
        raise AccessRefused(f"{message}; {check}", url=shown, status=status)
    if status in {404, 410}:
        day = ", and that it has this day" if feed.partition_by_date else ""
        raise NotFound(f"{message}; check the feed's url{day}", url=shown, status=status)
    raise RequestRefused(
        f"{message}; check the feed's url and what its server expects", url=shown, status=status
    )
