"""Every answer gives the whole body, or one sentence about the cause."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from feed_assets.download import Validators
from feed_assets.download.prefetch import PendingDay, prefetch_days
from feed_assets.errors import (
    FeedAssetsError,
    NotFound,
    RequestRefused,
    ServerFailed,
    SettingError,
    TooLarge,
    Truncated,
    Unreachable,
)
from feed_assets_tests.support.servers.faulty import (
    AT_A_LINE,
    BODY,
    IN_A_LINE,
    ZIPPED,
    Answer,
    FaultyServer,
    chunked,
    cut,
    faulty_server,
    partly,
    raw,
    rest,
    status,
    whole,
)
from feed_assets_tests.support.servers.fetching import feed, fetched

ATTEMPTS = 3
MANY = "9" * 5000
FAR = "Mon, 20 Jan 99999999999999 12:00:00 GMT"
INTERIM = b"HTTP/1.1 102 Processing\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)
NO_ROW = "has no rows and no end mark"


@dataclass(frozen=True)
class Case:
    """The server's answers, the resulting body or error, and the number of requests."""

    answers: Sequence[Answer]
    ends: bytes | tuple[type[FeedAssetsError], str]
    requests: int = 1
    attributes: dict[str, Any] = field(default_factory=dict)


def headers(count: int, size: int = 1) -> bytes:
    """Answer with `count` more headers, each with a value of `size` bytes."""
    more = b"".join(b"X-%d: %s\r\n" % (number, b"a" * size) for number in range(count))
    return OK[:-2] + more + b"\r\n" + BODY


BROKEN = cut(IN_A_LINE, ETag='"1"')
"""A body that breaks off and can be resumed."""

NONSENSE = {
    "Date": [FAR, MANY, "\x01", "yesterday"],
    "Last-Modified": [FAR, MANY, "Mon, 20 Jan 2020 12:00:00 +999999999999999"],
    "ETag": ['"' + "a" * 60_000 + '"', "\x01", "ä"],
    "Retry-After": [MANY, FAR],
    "Content-Range": [f"bytes {MANY}-{MANY}/{MANY}"],
    "Content-Type": ["\x01", ";" * 5000, "text/html; charset=" + "a" * 5000],
    "Set-Cookie": [f"a=b; Expires={FAR}", f"a=b; Max-Age={MANY}", "\x01=;;;=", "a=b; Port=99999"],
    "Connection": ["\x01", "a" * 5000],
    "Keep-Alive": [f"timeout={MANY}"],
    "Location": ["http://[", "\x01"],
    "Transfer-Encoding": ["nonsense"],
    "Content-Encoding": ["", ",,,", "identity, identity"],
    "Trailer": ["\x01"],
    "Link": ["<" * 5000],
    "Refresh": [MANY],
    "Age": [MANY],
}


@pytest.fixture(scope="module")
def faulty() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        yield running


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in NONSENSE.items() for value in values]
)
def test_a_body_with_a_nonsensical_header_is_still_the_body(
    name: str, value: str, faulty: FaultyServer
) -> None:
    head = OK[:-2] + f"{name}: {value}\r\n\r\n".encode("latin-1")
    faulty.arm(raw(head + BODY))

    assert fetched(feed(faulty.url)) == BODY
    assert len(faulty.requests) == 1


LENGTHS = ["5_0", "-5", "+5", "0x10", "nonsense", MANY, "\u0663".encode().decode("latin-1"), "5, 6"]


@pytest.mark.parametrize("length", LENGTHS)
def test_an_invalid_content_length_is_ignored(length: str, faulty: FaultyServer) -> None:
    faulty.arm(partly(BODY, Content_Length=length))
    assert fetched(feed(faulty.url)) == BODY

    faulty.arm(partly(b"", Content_Length=length))
    with pytest.raises(Truncated, match=NO_ROW):
        fetched(feed(faulty.url, max_attempts=1))


CASES = {
    # interim responses
    "102, then fine": Case([raw(INTERIM + OK + BODY)], BODY),
    "every 1xx": Case(
        [
            raw(
                b"".join(b"HTTP/1.1 %d \r\nLink: <a>\r\n\r\n" % code for code in range(100, 200))
                + OK
                + BODY
            )
        ],
        BODY,
    ),
    "1000 interim responses": Case([raw(INTERIM * 1000 + OK + BODY)], BODY),
    "interim responses without an end": Case(
        [raw(INTERIM * 2000)],
        (RequestRefused, "answered with more than 1000 interim responses; have its server"),
    ),
    "102, then cut": Case(
        [raw(INTERIM)], (Unreachable, "closed the connection before it answered"), ATTEMPTS
    ),
    # size of headers
    "99 headers": Case([raw(headers(98))], BODY),
    "too many headers": Case(
        [raw(headers(200))], (RequestRefused, "answered with more than 100 headers; have its")
    ),
    "a header of 70 kB": Case(
        [raw(headers(1, 70_000))],
        (RequestRefused, "answered with a header of more than 65,536 bytes; have its"),
    ),
    "a status line of 70 kB": Case(
        [raw(b"HTTP/1.1 200 " + b"a" * 70_000 + b"\r\n\r\n")],
        (RequestRefused, "header of more than 65,536 bytes"),
    ),
    "a long reason with control characters": Case(
        [raw(b"HTTP/1.1 404 \x1b[2J" + b"a" * 60_000 + b"\r\n\r\n")],
        (NotFound, r"answered 404 \?\[2Ja{76}…; check"),
    ),
    "a long encoding": Case(
        [status("200 OK", BODY, Content_Encoding="b" * 60_000)],
        (RequestRefused, "with the encoding b{80}…, which"),
    ),
    # no HTTP
    "another protocol": Case(
        [raw(b"SSH-2.0-OpenSSH_9.2\r\n")],
        (RequestRefused, "did not answer in HTTP, but with 'SSH-2.0-OpenSSH_9.2'; check"),
    ),
    "another version": Case(
        [raw(b"HTTP/2.0 200 OK\r\n\r\n")], (RequestRefused, "answered in HTTP/2.0, not in HTTP/1.1")
    ),
    "a status line that is cut": Case([raw(b"HTTP/1.1 2"), whole], BODY, 2),
    "a status line that is cut at once": Case([raw(b"HT"), whole], BODY, 2),
    "a status that is not a number": Case(
        [raw(b"HTTP/1.1 two\r\n\r\n")], (Unreachable, "closed the connection"), ATTEMPTS
    ),
    # Retry-After
    "429 with a delay of 5,000 digits": Case(
        [status("429 Too Many Requests", Retry_After=MANY), whole], BODY, 2
    ),
    "503 with a date out of range": Case(
        [status("503 Service Unavailable", Retry_After=FAR), whole], BODY, 2
    ),
    "503 with a clock out of range": Case(
        [
            status(
                "503 Service Unavailable", Retry_After="Mon, 20 Jan 2020 12:00:00 GMT", Date=FAR
            ),
            whole,
        ],
        BODY,
        2,
    ),
    "429 with a delay of years": Case(
        [status("429 Too Many Requests", Retry_After=31_000_000)],
        (ServerFailed, "asks for a retry in 31000000 s"),
    ),
    # redirects
    "a redirect that is not UTF-8": Case(
        [raw(b"HTTP/1.1 302 Found\r\nLocation: /\xff\xfe\r\nContent-Length: 0\r\n\r\n"), whole],
        BODY,
        2,
    ),
    "a redirect to a port out of range": Case(
        [status("302 Found", Location="http://127.0.0.1:99999/f")],
        (FeedAssetsError, "redirects|unexpected ValueError"),
    ),
    "a redirect to a port that is not a number": Case(
        [status("302 Found", Location="http://127.0.0.1:x/f")],
        (FeedAssetsError, "redirects|unexpected ValueError"),
    ),
    # the end of a gzip
    "a line after the gzip": Case(
        [status("200 OK", ZIPPED + b"<br />Warning: x", Content_Encoding="gzip")],
        (RequestRefused, "has bytes after the end of its gzip; configure"),
    ),
    "a newline after the gzip": Case(
        [chunked(ZIPPED, b"\n", Content_Encoding="gzip")],
        (RequestRefused, "has bytes after the end of its gzip"),
    ),
    "a line after zeros after a gzip file": Case(
        [status("200 OK", ZIPPED + bytes(99) + b"x")],
        (RequestRefused, "has bytes after the end of its gzip"),
    ),
    "a member that is cut after its first byte": Case(
        [status("200 OK", ZIPPED + ZIPPED[:1], Content_Encoding="gzip")],
        (Truncated, "broke off inside its gzip"),
        ATTEMPTS,
    ),
    # the end of an empty body
    "empty, its length announced": Case([partly(b"", Content_Length=0)], b""),
    "empty, its length announced twice": Case([partly(b"", Content_Length="0, 0")], b""),
    "empty in chunks": Case([chunked()], b""),
    "empty in a gzip": Case([partly(gzip.compress(b""), Content_Encoding="gzip")], b""),
    "empty under a gzip encoding, its length announced": Case(
        [partly(b"", Content_Length=0, Content_Encoding="gzip")], b""
    ),
    "blank, its length announced": Case([partly(b"\n \n", Content_Length=3)], b"\n \n"),
    "closed at once": Case([partly(b"")], (Truncated, NO_ROW), ATTEMPTS),
    "closed at once, then fine": Case([partly(b""), whole], BODY, 2),
    "closed at once under HTTP/1.0": Case(
        [raw(b"HTTP/1.0 200 OK\r\n\r\n")], (Truncated, NO_ROW), ATTEMPTS
    ),
    "closed in its headers": Case([raw(b"HTTP/1.1 200 OK\r\nContent-Ty"), whole], BODY, 2),
    "closed after a newline": Case([partly(b"\n")], (Truncated, NO_ROW), ATTEMPTS),
    "closed after blanks": Case([partly(b" \t\r\n" * 9)], (Truncated, NO_ROW), ATTEMPTS),
    "closed after a byte order mark": Case(
        [partly(b"\xef\xbb\xbf\r\n")], (Truncated, NO_ROW), ATTEMPTS
    ),
    "closed at once under a gzip encoding": Case(
        [partly(b"", Content_Encoding="gzip")], (Truncated, "has no rows and no end mark"), ATTEMPTS
    ),
    "closed before the first chunk": Case(
        [chunked(ends=False)], (Truncated, "broke off before its end"), ATTEMPTS
    ),
    "closed after a line": Case([partly(BODY[:AT_A_LINE])], BODY[:AT_A_LINE]),
    "a length of gigabytes": Case(
        [partly(b"", Content_Length="9" * 18)], (TooLarge, "is larger than 10,000,000,000 bytes")
    ),
    # refusals of headers that only save work
    **{
        f"{code} to a Range": Case([BROKEN, status(f"{code} No"), whole], BODY, 3)
        for code in (204, 304, 400, 403, 404, 405, 412, 413, 416, 417, 431, 501)
    },
    "431 to a Range, and to the request without": Case(
        [BROKEN, status("431 Too Large")],
        (RequestRefused, "answered 431 Too Large; check"),
        3,
    ),
    "431 to a Range, then another body": Case(
        [BROKEN, status("431 Too Large"), status("200 OK", BODY[:AT_A_LINE])],
        BODY[:AT_A_LINE],
        3,
    ),
    "503 to a Range does not refuse the Range": Case([BROKEN, status("503 Busy"), rest()], BODY, 3),
    "a range of 5,000 digits": Case(
        [
            BROKEN,
            raw(
                f"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {MANY}-{MANY}/{MANY}\r\n"
                f"Content-Length: 0\r\n\r\n".encode()
            ),
            whole,
        ],
        BODY,
        3,
    ),
    "a tag that no request can hold": Case(
        [cut(IN_A_LINE, ETag='"' + "a" * 60_000 + '"'), whole], BODY, 2
    ),
    # refusals by different servers
    "407": Case(
        [status("407 Proxy Authentication Required")],
        (SettingError, "a proxy on the way to the feed's server wants credentials"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_answer_gives_the_whole_body_or_one_sentence_about_the_cause(
    name: str, faulty: FaultyServer
) -> None:
    case = CASES[name]
    faulty.arm(*case.answers)
    declared = feed(f"{faulty.url}?token=hunter2", max_attempts=ATTEMPTS, **case.attributes)

    if isinstance(case.ends, bytes):
        assert fetched(declared) == case.ends
    else:
        error, says = case.ends
        with pytest.raises(error, match=says) as failed:
            fetched(declared)
        assert "hunter2" not in str(failed.value)
        assert str(failed.value).isprintable()
        assert len(str(failed.value)) < 500
    assert len(faulty.requests) == case.requests


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({}, "check the feed's url$"),
        (
            {"partition_by_date": {"start_date": "2020-01-01"}},
            "check the feed's url, and that it has this day$",
        ),
    ],
    ids=["snapshot", "by date"],
)
def test_the_error_of_a_404_names_a_day_only_if_the_feed_has_days(
    attributes: dict[str, Any], says: str, faulty: FaultyServer
) -> None:
    faulty.arm(status("404 Not Found"))
    with pytest.raises(NotFound, match=says):
        fetched(feed(faulty.url, **attributes))


@pytest.mark.parametrize("code", [400, 412, 416, 431])
def test_a_server_that_refuses_a_conditional_request_gets_a_plain_one(
    code: int, faulty: FaultyServer
) -> None:
    faulty.arm(status(f"{code} No"), whole)
    known = Validators(etag='"1"', last_modified="Mon, 20 Jan 2020 12:00:00 GMT")

    ((_, delivery),) = prefetch_days(feed(faulty.url), [None], if_changed_from=known)

    assert isinstance(delivery, PendingDay)
    first, second = faulty.requests
    assert {"if-none-match", "if-modified-since"} <= first.headers.keys()
    assert not {"if-none-match", "if-modified-since"} & second.headers.keys()
