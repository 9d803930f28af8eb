"""Parse URLs strictly, and redact them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import parse_qsl, quote, urljoin

DAY = re.compile(r"\d{8}")
ASCII = bytes(range(0x80)).decode()
PLACEHOLDER = re.compile(r"\{[^{}]*\}")
WEB = ("http", "https")
BUCKETS = ("gs", "s3")
FILES = ("file", "sftp")
SOURCES = WEB + FILES + BUCKETS
_PARTS = re.compile(r"([a-z][a-z0-9]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_LABELS = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")  # many parsers see IPv4 there
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNQUOTED = "%/?:@!$&'()*+,;=-._~"  # RFC 3986, 3.3 and 3.4
_ADDED_DAY = re.compile(r"[?&]date=\d{8}$")
_DEFAULT_PORTS = {"http": 80, "https": 443, "sftp": 22}


@dataclass(frozen=True, repr=False)
class Url:
    """A URL: http, https, or that of a file. `str(url)` is redacted; `full` has the secrets.

    `host` is in lower case, an IPv6 address without its brackets; for gs:// and s3:// it is the
    bucket, for file:// empty. `path` and `query` are percent-encoded. A fragment is dropped.

    A template has placeholders for the day in `path` or `query`. A URL made from it has their
    values in `public`, which `str(url)` shows, and the redacted template in `template`.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str | None
    public: tuple[str, ...] = ()
    template: str | None = None

    @classmethod
    def parse(cls, text: str, *, placeholders: bool = False, schemes: Collection[str] = WEB) -> Url:
        """Parse a URL. Raise ValueError, without quotes, for one that parsers read differently.

        Examples are backslashes, white space and user info. All parsers find the same host and
        port in `full`. With `placeholders`, braces stay as they are.
        """
        _check_characters(text)
        parts = _PARTS.fullmatch(text)
        scheme = parts[1].lower() if parts else ""
        if parts is None or scheme not in schemes or (scheme in WEB and not parts[2]):
            *first, last = schemes
            raise ValueError(f"is not an {', '.join(first)} or {last} URL")
        authority, path, query = parts[2], parts[3], parts[4]
        if "@" in authority:
            raise ValueError("has credentials in it")
        if scheme in BUCKETS:
            host, port = _bucket(authority), None
        elif scheme == "file":
            host, port = _no_host(authority), None
        else:
            host, port = _host_and_port(authority)
        if scheme not in WEB:
            _check_file(text, path)
        safe = _UNQUOTED + "{}" * placeholders
        checked = f"{path}?{query}"
        if _BAD_PERCENT.search(PLACEHOLDER.sub("", checked) if placeholders else checked):
            raise ValueError("has a % that no two hexadecimal digits follow (write %25 for a %)")
        return cls(
            scheme,
            host,
            _DEFAULT_PORTS.get(scheme, 0) if port is None else port,
            quote(path or "/", safe=safe),
            None if query is None else quote(query, safe=safe),
        )

    def join(self, reference: str) -> Url:
        """Resolve a reference (RFC 3986, 5). Raises ValueError like `parse`."""
        _check_characters(reference)
        try:
            target = urljoin(self.full, reference)
        except ValueError:
            raise ValueError("cannot be read") from None
        return replace(Url.parse(target), public=self.public)

    def with_parameter(self, name: str, value: str, *, public: bool = False) -> Url:
        """Add a parameter to the end of the query. `str(url)` shows a public one."""
        query = f"{self.query}&" if self.query else ""
        shown = (*self.public, value) if public else self.public
        return replace(self, query=f"{query}{name}={value}", public=shown)

    def with_parameters(self, encoded: Mapping[str, str]) -> Url:
        """Add percent-encoded parameters, unless the query has one of that name already."""
        names = {item.partition("=")[0] for item in (self.query or "").split("&")}
        url = self
        for name, value in encoded.items():
            if name not in names:
                url = url.with_parameter(name, value)
        return url

    @property
    def full(self) -> str:
        """The URL to request, secrets included."""
        return self._text(self.query)

    def __str__(self) -> str:
        shown = [
            _redacted(each, self.public) for each in (self.query or "").split("&") if self.query
        ]
        return self._text("&".join(shown) or None)

    __repr__ = __str__

    @property
    def without_day(self) -> str:
        """The redacted URL for errors that concern every day."""
        return self.template or _ADDED_DAY.sub("", str(self))

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """Decoded names and values of the query, including empty ones, without placeholders."""
        return parse_qsl(PLACEHOLDER.sub("", self.query or ""), keep_blank_values=True)

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: the server (RFC 6454)."""
        return self.scheme, self.host, self.port

    @property
    def is_loopback(self) -> bool:
        """True for localhost, 127.0.0.0/8 and ::1."""
        if ":" in self.host:
            address = IPv6Address(self.host)
            return (address.ipv4_mapped or address).is_loopback
        return self.host == "localhost" or (
            _NUMERIC.fullmatch(self.host) is not None and IPv4Address(self.host).is_loopback
        )

    def _text(self, query: str | None) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS.get(self.scheme, 0) else f":{self.port}"
        asked = "" if query is None else f"?{query}"
        return f"{self.scheme}://{host}{port}{self.path}{asked}"


def is_private(url: Url) -> bool:
    """Return True if nobody can intercept the request: anything but http, or localhost."""
    return url.scheme != "http" or url.is_loopback


def may_follow(url: Url, target: Url) -> bool:
    """Return True if credentials may follow a redirect.

    The target must have the same origin, or the same host with https instead of http.
    """
    upgraded = (url.scheme, url.port, target.scheme, target.port) == ("http", 80, "https", 443)
    return url.origin == target.origin or (upgraded and url.host == target.host)


def redact(text: str) -> str:
    """Return the URL with `***` for each query value except the date; `***` for an invalid URL."""
    try:
        return str(Url.parse(text))
    except ValueError:
        return "***"


def _check_characters(text: str) -> None:
    if any(char == "\\" or char.isspace() or not char.isprintable() for char in text):
        raise ValueError("has a space, a control character or a backslash in it")


def _check_file(text: str, path: str) -> None:
    if "?" in text or "#" in text:
        raise ValueError("has a ? or # in it, which a file's URL cannot have (write %3F or %23)")
    if "*" in path:
        raise ValueError("has a * in it; a feed is one file, or one file a day")
    if path.endswith("/") or not path:
        raise ValueError("names a folder; write the path of a file")


def _bucket(authority: str) -> str:
    """Return the bucket. Its name may look like an IP address or have capitals."""
    if not _BUCKET.fullmatch(authority):
        raise ValueError("has a bucket whose name cannot be right")
    return authority


def _no_host(authority: str) -> str:
    if authority not in ("", "localhost"):
        raise ValueError("has a host in it; write file:///path/to/file, with three slashes")
    return ""


def _host_and_port(authority: str) -> tuple[str, int | None]:
    if not authority.isascii():
        raise ValueError("has a host that is not ASCII (write its IDNA form, such as xn--...)")
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise ValueError("has a host or a port that cannot be read")
    host, port = found[1].lower(), None if found[2] is None else int(found[2])
    if port is not None and not 1 <= port <= 65535:
        raise ValueError("has a port that is not between 1 and 65535")
    try:
        if host.startswith("["):
            return IPv6Address(host[1:-1]).compressed, port
        if _NUMERIC.fullmatch(host):
            return str(IPv4Address(host)), port
    except ValueError:
        raise ValueError("has an IP address that cannot be read") from None
    if not _LABELS.fullmatch(host) or len(host) > 253:
        raise ValueError("has a host name that cannot be right")
    return host, port


def _redacted(item: str, public: tuple[str, ...]) -> str:
    """Redact one query item, unless its value is one that feed_assets fills in itself."""
    name, equals, value = item.partition("=")
    if not equals:
        return "***"
    added = name == "date" and DAY.fullmatch(value)
    if added or value in public or PLACEHOLDER.fullmatch(value):
        return item
    return f"{name}={'***' if value else ''}"
