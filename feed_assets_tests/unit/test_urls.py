"""One parser of URLs: strict enough that every other one finds the same server."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import urlsplit

import pytest
import requests
import urllib3.util
from hypothesis import example, given
from hypothesis import strategies as st

from feed_assets.urls import SOURCES, Url, is_private, may_follow, redact

BASE = Url.parse("https://a.example:8443/feeds/orders?key=1")

REFUSED = {
    "http://b.example\\@a.example/x": "a backslash",
    "http://a.example\\.b.example/": "a backslash",
    "\\\\b.example/x": "a backslash",
    "http:\\\\b.example/x": "a backslash",
    "http://b.example/a b": "a space",
    "http://b.example\t@a.example/": "a control character",
    "http://b.example/\nx": "a control character",
    "http://b.example\r\n/": "a control character",
    "http://b.exam\x00ple/": "a control character",
    "http://b.example\u3000/": "a space",
    "http://b.example/\u200b": "a control character",
    "http://a.example@b.example/": "credentials",
    "http://me:hunter2@b.example/": "credentials",
    "http://:@b.example/": "credentials",
    "http://b.example:80@a.example:80/": "credentials",
    "//user@b.example/": "credentials",
    "http://bücher.example/": "not ASCII",
    "http://b\u3002example/": "not ASCII",
    "http://b.example\uff0f@a.example/": "credentials",
    "http://b%2eexample/": "host or a port",
    "http://b%00.example/": "host or a port",
    "http://b.example:/": "host or a port",
    "http://b.example:x/": "host or a port",
    "http://b.example:-1/": "host or a port",
    "http://b.example:8_0/": "host or a port",
    "http://b.example:80:80/": "host or a port",
    f"http://b.example:{'8' * 5000}/": "host or a port",
    "http://b.example:0/": "between 1 and 65535",
    "http://b.example:65536/": "between 1 and 65535",
    "http://b.example:99999/": "between 1 and 65535",
    "http://[::1/": "",
    "http://::1/": "host or a port",
    "http://[::1]x/": "",
    "http://[::1%25eth0]/": "",
    "http://[1]/": "",
    "http://[:::1]/": "",
    "http://[v1.x]/": "",
    "http://127.1/": "IP address",
    "http://2130706433/": "IP address",
    "http://0x7f.0.0.1/": "IP address",
    "http://0177.0.0.1/": "IP address",
    "http://127.0.0.1./": "IP address",
    "http://1.2.3.256/": "IP address",
    "http://b..example/": "host name",
    "http://.example/": "host name",
    f"http://{'b' * 64}.example/": "host name",
    f"http://{'b.' * 150}example/": "host name",
    "http://b.example/%zz": "%",
    "http://b.example/?a=5%": "%",
    "ftp://b.example/": "not an http or https URL",
    "file:///etc/passwd": "not an http or https URL",
    "javascript:alert(1)": "not an http or https URL",
    "http:///x/": "",
    "https://": "",
}
"""URLs, also as what a redirect leads to, and why they are refused."""


@pytest.mark.parametrize(("text", "why"), REFUSED.items(), ids=map(ascii, REFUSED))
def test_a_url_that_two_parsers_could_read_differently_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^(has|is|cannot) .*" + why.replace("%", "%.*%25")) as no:
        Url.parse(f"http:{text}" if text.startswith("//") else text)
    assert "hunter2" not in str(no.value)
    assert redact(text) == "***"


@pytest.mark.parametrize(
    ("text", "host", "path", "full"),
    [
        ("file:///a/ö b".replace(" ", "%20"), "", "/a/%C3%B6%20b", "file:///a/%C3%B6%20b"),
        ("file://localhost/a", "", "/a", "file:///a"),
        ("sftp://Crm.example:22/a", "crm.example", "/a", "sftp://crm.example/a"),
        ("sftp://[::1]:2222/a", "::1", "/a", "sftp://[::1]:2222/a"),
        ("gs://127.0.0.1/a=1", "127.0.0.1", "/a=1", "gs://127.0.0.1/a=1"),
        ("S3://My_Bucket/a/b", "My_Bucket", "/a/b", "s3://My_Bucket/a/b"),
    ],
)
def test_a_file_has_a_url_too(text: str, host: str, path: str, full: str) -> None:
    url = Url.parse(text, schemes=SOURCES)
    assert (url.host, url.path, url.full) == (host, path, full)
    assert str(url) == full
    assert is_private(url)
    assert Url.parse(full, schemes=SOURCES) == url


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("http://a.example", "http://a.example/"),
        ("HTTPS://A.Example:443/F", "https://a.example/F"),
        ("http://a.example:80/f", "http://a.example/f"),
        ("https://a.example:80/f", "https://a.example:80/f"),
        ("http://a.example.:8080", "http://a.example.:8080/"),
        ("http://crm_server:8000/f", "http://crm_server:8000/f"),
        ("http://xn--bcher-kva.example/", "http://xn--bcher-kva.example/"),
        ("http://[::1]:8020/f", "http://[::1]:8020/f"),
        ("http://[0:0:0:0:0:0:0:1]/", "http://[::1]/"),
        ("https://a.example/f?a=1#part", "https://a.example/f?a=1"),
        ("https://a.example/ä?filter[b]=ü", "https://a.example/%C3%A4?filter%5Bb%5D=%C3%BC"),
        ("https://a.example/f?a=%2F&b=c%20d", "https://a.example/f?a=%2F&b=c%20d"),
        ("https://a.example?a=1", "https://a.example/?a=1"),
        ("https://a.example/a@b", "https://a.example/a@b"),
    ],
)
def test_a_url_is_requested_in_one_form(text: str, parsed: str) -> None:
    assert Url.parse(text).full == parsed
    assert Url.parse(parsed) == Url.parse(text)


@pytest.mark.parametrize(
    ("reference", "target"),
    [
        ("", "https://a.example:8443/feeds/orders?key=1"),
        ("new", "https://a.example:8443/feeds/new"),
        ("/new?day=1", "https://a.example:8443/new?day=1"),
        ("?day=1", "https://a.example:8443/feeds/orders?day=1"),
        ("../new", "https://a.example:8443/new"),
        ("//b.example/x", "https://b.example/x"),
        ("//B.EXAMPLE:1/x", "https://b.example:1/x"),
        ("HTTP://B.example", "http://b.example/"),
        ("http://[::1]:1/x", "http://[::1]:1/x"),
        ("#part", "https://a.example:8443/feeds/orders?key=1"),
    ],
)
def test_a_reference_is_resolved(reference: str, target: str) -> None:
    assert BASE.join(reference).full == target


@pytest.mark.parametrize("reference", REFUSED, ids=map(ascii, REFUSED))
def test_a_reference_that_two_parsers_could_read_differently_never_changes_the_server(
    reference: str,
) -> None:
    with suppress(ValueError):  # "http:///x/" is a path where the base has that scheme
        assert BASE.join(reference).origin == BASE.origin


HOSTS = st.sampled_from(
    ["a.example", "A.b-c.example.", "localhost", "127.0.0.1", "[::1]", "[FE80::1]", "xn--bcher-kva"]
) | st.text("aB1.-_[]:%x", max_size=9)
TEXT = st.text(st.characters(max_codepoint=0x2FF), max_size=8)
URLS = st.builds(
    "{}://{}{}{}{}{}".format,
    st.sampled_from(["http", "https", "HTTP"]),
    st.sampled_from(["", "", "", "a@", "a.example\\@", "a:b@"]),
    HOSTS,
    st.sampled_from(["", ":80", ":0443", ":8020", ":99999", ":", ":x"]),
    st.sampled_from(["", "/", "//b.example/", "/;a=1/../.", "/%2e%2e/", "/@b.example"]),
    st.sampled_from(["", "?", "?a=1&b=[2]", "#c", "?a=http://b.example/#d", "?%41=%7e"]) | TEXT,
)


@given(URLS)
@example("http://a.example/?@b.example")
@example("http://a.example#@b.example/")
@example("http://a.example?http://b.example/")
def test_every_parser_finds_the_same_server(text: str) -> None:
    try:
        url = Url.parse(text)
    except ValueError:
        return
    prepared = requests.Request("GET", url.full).prepare().url
    assert prepared is not None
    for each in (text, url.full, prepared):
        split, found = urlsplit(each), urllib3.util.parse_url(each)
        default = {"http": 80, "https": 443}[url.scheme]
        assert (split.scheme, split.port or default) == (url.scheme, url.port)
        assert (found.scheme, found.port or default) == (url.scheme, url.port)
        for host in (split.hostname, found.host):
            assert host is not None
            bare = host.strip("[]")
            assert (
                Url.parse(f"http://[{bare}]" if ":" in bare else f"http://{bare}").host == url.host
            )
    assert Url.parse(url.full) == url
    assert urlsplit(url.full).netloc == urlsplit(prepared).netloc


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://localhost:8020/", True),
        ("http://LOCALHOST/", True),
        ("http://127.0.0.1/", True),
        ("http://127.9.9.9/", True),
        ("http://[::1]/", True),
        ("http://[::ffff:127.0.0.1]/", True),
        ("http://localhost.example/", False),
        ("http://a.localhost/", False),  # a name server may resolve it
        ("http://128.0.0.1/", False),
        ("http://[::2]/", False),
        ("http://127.0.0.1.example/", False),
    ],
)
def test_loopback_addresses_are_recognized(url: str, loopback: bool) -> None:
    assert Url.parse(url).is_loopback is loopback
    assert is_private(Url.parse(url)) is loopback
    assert is_private(Url.parse(url.replace("http:", "https:")))


@pytest.mark.parametrize(
    ("url", "target", "may"),
    [
        ("https://a.example/f", "https://a.example/g", True),
        ("https://a.example/f", "https://a.example:443/g", True),
        ("https://a.example/f", "https://A.example/g", True),
        ("http://a.example/f", "https://a.example/f", True),
        ("https://a.example/f", "http://a.example/f", False),
        ("https://a.example/f", "https://a.example./f", False),
        ("https://a.example/f", "https://b.example/f", False),
        ("https://a.example/f", "https://a.example:8443/f", False),
        ("https://a.example/f", "https://a.example.evil.example/f", False),
        ("http://a.example:8080/f", "https://a.example/f", False),
        ("http://a.example:443/f", "https://a.example/f", False),
    ],
)
def test_credentials_follow_a_redirect_within_one_server_only(
    url: str, target: str, may: bool
) -> None:
    assert may_follow(Url.parse(url), Url.parse(target)) is may


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.com/f", "https://example.com/f"),
        (
            "https://example.com/f?t=x&date=20200120",
            "https://example.com/f?t=***&date=20200120",
        ),
        ("https://example.com/f?date=2020;token=x", "https://example.com/f?date=***"),
        ("https://example.com/f?key=&secret#x", "https://example.com/f?key=&***"),
    ],
)
def test_a_url_is_shown_without_secrets(url: str, shown: str) -> None:
    assert redact(url) == str(Url.parse(url)) == repr(Url.parse(url)) == shown
