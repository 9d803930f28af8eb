"""Feed and day in, a complete file out, or an error that says what to do."""

from __future__ import annotations

import base64
import re
import socket
import threading
from datetime import date

import pytest

from feed_assets.download.prefetch import PendingDay, prefetch_days
from feed_assets.errors import (
    AccessRefused,
    BadLines,
    DownloadError,
    FeedAssetsError,
    NotFound,
    NotNdjson,
    RequestRefused,
    ServerFailed,
    SettingError,
    Truncated,
    Unreachable,
)
from feed_assets.ndjson import read
from feed_assets_tests.support.servers.feed import Answer, FeedServer, lines, zipped
from feed_assets_tests.support.servers.fetching import feed, fetched

ROWS = lines(*({"n": number, "text": "ä" * 50} for number in range(2000)))


@pytest.mark.parametrize("answer", [ROWS, zipped(ROWS), Answer()], ids=["plain", "gzip", "empty"])
def test_a_complete_body_is_in_the_file_decoded(server: FeedServer, answer: Answer) -> None:
    server.answer = lambda path: answer
    body = ROWS.body if answer.body else b""

    assert fetched(feed(server.url)) == body


def test_a_gzip_body_of_several_members_is_one_body(server: FeedServer) -> None:
    both = zipped(lines({"a": 1})).body + zipped(lines({"a": 2})).body
    server.answer = lambda path: Answer(both, headers={"Content-Encoding": "gzip"})

    assert fetched(feed(server.url)) == b'{"a": 1}\n{"a": 2}\n'


def test_the_request_has_the_day_and_the_accepted_types(
    server: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_USER", "me")
    monkeypatch.setenv("CRM_PASSWORD", "sécret:x")
    declared = feed(
        f"{server.url}?shop=1",
        basic_auth={"username_env": "CRM_USER", "password_env": "CRM_PASSWORD"},
        partition_by_date={"start_date": "2020-01-01"},
        headers={"X-Shop": "Zürich"},
    )

    fetched(declared, date(2020, 1, 20))

    ((path, headers),) = server.requests
    assert path == "/feed?shop=1&date=20200120"
    assert headers["Accept"] == "application/x-ndjson, application/json;q=0.9, */*;q=0.5"
    assert headers["User-Agent"].startswith("feed_assets/")
    assert headers["X-Shop"] == "Zürich".encode().decode("latin-1")
    credentials = base64.b64decode(headers["Authorization"].removeprefix("Basic "))
    assert credentials == "me:sécret:x".encode()


def test_each_day_of_a_backfill_has_its_url_and_a_refusal_is_the_same_for_all(
    server: FeedServer,
) -> None:
    url = server.url.replace("/feed", "/{date:%Y/%m/%d}?to={next_date:%Y-%m-%d}&token=hunter2")
    declared = feed(url, partition_by_date={"start_date": "2020-01-01"}, max_attempts=1)
    server.answer = lambda path: Answer(status=401)

    reasons = [
        str(failed) for _, failed in prefetch_days(declared, [date(2020, 1, 30), date(2020, 1, 31)])
    ]

    assert {path for path, _ in server.requests} <= {
        "/2020/01/30?to=2020-01-31&token=hunter2",
        "/2020/01/31?to=2020-02-01&token=hunter2",
    }
    assert len(set(reasons)) == 1
    assert "/{date:%Y/%m/%d}?to={next_date:%Y-%m-%d}&token=*** answered 401" in reasons[0]


def test_a_fixed_header_can_replace_accept(server: FeedServer) -> None:
    fetched(feed(server.url, headers={"accept": "application/json"}))
    ((_, headers),) = server.requests
    assert {name.lower(): value for name, value in headers.items()}["accept"] == "application/json"


@pytest.mark.parametrize(
    ("answer", "error", "says", "transient"),
    [
        (Answer(status=401), AccessRefused, "answered 401.*declares no credentials", False),
        (Answer(status=403), AccessRefused, "answered 403", False),
        (Answer(status=404), NotFound, "answered 404.*check the feed's url", False),
        (Answer(status=410), NotFound, "answered 410", False),
        (Answer(status=400), RequestRefused, "answered 400", False),
        (Answer(status=429), ServerFailed, "answered 429.*try again later", True),
        (Answer(status=500), ServerFailed, "answered 500", True),
        (Answer(status=503), ServerFailed, "answered 503", True),
        (Answer(status=204), NotNdjson, "answered 204 No Content, so there is no feed", False),
        (Answer(ROWS.body, headers={"Content-Length": "999999"}), Truncated, "broke off", True),
        (zipped(ROWS, cut=100), Truncated, "broke off inside its gzip", True),
        (zipped(ROWS, cut=4), Truncated, "broke off inside its gzip", True),
        (
            Answer(zipped(ROWS).body[:20] + b"garbage" * 9, headers={"Content-Encoding": "gzip"}),
            Truncated,
            "is not valid gzip",
            True,
        ),
        (Answer(b"x", headers={"Content-Encoding": "br"}), RequestRefused, "encoding br", False),
        (
            Answer(status=302, headers={"Location": "/feed"}),
            RequestRefused,
            "more than 10 times",
            False,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_an_incomplete_body_is_an_error_with_advice(
    server: FeedServer,
    answer: Answer,
    error: type[FeedAssetsError],
    says: str,
    transient: bool,
) -> None:
    server.answer = lambda path: answer

    with pytest.raises(error, match=says) as failed:
        fetched(feed(f"{server.url}?token=hunter2"))

    assert failed.value.transient is transient
    assert "hunter2" not in str(failed.value)
    assert "\n" not in str(failed.value)


def test_a_server_that_cannot_be_reached_is_named() -> None:
    with socket.socket() as taken:  # a port nobody listens on
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(Unreachable, match=f"127.0.0.1:{port}/f cannot be reached") as failed:
            fetched(feed(f"http://127.0.0.1:{port}/f"))
    assert failed.value.transient


def test_a_server_that_stays_silent_does_not_hold_an_import() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/f"
        with pytest.raises(DownloadError, match=r"sent nothing for 0\.2 s") as failed:
            fetched(feed(url, read_timeout=0.2))
    assert failed.value.transient


def test_without_its_credentials_nothing_is_requested(
    server: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CRM_USER", raising=False)
    auth = {"username_env": "CRM_USER", "password_env": "CRM_USER"}

    with pytest.raises(SettingError, match="CRM_USER is not set"):
        fetched(feed(server.url, basic_auth=auth))

    assert server.requests == []


@pytest.mark.parametrize("answer", [ROWS, zipped(ROWS), Answer()], ids=["plain", "gzip", "empty"])
def test_the_days_of_a_backfill_go_over_as_many_connections_as_requests_at_once(
    server: FeedServer, answer: Answer
) -> None:
    server.answer, server.keep_alive = lambda path: answer, True
    days = [date(2020, 1, day) for day in range(1, 31)]
    declared = feed(server.url, partition_by_date={"start_date": "2020-01-01"}, parallel_requests=2)

    for _, delivery in prefetch_days(declared, days):
        assert isinstance(delivery, PendingDay)
        assert delivery.download.info.result().bytes == len(ROWS.body if answer.body else b"")

    assert len(server.requests) == 30
    assert len(set(server.connections)) <= 2


def test_a_long_download_logs_its_progress(
    server: FeedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("feed_assets.download.body_file.LOG_INTERVAL", 0.0)
    server.answer = lambda path: ROWS

    with caplog.at_level("INFO", "feed_assets"):
        fetched(feed(server.url))

    assert re.search(r"^orders: [\d,]+ bytes so far, [\d.]+ MB/s$", caplog.messages[-1])


def test_a_bad_line_is_reported_while_the_rest_still_arrives() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"{}\n[]\n" + b"{}\n" * 500_000
    )
    reported = threading.Event()

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(answer)
            reported.wait()  # the connection stays open, and nothing more comes

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=serve, args=(listening,))
        server.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/f"
        for _, delivery in prefetch_days(feed(url, read_timeout=0.5), [None]):
            assert isinstance(delivery, PendingDay)
            with pytest.raises(BadLines, match="line 2 is not a JSON object"):
                read(delivery.download.source)
            assert not delivery.download.info.done()
            reported.set()
        server.join()
