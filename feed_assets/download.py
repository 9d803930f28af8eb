"""Feed and day in, a body to its verified end out, or an error that says what to do."""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version

import requests
import urllib3.exceptions
from requests.auth import HTTPBasicAuth

from feed_assets.errors import (
    AccessRefused,
    DiskFailed,
    DownloadError,
    NotFound,
    NotNdjson,
    RequestRefused,
    ServerFailed,
    Truncated,
    Unreachable,
)
from feed_assets.feed import Feed, redact
from feed_assets.source import Arriving, UnwantedError, nameless

CHUNK = 1 << 20  # bytes
BUSY = {408, 425, 429}


@dataclass(frozen=True)
class Whole:
    """A body that has arrived to its end: its size decoded, its hash, and how long it took."""

    bytes: int
    sha256: str
    seconds: float


@dataclass(frozen=True)
class Download:
    """A feed's body, decoded, and the redacted URL it is from.

    It may be read while it arrives: if its end is not reached, the reader gets the DownloadError.
    """

    source: Arriving
    url: str
    whole: Future[Whole]


def download(feed: Feed, day: date | None, begun: Callable[[Download], None]) -> None:
    """Fetches a feed, for a feed by date that of one day, and returns when it is over.

    `begun` gets the download as soon as the server has agreed to answer. Before that it raises
    SettingError where a credential is missing, DownloadError where the server gave no such answer;
    `transient` tells whether trying again can help. After that, who reads gets the error.
    """
    started = time.monotonic()
    credentials = feed.credentials()
    # in UTF-8 (RFC 7617, 2.1); of a str, `requests` makes Latin-1
    auth = HTTPBasicAuth(*(each.encode() for each in credentials)) if credentials else _no_auth
    url = feed.url_for(day)
    shown = redact(url)
    headers = {
        "Accept": "application/x-ndjson",
        "Accept-Encoding": "gzip",
        "User-Agent": f"feed_assets/{version('feed_assets')}",
    }
    timeout = (feed.connect_timeout, feed.read_timeout)
    try:
        with requests.get(
            url, auth=auth, headers=headers, timeout=timeout, stream=True
        ) as response:
            _check_status(response, shown)
            with nameless() as file:
                _receive(response, shown, timeout, Arriving(file), started, begun)
    except _FOREIGN as failure:
        raise _translated(failure, shown, timeout) from None


def _receive(
    response: requests.Response,
    url: str,
    timeout: tuple[float, float],
    arriving: Arriving,
    started: float,
    begun: Callable[[Download], None],
) -> None:
    """Returns when the body is there, or is not to be had, and nobody reads it any more."""
    whole: Future[Whole] = Future()
    begun(Download(arriving, url, whole))
    digest, size = hashlib.sha256(), 0
    try:
        for chunk in _body(response, url):
            digest.update(chunk)
            arriving.write(chunk)
            size += len(chunk)
        whole.set_result(Whole(size, digest.hexdigest(), time.monotonic() - started))
        arriving.end()
    except UnwantedError:
        return
    except Exception as failure:  # noqa: BLE001  (who reads would else wait for ever)
        arriving.end(_translated(failure, url, timeout))
    arriving.wait_until_left()


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps `requests` from sending what a ~/.netrc has for the host."""
    return request


def _body(response: requests.Response, url: str) -> Iterator[bytes]:
    """The decoded body, or Truncated: `requests` alone takes a gzip stream cut short as whole."""
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding not in {"identity", "gzip", "x-gzip"}:
        raise RequestRefused(
            f"{url} answered in the encoding {encoding}, which was not asked for", url=url
        )
    inflate = zlib.decompressobj(wbits=31) if "gzip" in encoding else None
    try:
        for chunk in response.raw.stream(CHUNK, decode_content=False):
            if inflate is None:
                yield chunk
                continue
            while chunk:
                if inflate.eof:  # a stream of several gzip members is one body
                    inflate = zlib.decompressobj(wbits=31)
                yield inflate.decompress(chunk)
                chunk = inflate.unused_data
    except (urllib3.exceptions.ProtocolError, urllib3.exceptions.TimeoutError) as failure:
        waited = isinstance(failure, urllib3.exceptions.TimeoutError)
        why = "stopped for longer than read_timeout" if waited else "broke off before its end"
        raise Truncated(f"the answer of {url} {why}; try again", url=url) from None
    except zlib.error:
        raise Truncated(f"the answer of {url} is no sound gzip; try again", url=url) from None
    if inflate is not None and not inflate.eof:
        raise Truncated(f"the answer of {url} broke off inside its gzip; try again", url=url)


def _check_status(response: requests.Response, url: str) -> None:
    status = response.status_code
    said = f"{url} answered {status} {response.reason or ''}".rstrip()
    if status == 200:
        return
    if status == 204:
        raise NotNdjson(f"{said}, so there is no feed; a feed without rows is a 200 with no lines")
    if status in {401, 403}:
        raise AccessRefused(
            f"{said}; check the user name and password in the variables that basic_auth names",
            url=url,
            status=status,
        )
    if status in {404, 410}:
        raise NotFound(
            f"{said}; check the feed's url, and that it has this day", url=url, status=status
        )
    if status in BUSY or status >= 500:
        raise ServerFailed(f"{said}; try again later", url=url, status=status)
    raise RequestRefused(
        f"{said}; check the feed's url and what its server expects", url=url, status=status
    )


_FOREIGN = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


def _translated(failure: Exception, url: str, timeout: tuple[float, float]) -> Exception:
    """Our error for what the libraries raise; ours as it is."""
    if isinstance(failure, requests.RequestException):
        return _unreachable(failure, url, timeout)
    if isinstance(failure, urllib3.exceptions.HTTPError):
        why = f"{url} cannot be requested ({type(failure).__name__}); check the feed's url"
        return RequestRefused(why, url=url)
    if isinstance(failure, OSError):
        return DiskFailed(f"{url} could not be kept on disk: {failure}")
    return failure


def _unreachable(
    failure: requests.RequestException, url: str, timeout: tuple[float, float]
) -> DownloadError:
    """Our sentence for what `requests` raises; its own may quote the URL with its secrets."""
    if isinstance(failure, requests.exceptions.ConnectTimeout):
        why = f"did not accept a connection within {timeout[0]:g} s (connect_timeout); try again"
    elif isinstance(failure, requests.exceptions.Timeout):
        why = f"sent nothing for {timeout[1]:g} s (read_timeout); try again"
    elif isinstance(failure, requests.exceptions.SSLError):
        return RequestRefused(f"{url} has a certificate that is not trusted", url=url)
    elif isinstance(failure, requests.exceptions.TooManyRedirects):
        return RequestRefused(f"{url} redirects in circles; check the feed's url", url=url)
    elif isinstance(failure, requests.exceptions.ConnectionError):
        why = "cannot be reached; check that its server runs and the host name is right"
    else:
        return RequestRefused(f"{url} cannot be requested ({type(failure).__name__})", url=url)
    return Unreachable(f"{url} {why}", url=url)
