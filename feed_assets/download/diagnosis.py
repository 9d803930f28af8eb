"""Explain a failed request in one sentence; the errors of `requests` may quote secrets."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from http.client import (
    BadStatusLine,
    HTTPException,
    LineTooLong,
    RemoteDisconnected,
    UnknownProtocol,
)

import requests
import urllib3.exceptions

from feed_assets.config.feed import Feed
from feed_assets.download.cancellation import HandshakeTimeoutError, TunnelError
from feed_assets.download.headers import printable
from feed_assets.errors import FeedAssetsError, RequestRefused, SettingError, Unreachable
from feed_assets.urls import Url

AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Environment variables for a file or folder of certificate authorities, in order."""
PROBE_SECONDS = 2.0
"""Time limit to probe a port's protocol, if `connect_timeout` is longer."""
_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
"""OpenSSL's reasons for a response that is not TLS."""
_TLS_ALERT = "\x15\x03"


def diagnose(
    failure: Exception, url: Url, proxy: str | None, feed: Feed, setting: str
) -> FeedAssetsError:
    """Return the error for a failed request; `proxy` is the proxy it used, if any.

    `setting` has the URL and is what to check. The error is transient only if a retry with the
    same settings can succeed.
    """
    shown = url.without_day
    if proxy is not None:
        shown += f" (through the proxy {_address(proxy)})"
    causes = list(_causes(failure))
    if why := _setting(failure, causes, proxy):
        return SettingError(why)
    if why := _refusal(causes, url, proxy, feed, setting):
        return RequestRefused(f"{shown} {why}", url=shown)
    if why := _interruption(failure, causes, proxy, feed):
        return Unreachable(f"{shown} {why}", url=shown)
    return RequestRefused(
        f"{shown} cannot be requested ({type(failure).__name__}); check {setting}", url=shown
    )


def _setting(failure: Exception, causes: list[BaseException], proxy: str | None) -> str | None:
    """Describe a wrong environment variable."""
    named = f"the proxy {_address(proxy)}, which the environment names," if proxy else "the proxy"
    if isinstance(failure, requests.exceptions.InvalidSchema):
        return (
            f"{named} is a SOCKS proxy, for which PySocks is not installed; run "
            f"pip install 'requests[socks]', or name an http proxy"
        )
    if isinstance(failure, requests.exceptions.InvalidProxyURL) or any(
        isinstance(cause, urllib3.exceptions.ProxySchemeUnknown) for cause in causes
    ):
        return f"{named} is not a proxy's URL; write http://host:port"
    tunnel = next((cause for cause in causes if isinstance(cause, TunnelError)), None)
    if tunnel is not None and tunnel.status == requests.codes.proxy_authentication_required:
        return proxy_wants_credentials(proxy)
    if isinstance(failure, requests.exceptions.ProxyError) and _is_no_tls(causes):
        return f"{named} does not speak TLS; begin its URL with http://"
    if any(isinstance(cause, ssl.SSLError) for cause in causes) or not isinstance(
        failure, requests.RequestException | urllib3.exceptions.HTTPError
    ):
        return _bad_authorities()
    return None


def proxy_wants_credentials(proxy: str | None) -> str:
    """Return the message for status 407."""
    named = f"the proxy {_address(proxy)}" if proxy else "a proxy on the way to the feed's server"
    return (
        f"{named} wants credentials (407 Proxy Authentication Required); the environment variable "
        f"that names it can have them: http://user:password@host:port"
    )


def _bad_authorities() -> str | None:
    name = next((name for name in AUTHORITIES if os.environ.get(name)), None)
    if name is None:
        return None
    path = os.environ[name]
    try:
        where = {"capath": path} if os.path.isdir(path) else {"cafile": path}
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(**where)
    except OSError as mistake:
        if isinstance(mistake, ssl.SSLError):
            why = "holds no certificate in PEM form"
        else:
            why = f"cannot be read: {mistake.strerror}"
        return (
            f"the environment variable {name} names {path}, which {why}; have it name a file of "
            f"authorities to trust, or unset it"
        )
    return None


def _refusal(
    causes: list[BaseException], url: Url, proxy: str | None, feed: Feed, setting: str
) -> str | None:
    """Describe a permanent cause."""
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"has a certificate that is not trusted ({cause.verify_message}); "
                f"{AUTHORITIES[0]} can name a file of authorities to trust"
            )
        if isinstance(cause, TunnelError) and cause.status and cause.status < 500:
            return (
                f"cannot be reached: the proxy answered {cause.status} to CONNECT; ask who runs it"
            )
        if isinstance(cause, LineTooLong):
            return "answered with a header of more than 65,536 bytes; have its server send less"
        if isinstance(cause, UnknownProtocol):
            return f"answered in {printable(cause.args[0])}, not in HTTP/1.1; check {setting}"
        if isinstance(cause, BadStatusLine) and not isinstance(cause, RemoteDisconnected):
            line = str(cause.args[0])
            if line.startswith(_TLS_ALERT):
                return _https(setting)
            if not "HTTP/".startswith(line[:5].strip()):  # else it may have been cut
                begins = "a row" if line[:1] in {"{", "["} else repr(printable(line, 20))
                return f"did not answer in HTTP, but with {begins}; check {setting}"
        if type(cause) is HTTPException:  # "got more than ..."
            many = str(cause).removeprefix("got ")
            return f"answered with {many}; have its server send fewer"
    patience = min(PROBE_SECONDS, feed.connect_timeout)
    if _is_no_tls(causes) or (
        proxy is None and _has(causes, HandshakeTimeoutError) and _speaks_http(url, patience)
    ):
        return f"does not speak TLS; begin {setting} with http://, or correct its port"
    cut = _has(causes, ConnectionError) or _has(causes, BadStatusLine)
    if proxy is None and cut and url.scheme == "http" and _speaks_tls(url, patience):
        return _https(setting)
    return None


def _https(setting: str) -> str:
    return f"speaks TLS only; begin {setting} with https://, or correct its port"


def _interruption(
    failure: Exception, causes: list[BaseException], proxy: str | None, feed: Feed
) -> str | None:
    """Describe a temporary cause."""
    tunnel = next((cause for cause in causes if isinstance(cause, TunnelError)), None)
    if tunnel is not None and tunnel.status:
        return f"cannot be reached: the proxy answered {tunnel.status} to CONNECT"
    if tunnel is not None and tunnel.timed_out:
        return f"cannot be reached: the proxy did not answer within {feed.connect_timeout:g} s"
    if tunnel is not None:
        return "cannot be reached: the proxy closed the connection before it answered"
    if _has(causes, HandshakeTimeoutError):
        return f"did not begin TLS within {feed.connect_timeout:g} s (connect_timeout)"
    if isinstance(failure, requests.exceptions.ConnectTimeout):
        return f"did not accept a connection within {feed.connect_timeout:g} s (connect_timeout)"
    if isinstance(failure, requests.exceptions.Timeout):
        return f"sent nothing for {feed.read_timeout:g} s (read_timeout)"
    if isinstance(failure, requests.exceptions.ProxyError):
        if _has(causes, urllib3.exceptions.NameResolutionError):
            return "cannot be reached: the proxy has a host name that cannot be resolved"
        if _has(causes, urllib3.exceptions.NewConnectionError):
            return "cannot be reached: the proxy accepts no connection; check that it runs"
        if _has(causes, urllib3.exceptions.ConnectTimeoutError):
            return f"cannot be reached: the proxy did not answer within {feed.connect_timeout:g} s"
    if _has(causes, urllib3.exceptions.NameResolutionError):
        return "has a host name that cannot be resolved; check that it is right"
    tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    if tls is not None:
        return f"broke off while TLS began ({tls.reason or type(tls).__name__})"
    if _has(causes, HTTPException) or _has(causes, ConnectionError):
        return "closed the connection before it answered"
    origins = [cause.__cause__ for cause in causes]  # urllib3 has no other place for this one
    if any(getattr(each, "errno", None) in {errno.EMFILE, errno.ENFILE} for each in origins):
        return "cannot be reached, as this machine has too many open files (ulimit -n)"
    if isinstance(failure, requests.exceptions.ConnectionError) or not isinstance(
        failure, requests.RequestException | urllib3.exceptions.HTTPError
    ):
        return "cannot be reached; check that its server runs and the host name is right"
    return None


def _has(causes: list[BaseException], kind: type[BaseException]) -> bool:
    return any(isinstance(cause, kind) for cause in causes)


def _is_no_tls(causes: list[BaseException]) -> bool:
    return any(isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS for cause in causes)


def _speaks_http(url: Url, seconds: float) -> bool:
    """Probe the port without TLS; a 400 does not count, as many TLS servers send it."""
    with suppress(OSError), _connected(url, seconds) as plain:
        plain.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
        answer = plain.recv(12)
        return answer.startswith(b"HTTP/") and not answer.endswith(b" 400")
    return False


def _speaks_tls(url: Url, seconds: float) -> bool:
    """Probe the port with TLS; any certificate counts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with suppress(OSError), _connected(url, seconds) as plain, context.wrap_socket(plain):
        return True
    return False


def _connected(url: Url, seconds: float) -> socket.socket:
    return socket.create_connection((url.host, url.port), seconds)


def _address(proxy: str) -> str:
    """Return scheme, host and port of a proxy's URL, in whatever form it is."""
    scheme, found, rest = proxy.rpartition("://")
    return f"{scheme}{found}{re.split('[/?#]', rest.rpartition('@')[2])[0]}"


def _causes(failure: object) -> Iterator[BaseException]:
    """Yield an error and its causes, which urllib3 has in `reason` or in the arguments."""
    if isinstance(failure, BaseException):
        yield failure
        for inner in (getattr(failure, "reason", None), *failure.args):
            yield from _causes(inner)
