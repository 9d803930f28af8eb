"""The days of one run: a hostile answer, a refused password or a surprise, and the other days."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import date
from threading import Event

import pytest

from feed_assets import download
from feed_assets.download import http
from feed_assets.download.prefetch import PendingDay, PrefetchedDay, prefetch_days
from feed_assets.download.response import BodyRequest
from feed_assets.errors import (
    AccessRefused,
    FeedAssetsError,
    ImportFailed,
    UnexpectedFailure,
)
from feed_assets_tests.support.servers.faulty import (
    BODY,
    Answer,
    FaultyServer,
    Request,
    Wire,
    cut,
    faulty_server,
    raw,
    refuse,
    status,
    whole,
)
from feed_assets_tests.support.servers.fetching import feed

DAYS = [date(2020, 1, day) for day in range(1, 22)]
HOSTILE = date(2020, 1, 3)
FAR = "Mon, 20 Jan 99999999999999 12:00:00 GMT"
MANY = "9" * 5000
SECRET = "hunter2"


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    monkeypatch.setenv("CRM_USER", "me")
    monkeypatch.setenv("CRM_PASSWORD", "hunter2")
    with faulty_server() as running:
        yield running


def outcomes(
    url: str, *, auth: bool = False, attempts: int = 1
) -> dict[date | None, PrefetchedDay]:
    """Collect the result of each day."""
    names = {"username_env": "CRM_USER", "password_env": "CRM_PASSWORD"}
    declared = feed(
        url,
        partition_by_date={"start_date": "2020-01-01"},
        max_attempts=attempts,
        **({"basic_auth": names} if auth else {}),
    )
    found: dict[date | None, PrefetchedDay] = {}
    for day, each in prefetch_days(declared, DAYS):
        found[day] = each
        if isinstance(each, PendingDay):
            try:
                each.download.source.wait_for(len(BODY) + 1)
            except FeedAssetsError as failure:  # the error that a reader would get
                found[day] = failure
    return found


def on(day: date, answer: Answer) -> Answer:
    """The answer for one day, and the feed for all others."""

    def answered(wire: Wire, request: Request) -> None:
        (answer if f"date={day:%Y%m%d}" in request.path else whole)(wire, request)

    return answered


def redirect(location: bytes) -> Answer:
    return raw(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        status("429 Too Many Requests", Retry_After=MANY),
        status("503 Service Unavailable", Retry_After=FAR),
        status("503 Service Unavailable", Retry_After=FAR, Date=FAR),
        raw(b"HTTP/1.1 " + b"9" * 5000 + b"\r\n\r\n"),
        raw(b"\x00\xff\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n"),
        redirect(b"http://127.0.0.1:99999/"),
        redirect(b"http://127.0.0.1:" + b"9" * 5000 + b"/"),
        redirect(b"http://127.0.0.1:x/"),
        redirect(b"http://[::1/"),
        redirect(b"http://\xff\xfe/"),
        redirect(b"/\x01\x7f"),
        redirect(b"\\\\x\\y"),
        redirect(b"http://" + b"a" * 300 + b"/"),
        redirect(b"http://..:1/"),
    ],
    ids=range(15),
)
def test_a_hostile_day_fails_with_one_sentence_and_the_other_days_continue(
    answer: Answer, faulty: FaultyServer
) -> None:
    faulty.arm(on(HOSTILE, answer))

    found = outcomes(faulty.url)

    failed = {day: each for day, each in found.items() if isinstance(each, FeedAssetsError)}
    assert len(found) == len(DAYS)
    if failed:  # a redirect with control characters may lead to the feed
        assert list(failed) == [HOSTILE]
        assert str(failed[HOSTILE]).isprintable()


@pytest.mark.parametrize("started", [False, True])
def test_an_unexpected_error_in_a_days_thread_fails_that_day_with_one_sentence(
    started: bool,
    faulty: FaultyServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "feed_assets")
    real = http.open_response

    def surprised(*args: object, **options: object) -> object:
        raise OverflowError(SECRET)

    def open_response(
        session: object, of: object, url: object, request: BodyRequest, *others: object
    ) -> object:
        if f"date={HOSTILE:%Y%m%d}" in str(url) and (request.headers() or not started):
            return surprised()
        return real(session, of, url, request, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(download, "open_response", open_response)
    faulty.arm(on(HOSTILE, cut(len(BODY) // 2, ETag='"1"')))

    found = outcomes(faulty.url, attempts=2)

    (failed,) = [each for each in found.values() if isinstance(each, FeedAssetsError)]
    assert failed is found[HOSTILE]
    assert isinstance(failed, UnexpectedFailure)
    assert "an unexpected OverflowError, which is a fault of feed_assets" in str(failed)
    assert not failed.transient
    (traceback,) = [each for each in caplog.records if "in surprised" in each.getMessage()]
    assert traceback.levelno == logging.DEBUG
    assert SECRET not in caplog.text


def reasons(found: dict[date | None, PrefetchedDay]) -> dict[str | None, FeedAssetsError]:
    return {str(day): each for day, each in found.items() if isinstance(each, FeedAssetsError)}


def test_a_wrong_password_is_sent_once_and_gives_one_reason_for_all_days(
    faulty: FaultyServer,
) -> None:
    faulty.arm(status("401 Unauthorized"))

    found = outcomes(faulty.url, auth=True)

    assert len(faulty.requests) == 1
    assert all(isinstance(each, AccessRefused) for each in found.values())
    assert str(ImportFailed("orders", reasons(found))) == (
        f"orders 2020-01-01, 2020-01-02, 2020-01-03 and 18 days more: {faulty.url} answered 401 "
        f"Unauthorized; check what the environment has in CRM_USER and CRM_PASSWORD"
    )


@pytest.mark.parametrize(
    "answer", [status("401 Unauthorized"), refuse], ids=["no password", "no answer"]
)
def test_a_cause_common_to_all_days_is_one_reason(answer: Answer, faulty: FaultyServer) -> None:
    faulty.arm(answer)
    assert len(ImportFailed("orders", reasons(outcomes(faulty.url))).by_reason) == 1


@pytest.mark.parametrize(
    "first",
    [status("503 Service Unavailable"), status("404 Not Found"), refuse, cut(9)],
    ids=["503", "404", "no answer", "cut"],
)
def test_another_failure_of_the_first_day_does_not_stop_the_other_days(
    first: Answer, faulty: FaultyServer
) -> None:
    faulty.arm(on(DAYS[0], first))

    found = outcomes(faulty.url, auth=True, attempts=2)

    assert [day for day, each in found.items() if isinstance(each, FeedAssetsError)] == DAYS[:1]


def test_the_other_days_wait_for_the_first_answer_and_not_for_its_body(
    faulty: FaultyServer,
) -> None:
    other = Event()

    def slow(wire: Wire, request: Request) -> None:
        wire.head("200 OK", Content_Length=len(BODY))
        if other.wait(30):
            wire.send(BODY)

    def answer(wire: Wire, request: Request) -> None:
        other.set()
        whole(wire, request)

    faulty.arm(slow, answer)

    found = outcomes(faulty.url, auth=True)

    assert all(isinstance(each, PendingDay) for each in found.values())


def test_the_other_days_go_on_while_the_first_waits_for_its_next_attempt(
    faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Event()

    def answer(wire: Wire, request: Request) -> None:
        if f"date={DAYS[0]:%Y%m%d}" not in request.path:
            other.set()
        elif not other.is_set() and len(faulty.requests) > 1:
            assert other.wait(30)
        elif not other.is_set():
            status("503 Service Unavailable", Retry_After=1)(wire, request)
            return
        whole(wire, request)

    faulty.arm(answer)

    found = outcomes(faulty.url, auth=True, attempts=2)

    assert all(isinstance(each, PendingDay) for each in found.values())
    assert [request.path[-2:] for request in faulty.requests].index("02") < len(DAYS)
    assert "date=20200101" not in faulty.requests[1].path
