"""Credentials go to the feed's server only, and appear in nothing that is stored."""

from __future__ import annotations

import base64
import json
import os
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from pydantic import ValidationError

from feed_assets.alerts.messages import failed
from feed_assets.cli import main
from feed_assets.config.feed import Feed
from feed_assets.download.prefetch import PendingDay, prefetch_days
from feed_assets.errors import (
    AccessRefused,
    DownloadError,
    FeedAssetsError,
    RequestRefused,
    SettingError,
    Unreachable,
)
from feed_assets.orchestration.run_outcomes import read_run
from feed_assets_tests.support import warm
from feed_assets_tests.support.dagster.client import copied_project
from feed_assets_tests.support.dagster.instances import ephemeral_instance
from feed_assets_tests.support.dagster.project import SNAPSHOT, Project
from feed_assets_tests.support.servers.faulty import (
    BODY,
    Answer,
    FaultyServer,
    Request,
    Wire,
    cut,
    faulty_server,
    partly,
    status,
    whole,
)
from feed_assets_tests.support.servers.feed import FeedServer

BASIC = {"basic_auth": {"username_env": "CRM_USER", "password_env": "CRM_PASSWORD"}}
BEARER = {"bearer_auth": {"token_env": "CRM_TOKEN"}}
HEADER = {"headers_env": {"X-Api-Key": "CRM_KEY"}}
SECRETS = {
    "CRM_USER": "wilma-the-user",
    "CRM_PASSWORD": "pässword-hunter2",
    "CRM_TOKEN": "token-hunter3",
    "CRM_KEY": "key-hunter4",
}
IN_THE_URL = "query-hunter5"
HEADERS = {
    "authorization": [
        "Basic " + base64.b64encode("wilma-the-user:pässword-hunter2".encode()).decode(),
        "Bearer token-hunter3",
    ],
    "x-api-key": ["key-hunter4"],
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def faulty() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        yield running


@pytest.fixture
def other() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        yield running


def feed(server: FaultyServer, **attributes: Any) -> Feed:
    declared = {"name": "orders", "url": server.url, "dataset": "crm", "retry_wait": 0}
    return Feed(**{**declared, **attributes})


def fetched(declared: Feed) -> bytes:
    """Return the body, or raise the error that its reader would get."""
    for _, delivery in prefetch_days(declared, [None]):
        if isinstance(delivery, FeedAssetsError):
            raise delivery
        assert isinstance(delivery, PendingDay)
        whole = delivery.download.info.result(30)
        return delivery.download.source.read(0, whole.bytes)
    raise AssertionError


def redirect(location: str) -> Answer:
    """A redirect whose Location has any byte, one for each character."""

    def answer(wire: Wire, request: Request) -> None:
        head = f"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {location}\r\n\r\n"
        wire.send(head.encode("latin-1"))

    return answer


def credentials(server: FaultyServer) -> list[dict[str, str]]:
    """Return the credentials of each request."""
    return [
        {name: value for name, value in request.headers.items() if name in HEADERS}
        for request in server.requests
    ]


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ({}, {}),
        (BASIC, {"authorization": HEADERS["authorization"][0]}),
        (BEARER, {"authorization": HEADERS["authorization"][1]}),
        (HEADER, {"x-api-key": HEADERS["x-api-key"][0]}),
        (
            BASIC | HEADER,
            {"authorization": HEADERS["authorization"][0], "x-api-key": HEADERS["x-api-key"][0]},
        ),
        (
            {"headers_env": {"Authorization": "CRM_TOKEN"}},
            {"authorization": "token-hunter3"},
        ),
    ],
    ids=["none", "basic", "bearer", "header", "basic and header", "a header of one's own"],
)
def test_credentials_are_sent_as_declared_also_in_a_retry(
    faulty: FaultyServer, auth: dict[str, Any], expected: dict[str, str]
) -> None:
    faulty.arm(status("503 Service Unavailable"), whole)

    assert fetched(feed(faulty, **auth)) == BODY
    assert credentials(faulty) == [expected, expected]


def test_the_users_netrc_is_not_used(
    faulty: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login me password hunter9\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    fetched(feed(faulty))

    assert credentials(faulty) == [{}]


LOCATIONS = {
    "absolute": "{b}",
    "scheme-relative": "//{b_host}/feed",
    "upper case": "HTTP://{b_host}/feed",
    "backslash": "http://{b_host}\\@{a_host}/x",
    "backslash and slash": "http://{b_host}\\/@{a_host}/x",
    "backslashes for slashes": "\\\\{b_host}/x",
    "user info": "http://{a_host}@{b_host}/x",
    "scheme-relative user info": "//{a_host}@{b_host}/x",
    "tab": "http://{b_host}\t@{a_host}/x",
    "tab in the scheme": "ht\ttp://{b_host}/x",
    "space": "http://{b_host} @{a_host}/x",
    "no-break space": "http://{b_host}\xa0@{a_host}/x",
    "fragment": "http://{b_host}#@{a_host}/x",
    "query": "http://{b_host}?@{a_host}/x",
    "semicolon": "http://{b_host};@{a_host}/x",
    "trailing dot": "http://localhost.:{b_port}/feed",
    "another name": "http://localhost:{b_port}/feed",
    "decimal": "http://2130706433:{b_port}/feed",
    "short": "http://127.1:{b_port}/feed",
    "percent": "http://127.0.0%2e1:{b_port}/feed",
    "two ports": "http://127.0.0.1:{b_port}:{a_port}/x",
    "mapped to IPv6": "http://[::ffff:127.0.0.1]:{b_port}/feed",
    "one slash": "http:/{b_host}/feed",
    "three slashes": "http:///{b_host}/feed",
}


@pytest.mark.parametrize("auth", [BASIC | HEADER, BEARER], ids=["basic and header", "bearer"])
@pytest.mark.parametrize("location", LOCATIONS)
def test_no_redirect_gives_credentials_to_another_server(
    faulty: FaultyServer, other: FaultyServer, location: str, auth: dict[str, Any]
) -> None:
    a_host, b_host = (server.url.split("/")[2] for server in (faulty, other))
    ports = {"a_port": a_host.split(":")[1], "b_port": b_host.split(":")[1]}
    target = LOCATIONS[location].format(b=other.url, a_host=a_host, b_host=b_host, **ports)
    faulty.arm(status("302 Found", Location=target), whole)

    with suppress(RequestRefused, Unreachable):
        assert fetched(feed(faulty, **auth, max_attempts=1)) == BODY

    assert credentials(faulty)[0] != {}
    assert credentials(other) in ([], [{}])


@pytest.mark.parametrize(
    "location", ["/feed2", "feed2", "?page=2", "//{host}/feed2", "HTTP://{host}/f", "/a%20b", "/ä"]
)
def test_within_a_server_credentials_follow_a_redirect(faulty: FaultyServer, location: str) -> None:
    target = location.format(host=faulty.url.split("/")[2]).encode().decode("latin-1")
    faulty.arm(redirect(target), whole)

    assert fetched(feed(faulty, **BASIC)) == BODY
    assert credentials(faulty) == [{"authorization": HEADERS["authorization"][0]}] * 2


@pytest.mark.parametrize(
    "location",
    ["/\xff\xfe", "http://b\xfccher.example/", "http://h:99999/", "http://h:0/", "http://"],
)
def test_an_invalid_redirect_fails_with_one_sentence(faulty: FaultyServer, location: str) -> None:
    faulty.arm(redirect(location), status("404 Not Found"))

    with pytest.raises(DownloadError) as refused:
        fetched(feed(faulty, **BASIC))

    assert re.search(r"redirects to an address that (has|is) |answered 404", str(refused.value))


@pytest.mark.parametrize("setter", ["faulty", "other"])
def test_a_cookie_goes_back_to_the_server_that_set_it_and_to_no_other(
    faulty: FaultyServer, other: FaultyServer, setter: str
) -> None:
    """Serve a login: the redirect sets a cookie, which its target requires."""
    cookies: dict[str, dict[str, Any]] = {"faulty": {}, "other": {}}
    cookies[setter] = {"Set_Cookie": f"session={setter}-hunter7; Path=/"}
    faulty.arm(
        status("302 Found", Location="/login", **cookies["faulty"]),
        status("302 Found", Location=other.url),
        whole,
    )
    other.arm(
        status("302 Found", Location="/feed", **cookies["other"]),
        status("302 Found", Location=faulty.url),
    )

    assert fetched(feed(faulty, **BASIC)) == BODY

    cookies_by_server = {
        "faulty": [request.headers.get("cookie") for request in faulty.requests],
        "other": [request.headers.get("cookie") for request in other.requests],
    }
    for name, (first, *later) in cookies_by_server.items():
        assert first is None
        assert later == [f"session={setter}-hunter7" if name == setter else None] * len(later)


def test_a_cookie_of_one_day_is_not_used_for_the_next(faulty: FaultyServer) -> None:
    faulty.arm(partly(BODY, Content_Length=len(BODY), Set_Cookie="day=1; Path=/"))
    by_date = feed(faulty, partition_by_date={"start_date": "2020-01-01"}, parallel_requests=1)

    for _, delivery in prefetch_days(by_date, [date(2020, 1, day) for day in (1, 2, 3)]):
        assert isinstance(delivery, PendingDay)

    assert [request.headers.get("cookie") for request in faulty.requests] == [None] * 3


PROXIES = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]


@pytest.mark.parametrize("variable", PROXIES)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2", "[::ffff:127.0.0.1]"])
def test_requests_to_this_machine_do_not_go_through_a_proxy(
    faulty: FaultyServer,
    other: FaultyServer,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    host: str,
) -> None:
    for name in (*PROXIES, "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, other.url)
    with faulty_server("0.0.0.0") as server:
        port = server.url.split(":")[2].split("/")[0]
        url = f"http://{host}:{port}/feed"
        server.arm(status("302 Found", Location=f"http://127.0.0.1:{port}/feed2"), whole)
        assert fetched(feed(server, url=url, **BASIC)) == BODY

    assert len(server.requests) == 2
    assert other.requests == []


def test_requests_to_an_emulator_do_not_go_through_a_proxy(
    faulty: FaultyServer, other: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feed_assets.warehouse.bigquery.staging_bucket import emulator_storage
    from feed_assets.warehouse.bigquery.warehouse import emulator_client

    monkeypatch.setenv("http_proxy", other.url)
    monkeypatch.setenv("no_proxy", "")
    for variable in ("BIGQUERY_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"):
        monkeypatch.setenv(variable, faulty.url.removesuffix("/feed"))
    faulty.arm(status("200 OK", b"{}"))

    assert list(emulator_client("test-project", "EU").list_datasets()) == []
    assert list(emulator_storage().list_buckets(project="test-project")) == []

    assert len(faulty.requests) == 2
    assert other.requests == []


@pytest.mark.parametrize(
    ("attributes", "through"),
    [
        ({}, [{}]),
        (BASIC | {"allow_insecure": True}, [{"authorization": HEADERS["authorization"][0]}]),
        (BASIC, []),
    ],
    ids=["no credentials", "allowed", "not allowed"],
)
def test_credentials_over_plain_http_reach_a_proxy_only_where_that_is_allowed(
    other: FaultyServer,
    monkeypatch: pytest.MonkeyPatch,
    attributes: dict[str, Any],
    through: list[dict[str, str]],
) -> None:
    monkeypatch.setenv("http_proxy", other.url)
    monkeypatch.setenv("no_proxy", "")

    with suppress(ValidationError):
        fetched(feed(other, url="http://crm.invalid/feed", **attributes))

    assert credentials(other) == through


def test_a_redirect_from_this_machine_takes_no_credentials_to_a_proxy(
    faulty: FaultyServer, other: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", other.url)
    monkeypatch.setenv("no_proxy", "")
    faulty.arm(status("302 Found", Location="http://crm.invalid/feed"))

    with pytest.raises(RequestRefused, match="plain http and no longer private"):
        fetched(feed(faulty, **BASIC))
    assert other.requests == []

    assert fetched(feed(faulty, **BASIC, allow_insecure=True)) == BODY
    assert credentials(other) == [{}]


@pytest.mark.parametrize("auth", [BASIC, BEARER, HEADER], ids=["basic", "bearer", "header"])
def test_another_server_that_a_redirect_leads_to_gets_no_credentials(
    faulty: FaultyServer, other: FaultyServer, auth: dict[str, Any]
) -> None:
    faulty.arm(status("302 Found", Location=f"{other.url}?signed=1"))

    assert fetched(feed(faulty, **auth)) == BODY
    assert credentials(faulty) != [{}]
    assert credentials(other) == [{}]


def test_a_redirect_to_a_server_that_requires_credentials_is_explained(
    faulty: FaultyServer, other: FaultyServer
) -> None:
    faulty.arm(status("302 Found", Location=other.url))
    other.arm(status("401 Unauthorized"))

    with pytest.raises(
        AccessRefused, match=r"credentials are never sent to another server: set url"
    ):
        fetched(feed(faulty, **BASIC))


def test_a_redirect_to_another_server_and_back_loses_the_credentials(
    faulty: FaultyServer, other: FaultyServer
) -> None:
    faulty.arm(status("302 Found", Location=other.url), whole)
    other.arm(status("302 Found", Location=faulty.url))

    fetched(feed(faulty, **BASIC))

    assert credentials(faulty)[1] == {}


def test_a_secret_that_a_header_cannot_contain_is_refused_by_its_variables_name(
    faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_TOKEN", "hunter3\r\nX-More: 1")

    with pytest.raises(SettingError, match="CRM_TOKEN contains a line break") as refused:
        fetched(feed(faulty, **BEARER))

    assert "hunter3" not in str(refused.value)
    assert faulty.requests == []


def test_a_feed_shows_no_secret_of_its_url() -> None:
    declared = Feed(name="orders", url=f"https://example.com/f?key={IN_THE_URL}", dataset="crm")
    assert IN_THE_URL not in repr(declared) + str(declared)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[FaultyServer]:
    """An HTTPS server with a certificate of the test's own authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    with faulty_server(tls=context) as running:
        yield running


def test_a_certificate_that_is_not_trusted_fails_before_any_request(
    secure: FaultyServer,
) -> None:
    with pytest.raises(RequestRefused, match=r"not trusted \(.*\); REQUESTS_CA_BUNDLE"):
        fetched(feed(secure, **BASIC))
    assert secure.requests == []


@pytest.mark.parametrize("answers", [[whole], [cut(999, ETag='"1"'), whole]], ids=["whole", "cut"])
def test_a_body_over_https_is_verified_too(
    secure: FaultyServer,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answers: list[Callable[..., None]],
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    secure.arm(*answers)

    assert fetched(feed(secure, **BASIC)) == BODY
    assert len(secure.requests) == len(answers)


def test_a_server_over_ipv6_works_too() -> None:
    with faulty_server("::1") as server:
        assert fetched(feed(server, **BASIC)) == BODY


ALL: dict[str, Any] = BASIC | {
    "headers_env": {"X-Api-Key": "CRM_KEY", "X-Token": "CRM_TOKEN"},
    "quote_rows": True,
}
ECHO = " ".join([*SECRETS.values(), *HEADERS["authorization"], IN_THE_URL])
"""All secrets, as a server could send them back."""
FORMS = {
    form(secret)
    for secret in [*SECRETS.values(), *HEADERS["authorization"], IN_THE_URL]
    for form in (str, quote, lambda text: json.dumps(text)[1:-1], lambda text: text[:9])
}


def echoed(line: str) -> Answer:
    """An answer whose status line has all secrets, in Latin-1 as http.client reads it."""
    return status(f"{line} {ECHO}")


def assert_masked(text: str) -> None:
    assert "***" in text
    for form in FORMS:
        assert form not in text, text


ECHOES: dict[str, tuple[Answer, ...]] = {
    "reason": (echoed("403"),),
    "reason, each time": (echoed("503"),),
    "Location": (status("302 Found", Location=f"ftp://x/{quote(ECHO)}"),),
    "Location's path": (status("302 Found", Location=f"/{quote(ECHO)}"), echoed("404")),
    "Location's host": (status("302 Found", Location="http://token-hunter3.invalid/"),),
    "encoding": (partly(b"", Content_Encoding=ECHO, Content_Length=0),),
    "body line": (partly(f"{ECHO}\n".encode()),),
    "body line, cut": (partly(f"{'x' * 70}{ECHO}\n".encode()),),
    "error page": (partly(f"<html>{ECHO}</html>".encode()),),
    "JSON of another kind": (partly(json.dumps([ECHO]).encode()),),
    "key": (partly(json.dumps({ECHO: 1, ECHO[:40]: 2}).encode() * 2),),
}


@pytest.mark.parametrize("echo", ECHOES)
def test_secrets_that_a_server_sends_back_are_masked_in_a_run(
    faulty: FaultyServer, tmp_path: Path, capfd: pytest.CaptureFixture[str], echo: str
) -> None:
    """Also in the metadata, the output and the text of alerts."""
    with ephemeral_instance() as instance:
        faulty.arm(*ECHOES[echo])
        server = FeedServer(faulty.url)
        query = f"?key={IN_THE_URL}"
        project = Project(server, tmp_path, instance, query=query, max_attempts=2, **ALL)
        run = project.run()
        assert_masked("".join(map(repr, instance.all_logs(run.run_id))))
        record = instance.get_run_by_id(run.run_id)
        assert record is not None
        for problem in read_run(instance, record, {"orders"}).problems:
            assert_masked(f"{failed([problem], '')} ***")
    printed = capfd.readouterr()
    assert_masked(f"{printed.out}{printed.err} ***")


def test_bad_lines_are_masked_in_a_run_and_unchanged_in_the_warehouse(
    faulty: FaultyServer, tmp_path: Path
) -> None:
    faulty.arm(partly(f'{{"id": 1}}\n{ECHO}\n'.encode()))
    with ephemeral_instance() as instance:
        server = FeedServer(faulty.url)
        query = f"?key={IN_THE_URL}"
        project = Project(server, tmp_path, instance, query=query, max_bad_lines=1, **ALL)
        run = project.run()
        assert run.success
        assert_masked("".join(map(repr, instance.all_logs(run.run_id))))
        (rejected,) = project.rows(SNAPSHOT.rejected)
        assert rejected["text"] == ECHO


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "JSON"])
def test_secrets_that_a_server_sends_back_are_masked_in_a_preview(
    faulty: FaultyServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    echo: str,
    options: list[str],
) -> None:
    monkeypatch.setattr("feed_assets.download.retry.backoff", lambda *_, **__: 0.0)
    auth = ["--basic-auth", "CRM_USER", "CRM_PASSWORD"]
    headers = ["--header-env", "X-Api-Key=CRM_KEY", "--header-env", "X-Token=CRM_TOKEN"]
    faulty.arm(*ECHOES[echo])

    main(["preview", f"{faulty.url}?key={IN_THE_URL}", *auth, *headers, *options])

    printed = capsys.readouterr()
    text, _, yaml = printed.out.partition("/defs.yaml")
    assert_masked(f"{text}{printed.err} ***")
    assert IN_THE_URL in yaml or not yaml


def test_nothing_that_a_run_writes_has_a_secret(faulty: FaultyServer, tmp_path: Path) -> None:
    """The event log, what the steps print, the metadata, the UI's own record of the code."""
    auth = ALL
    echo = " ".join([*SECRETS.values(), HEADERS["authorization"][0]])
    faulty.arm(
        status(f"503 {echo}", echo.encode(), X_Echo=HEADERS["authorization"][0]),
        status("302 Found", Location=f"/feed?key={IN_THE_URL}"),
        status(f"401 {echo}", echo.encode()),
        whole,
        status("302 Found", Location=f"{faulty.url}?key={IN_THE_URL}&{quote(echo)}"),
        partly(f"{echo}\n".encode()),
    )
    url = f"{faulty.url}?key={IN_THE_URL}"
    declared = {"url": url, "retry_wait": 0, "max_attempts": 2, "run_retries": 0, **auth}
    names = ["first", "second", "third"]
    project = copied_project(tmp_path / "project", faulty.url, dict.fromkeys(names, declared))
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "PYTHONPATH": str(project),
        "FEED_ASSETS_WAREHOUSE": f"duckdb://{tmp_path / 'warehouse.duckdb'}",
    }
    ended = []
    for name in names:  # refused, stored, no NDJSON
        code, printed = warm.run("dg", ["launch", "--assets", name], project, environment)
        (home / f"{name}.txt").write_text(printed)
        ended.append(code)

    assert [bool(code) for code in ended] == [True, False, True]
    files = [path for path in home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    assert any("***" in path.read_text(errors="replace") for path in files)
    for path in (*files, tmp_path / "warehouse.duckdb"):
        found = path.read_bytes()
        for name, secret in {
            **SECRETS,
            "url": IN_THE_URL,
            "b64": HEADERS["authorization"][0],
        }.items():
            for form in (secret, json.dumps(secret)[1:-1]):
                assert form.encode() not in found, f"{path} has the secret {name}"
