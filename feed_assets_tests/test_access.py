"""Where credentials go, and where they do not: to nobody else, and into nothing that is kept."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from feed_assets.access import may_follow
from feed_assets.delivery import Delivery, deliver
from feed_assets.errors import AccessRefused, FeedAssetsError, RequestRefused, SettingError
from feed_assets.feed import Feed
from feed_assets_tests.dagster_ui import BIN, copied_project
from feed_assets_tests.faults import BODY, FaultyServer, cut, faulty_server, status, whole

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
SENT = {
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
    """The body; raises what its reader would get."""
    for _, delivery in deliver(declared, [None]):
        if isinstance(delivery, FeedAssetsError):
            raise delivery
        assert isinstance(delivery, Delivery)
        whole = delivery.download.whole.result(30)
        return delivery.download.source.read(0, whole.bytes)
    raise AssertionError


def credentials(server: FaultyServer) -> list[dict[str, str]]:
    """What each request had of them."""
    return [
        {name: value for name, value in request.headers.items() if name in SENT}
        for request in server.requests
    ]


@pytest.mark.parametrize(
    ("auth", "sent"),
    [
        ({}, {}),
        (BASIC, {"authorization": SENT["authorization"][0]}),
        (BEARER, {"authorization": SENT["authorization"][1]}),
        (HEADER, {"x-api-key": SENT["x-api-key"][0]}),
        (
            BASIC | HEADER,
            {"authorization": SENT["authorization"][0], "x-api-key": SENT["x-api-key"][0]},
        ),
        (
            {"headers_env": {"Authorization": "CRM_TOKEN"}},
            {"authorization": "token-hunter3"},
        ),
    ],
    ids=["none", "basic", "bearer", "header", "basic and header", "a header of one's own"],
)
def test_credentials_are_sent_as_declared_also_on_a_retry(
    faulty: FaultyServer, auth: dict[str, Any], sent: dict[str, str]
) -> None:
    faulty.arm(status("503 Service Unavailable"), whole)

    assert fetched(feed(faulty, **auth)) == BODY
    assert credentials(faulty) == [sent, sent]


def test_a_netrc_of_the_user_is_not_sent(
    faulty: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login me password hunter9\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    fetched(feed(faulty))

    assert credentials(faulty) == [{}]


@pytest.mark.parametrize("auth", [BASIC, BEARER, HEADER], ids=["basic", "bearer", "header"])
def test_another_server_that_a_redirect_leads_to_gets_no_credentials(
    faulty: FaultyServer, other: FaultyServer, auth: dict[str, Any]
) -> None:
    faulty.arm(status("302 Found", Location=f"{other.url}?signed=1"))

    assert fetched(feed(faulty, **auth)) == BODY
    assert credentials(faulty) != [{}]
    assert credentials(other) == [{}]


def test_a_server_that_wants_them_after_a_redirect_is_named(
    faulty: FaultyServer, other: FaultyServer
) -> None:
    faulty.arm(status("302 Found", Location=other.url))
    other.arm(status("401 Unauthorized"))

    with pytest.raises(AccessRefused, match=r"credentials are not sent to another server: set url"):
        fetched(feed(faulty, **BASIC))


def test_credentials_do_not_come_back_on_the_way_back(
    faulty: FaultyServer, other: FaultyServer
) -> None:
    faulty.arm(status("302 Found", Location=other.url), whole)
    other.arm(status("302 Found", Location=faulty.url))

    fetched(feed(faulty, **BASIC))

    assert credentials(faulty)[1] == {}


@pytest.mark.parametrize(
    ("url", "target", "may"),
    [
        ("https://a.example/f", "https://a.example/g", True),
        ("https://a.example/f", "https://a.example:443/g", True),
        ("https://a.example/f", "https://A.example/g", True),
        ("http://a.example/f", "https://a.example/f", True),
        ("https://a.example/f", "http://a.example/f", False),
        ("https://a.example/f", "https://b.example/f", False),
        ("https://a.example/f", "https://a.example:8443/f", False),
        ("https://a.example/f", "https://a.example.evil.example/f", False),
        ("http://a.example:8080/f", "https://a.example/f", False),
    ],
)
def test_credentials_follow_a_redirect_within_one_server_only(
    url: str, target: str, may: bool
) -> None:
    assert may_follow(url, target) is may


def test_a_secret_that_no_header_can_hold_is_refused_by_its_variables_name(
    faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_TOKEN", "hunter3\r\nX-More: 1")

    with pytest.raises(SettingError, match="CRM_TOKEN has a line break") as refused:
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
    """A server over https, by an authority of the test's own."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    with faulty_server(tls=context) as running:
        yield running


def test_a_certificate_that_is_not_trusted_ends_before_anything_is_sent(
    secure: FaultyServer,
) -> None:
    with pytest.raises(RequestRefused, match=r"not trusted \(.*\); REQUESTS_CA_BUNDLE"):
        fetched(feed(secure, **BASIC))
    assert secure.requests == []


@pytest.mark.parametrize("answers", [[whole], [cut(999, ETag='"1"'), whole]], ids=["whole", "cut"])
def test_over_https_a_body_is_verified_as_well(
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


def test_a_server_over_ipv6_is_as_good() -> None:
    with faulty_server("::1") as server:
        assert fetched(feed(server, **BASIC)) == BODY


def test_nothing_that_a_run_writes_has_a_secret(faulty: FaultyServer, tmp_path: Path) -> None:
    """The event log, what the steps print, the metadata, the UI's own record of the code."""
    auth = BASIC | HEADER
    echo = " ".join([*SECRETS.values(), SENT["authorization"][0]])
    faulty.arm(
        status("503 Service Unavailable", echo.encode(), X_Echo=SENT["authorization"][0]),
        status("302 Found", Location=f"/feed?key={IN_THE_URL}"),
        status("401 Unauthorized", echo.encode()),
        whole,
        status("302 Found", Location=f"{faulty.url}?key={IN_THE_URL}"),
        cut(999),
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
    for name in names:  # refused, stored, broken off
        command: list[str | Path] = [BIN / "dg", "launch", "--assets", name]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True)
        (home / f"{name}.txt").write_bytes(done.stdout + done.stderr)
        ended.append(done.returncode)

    assert [bool(code) for code in ended] == [True, False, True]
    kept = [path for path in home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in kept)
    assert any("***" in path.read_text(errors="replace") for path in kept)
    for path in (*kept, tmp_path / "warehouse.duckdb"):
        found = path.read_bytes()
        for name, secret in {**SECRETS, "url": IN_THE_URL, "b64": SENT["authorization"][0]}.items():
            for form in (secret, json.dumps(secret)[1:-1]):
                assert form.encode() not in found, f"{path} has the secret {name}"
