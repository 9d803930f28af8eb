"""A request without an answer fails with its true cause, and is repeated only if that can help."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path

import pytest
import trustme

from feed_assets.errors import FeedAssetsError, RequestRefused, SettingError, Unreachable
from feed_assets_tests.support.servers.faulty import (
    BODY,
    FaultyServer,
    Request,
    Wire,
    faulty_server,
    raw,
    refuse,
    reset,
    status,
    whole,
)
from feed_assets_tests.support.servers.fetching import feed, fetched

ATTEMPTS = 2
FEED = "http://feed.example/f"
"""A name that only a proxy could resolve."""


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def fails(url: str, error: type[FeedAssetsError], says: str, **attributes: float) -> None:
    """Assert that the feed at this URL fails with that sentence, without its secret."""
    declared = feed(f"{url}?key=hunter2", max_attempts=ATTEMPTS, **attributes)
    with pytest.raises(error, match=says) as failed:
        fetched(declared)
    assert type(failed.value) is error
    assert "hunter2" not in str(failed.value)
    assert str(failed.value).isprintable()
    assert failed.value.transient is (error is Unreachable)


@contextmanager
def listening(answer: Callable[[socket.socket], object]) -> Iterator[tuple[str, list[int]]]:
    """Yield `host:port` of a port whose connections `answer` handles, and a list of them."""
    made: list[int] = []

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            answer(connection)

    def accept() -> None:
        while True:
            try:
                connection, address = server.accept()
            except OSError:
                return
            made.append(address[1])
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        threads.append(threading.Thread(target=accept))
        threads[0].start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}", made
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def wait_for_a_line(connection: socket.socket) -> None:
    """Serve like a single-process server, which answers after reading a whole request."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(1 << 16)
        if not more:
            return
        received += more
    connection.sendall(b"HTTP/1.0 501 Unsupported method\r\n\r\n")


def answer_at_once(connection: socket.socket) -> None:
    connection.recv(1 << 16)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def say_nothing(connection: socket.socket) -> None:
    while connection.recv(1 << 16):
        pass


def close(connection: socket.socket) -> None:
    connection.recv(1 << 16)


@pytest.mark.parametrize("answer", [wait_for_a_line, answer_at_once])
def test_an_https_url_of_a_port_without_tls(answer: Callable[[socket.socket], object]) -> None:
    with listening(answer) as (address, made):
        says = "does not speak TLS; begin the feed's url with http://, or correct its port$"
        fails(f"https://{address}/f", RequestRefused, says, connect_timeout=0.3)
        assert len(made) <= 2  # one of them may diagnose the cause


def test_an_https_url_of_a_port_that_does_not_begin_tls() -> None:
    with listening(say_nothing) as (address, _):
        says = r"did not begin TLS within 0\.3 s \(connect_timeout\); try again later"
        fails(f"https://{address}/f", Unreachable, says, connect_timeout=0.3)


def test_an_https_url_of_a_port_that_closes_while_tls_begins() -> None:
    with listening(close) as (address, _):
        fails(f"https://{address}/f", Unreachable, "broke off while TLS began|closed the conn")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secure(authority: trustme.CA) -> Iterator[FaultyServer]:
    """An HTTPS server whose certificate authority is trusted only where it is configured."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    with faulty_server(tls=context) as running:
        yield running


def test_an_http_url_of_a_port_with_tls(secure: FaultyServer) -> None:
    says = "speaks TLS only; begin the feed's url with https://, or correct its port$"
    fails(secure.url.replace("https:", "http:"), RequestRefused, says)


def test_an_http_url_of_a_port_that_answers_with_an_alert_of_tls() -> None:
    def alert(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(b"\x15\x03\x03\x00\x02\x02\x46")

    with listening(alert) as (address, made):
        fails(f"http://{address}/f", RequestRefused, "speaks TLS only")
        assert len(made) == 1


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("what", ["nothing", "no certificate", "another authority", "its own"])
def test_certificate_authorities_set_in_the_environment(
    variable: str,
    what: str,
    authority: trustme.CA,
    secure: FaultyServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "authorities.pem"
    if what == "no certificate":
        path.write_text("-")
    elif what != "nothing":
        known = authority if what == "its own" else trustme.CA()
        known.cert_pem.write_to_path(path)
    monkeypatch.setenv(variable, str(path))
    secure.arm(whole)

    if what == "its own":
        assert fetched(feed(secure.url)) == BODY
    elif what == "another authority":
        fails(secure.url, RequestRefused, "certificate that is not trusted")
    else:
        why = "cannot be read: No such file" if what == "nothing" else "holds no certificate"
        says = f"variable {variable} names {path}, which {why}.*; have it name a file"
        fails(secure.url, SettingError, says)
    assert len(secure.requests) == (what == "its own")


def test_certificate_authorities_do_not_affect_a_plain_http_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nothing"))
    with faulty_server() as server:
        assert fetched(feed(server.url)) == BODY
        server.arm(refuse)
        fails(server.url, Unreachable, "closed the connection before it answered")


@pytest.mark.parametrize(
    ("proxy", "says"),
    [
        ("socks5://127.0.0.1:9", "socks5://127.0.0.1:9, which .* is a SOCKS proxy, for which PySo"),
        ("http://", "is not a proxy's URL; write http://host:port"),
        ("ftp://127.0.0.1:9", "is not a proxy's URL; write http://host:port"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_cannot_be_used(
    proxy: str, says: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", proxy)
    fails(FEED.replace("http", scheme, 1), SettingError, says)


PROXIES: dict[str, tuple[str, Sequence[Callable[[Wire, Request], None]], type, str, int]] = {
    # scheme of the feed, answers of the proxy, error, what it says, requests
    "407": ("http", [status("407 No")], SettingError, "the proxy .* wants credentials", 1),
    "407 to CONNECT": ("https", [status("407 No")], SettingError, "proxy .* wants credent", 1),
    "403 to CONNECT": (
        "https",
        [status("403 Forbidden")],
        RequestRefused,
        "the proxy answered 403 to CONNECT; ask who runs it",
        1,
    ),
    "502 to CONNECT": (
        "https",
        [status("502 Bad Gateway")],
        Unreachable,
        "the proxy answered 502 to CONNECT; try again later",
        ATTEMPTS,
    ),
    "cut": ("http", [refuse], Unreachable, "closed the connection before it answered", ATTEMPTS),
    "cut in CONNECT": (
        "https",
        [refuse],
        Unreachable,
        "the proxy closed the connection before it answered; try again later",
        ATTEMPTS,
    ),
    "reset in CONNECT": (
        "https",
        [lambda wire, request: wire.reset()],
        Unreachable,
        "the proxy closed the connection before it answered",
        ATTEMPTS,
    ),
    "no HTTP in CONNECT": (
        "https",
        [raw(b"SSH-2.0\r\n")],
        Unreachable,
        "the proxy closed the connection|did not answer in HTTP",
        ATTEMPTS,
    ),
    "cut after CONNECT": (
        "https",
        [raw(b"HTTP/1.1 200 OK\r\n\r\n")],
        Unreachable,
        "broke off while TLS began|closed the connection",
        ATTEMPTS,
    ),
    "silent in CONNECT": (
        "https",
        [lambda wire, request: wire.stall()],
        Unreachable,
        r"the proxy did not answer within 0\.4 s",
        ATTEMPTS,
    ),
}


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_that_refuses_or_breaks_off_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme, answers, error, says, requests = PROXIES[name]
    with faulty_server() as proxy:
        proxy.arm(*answers)
        address = proxy.url.removesuffix("/feed").removeprefix("http://")
        monkeypatch.setenv(f"{scheme}_proxy", f"http://me:s3cret@{address}")
        fails(FEED.replace("http", scheme, 1), error, says, connect_timeout=0.4)
        with pytest.raises(error, match=f"proxy http://{address}") as failed:
            fetched(feed(FEED.replace("http", scheme, 1), max_attempts=1, connect_timeout=0.4))
        assert "s3cret" not in str(failed.value)
        assert len(proxy.requests) == requests + 1


def test_a_proxy_that_is_not_running_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # a port nobody listens on
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for scheme in ("http", "https"):
            monkeypatch.setenv(f"{scheme}_proxy", f"http://{address}")
            says = f"through the proxy http://{address}.*accepts no connection; check that it runs"
            fails(FEED.replace("http", scheme, 1), Unreachable, says)


def test_a_proxy_without_tls_under_an_https_url(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(answer_at_once) as (address, _):
        monkeypatch.setenv("https_proxy", f"https://{address}")
        says = f"the proxy https://{address}, .* does not speak TLS; begin its URL with http://"
        fails(FEED.replace("http", "https", 1), SettingError, says)


def test_a_body_that_a_proxy_cuts_is_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_server() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/feed"))
        proxy.arm(reset(len(BODY) // 2), whole)
        assert fetched(feed(FEED)) == BODY


def test_an_error_that_concerns_every_day_does_not_name_one() -> None:
    by_date = {"partition_by_date": {"start_date": "2020-01-01"}}
    with faulty_server() as server:
        server.arm(refuse)
        with pytest.raises(Unreachable) as failed:
            fetched(feed(server.url, max_attempts=1, **by_date), date(2020, 1, 20))
    assert str(failed.value).startswith(f"{server.url} closed the connection")
