"""Tokens, keys in the query and client certificates: their source and their target."""

from __future__ import annotations

import base64
import json
import ssl
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import ValidationError

from feed_assets.download import oauth2
from feed_assets.download.prefetch import PendingDay, prefetch_days
from feed_assets.errors import (
    AccessRefused,
    FeedAssetsError,
    RequestRefused,
    ServerFailed,
    SettingError,
)
from feed_assets.masking import secret_mask
from feed_assets_tests.support.servers.faulty import BODY, faulty_server, whole
from feed_assets_tests.support.servers.feed import Answer, FeedServer, feed_server, lines
from feed_assets_tests.support.servers.fetching import feed, fetched

SECRET = "hunter2/secret&x"
ROW = lines({"id": 1})
DAYS = [date(2020, 1, day) for day in range(1, 6)]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLIENT", "the client")
    monkeypatch.setenv("SECRET", SECRET)


def token(text: str = "token-1", **more: Any) -> Answer:
    return Answer(json.dumps({"access_token": text, "token_type": "Bearer", **more}).encode())


def by_oauth2(server: FeedServer, **attributes: Any) -> dict[str, Any]:
    return {
        "oauth2": {
            "token_url": server.url.replace("/feed", "/token"),
            "client_id_env": "CLIENT",
            "client_secret_env": "SECRET",
            **attributes,
        }
    }


def authorizations(server: FeedServer) -> list[str | None]:
    return [headers.get("Authorization") for _, headers in server.requests]


def test_one_token_serves_all_days_of_a_run(server: FeedServer) -> None:
    server.answer, server.token = lambda path: ROW, lambda: token(expires_in=3600)
    declared = feed(
        server.url,
        partition_by_date={"start_date": "2020-01-01"},
        **by_oauth2(server, scope="orders.read", parameters={"audience": "https://crm/ü"}),
    )

    for _, outcome in prefetch_days(declared, DAYS):
        assert isinstance(outcome, PendingDay)

    ((path, headers, body),) = server.posts
    assert path == "/token"
    assert headers["Authorization"] == "Basic " + (
        base64.b64encode(b"the+client:hunter2%2Fsecret%26x").decode()
    )
    assert body == (
        b"grant_type=client_credentials&audience=https%3A%2F%2Fcrm%2F%C3%BC&scope=orders.read"
    )
    assert authorizations(server) == ["Bearer token-1"] * len(DAYS)


def test_id_and_secret_can_go_in_the_body(server: FeedServer) -> None:
    server.answer, server.token = lambda path: ROW, token
    fetched(feed(server.url, **by_oauth2(server, client_auth="body")))
    ((_, headers, body),) = server.posts
    assert "Authorization" not in headers
    assert body.endswith(b"&client_id=the+client&client_secret=hunter2%2Fsecret%26x")


def test_a_token_is_replaced_before_it_expires(
    server: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("feed_assets.download.oauth2.time.monotonic", lambda: now[0])
    declared = feed(server.url, **by_oauth2(server)).oauth2
    assert declared is not None
    tokens, posts = oauth2.AccessTokens(declared), list[object]()

    def post(*request: object) -> Any:
        posts.append(request)
        return _Response(token(f"token-{len(posts)}", expires_in=600))

    found = []
    for now[0] in (1000.0, 1539.0, 1541.0, 1541.0):
        found.append(tokens.current(post))

    assert found == ["token-1", "token-1", "token-2", "token-2"]


class _Response:
    """An answer as `requests` gives it, without a connection."""

    def __init__(self, answer: Answer) -> None:
        self.status_code, self.reason, self.raw = answer.status, "", self
        self._body = answer.body

    def read(self, size: int, *, decode_content: bool) -> bytes:
        return self._body[:size]

    def __enter__(self) -> _Response:
        return self

    def __exit__(self, *failure: object) -> None:
        pass


def test_a_refused_token_is_replaced_once(server: FeedServer) -> None:
    answers = [Answer(status=401), ROW]
    server.answer = lambda path: answers.pop(0)
    server.token = lambda: token(f"token-{len(server.posts)}")
    assert fetched(feed(server.url, **by_oauth2(server))) == ROW.body
    assert authorizations(server) == ["Bearer token-1", "Bearer token-2"]

    server.answer = lambda path: Answer(status=401)
    with pytest.raises(AccessRefused, match="check what the environment has in CLIENT and SECRET"):
        fetched(feed(server.url, **by_oauth2(server)))
    assert len(server.posts) == 4


REFUSALS: dict[str, tuple[Answer, type[FeedAssetsError], str, int]] = {
    "wrong secret": (
        Answer(b'{"error": "invalid_client", "error_description": "hunter2"}', 401),
        AccessRefused,
        r"/token answered 401 Unauthorized \(invalid_client\) to the request for a token; check "
        r"what the environment has in CLIENT and SECRET$",
        1,
    ),
    "wrong scope": (Answer(b'{"error": "invalid_scope"}', 400), AccessRefused, "invalid_scope", 1),
    "no such path": (Answer(status=404), RequestRefused, "404 .* check token_url", 1),
    "redirect": (
        Answer(status=302, headers={"Location": "/login"}),
        RequestRefused,
        "302 .* check token_url",
        1,
    ),
    "down": (Answer(status=503), ServerFailed, r"503 .* try again later \(2 attempts\)", 2),
    "HTML": (Answer(b"<html>"), RequestRefused, "has no access_token; check token_url", 1),
    "a line break": (token("a\nb"), RequestRefused, "has no access_token", 1),
    "another type": (token(token_type="mac"), RequestRefused, "token_type that is not bearer", 1),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_token_endpoint_without_a_token_fails_with_one_sentence(
    name: str, server: FeedServer
) -> None:
    answer, error, says, posts = REFUSALS[name]
    server.token = lambda: answer
    with pytest.raises(error, match=says) as failed:
        fetched(feed(server.url, max_attempts=2, **by_oauth2(server)))
    assert "hunter2" not in str(failed.value)
    assert (len(server.posts), server.requests) == (posts, [])


def test_a_token_endpoint_that_cannot_be_requested_is_named(server: FeedServer) -> None:
    tls = server.url.replace("http:", "https:")
    with pytest.raises(RequestRefused, match="TLS; begin token_url of the feed's oauth2 with http"):
        fetched(feed(server.url, **by_oauth2(server, token_url=tls)))


def test_a_backfill_requests_a_refused_token_only_once(server: FeedServer) -> None:
    server.token = lambda: Answer(status=401)
    declared = feed(server.url, partition_by_date={"start_date": "2020-01-01"}, **by_oauth2(server))
    reasons = {str(outcome) for _, outcome in prefetch_days(declared, DAYS)}
    assert len(reasons) == len(server.posts) == 1


def test_tokens_and_keys_are_masked_wherever_a_server_repeats_them(server: FeedServer) -> None:
    server.token = lambda: token("issued-token")
    server.answer = lambda path: ROW
    declared = feed(server.url, query_env={"api_key": "SECRET"}, **by_oauth2(server))
    mask = secret_mask(declared)
    fetched(declared)
    assert mask("it was issued-token.") == "it was ***."
    assert mask("api_key=hunter2%2Fsecret%26x") == "api_key=***"
    assert SECRET not in f"{declared!r} {declared}"


def test_a_key_goes_into_the_query_of_the_feeds_server_only(
    server: FeedServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with feed_server() as other:
        moved = {"/feed": "/here?page=2", "/here": other.url}
        server.answer = lambda path: Answer(
            status=302, headers={"Location": moved[path.partition("?")[0]]}
        )
        other.answer = lambda path: ROW
        fetched(feed(f"{server.url}?a=1", query_env={"api key": "SECRET"}))
        key = "api%20key=hunter2%2Fsecret%26x"
        assert [path for path, _ in server.requests] == [f"/feed?a=1&{key}", f"/here?page=2&{key}"]
        assert [path for path, _ in other.requests] == ["/feed"]

    server.answer = lambda path: Answer(status=403)
    with pytest.raises(AccessRefused, match="check what the environment has in SECRET") as failed:
        fetched(feed(server.url, query_env={"api_key": "SECRET"}))
    assert "hunter2" not in str(failed.value) + caplog.text


def test_without_its_key_or_secret_nothing_is_requested(
    server: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SECRET")
    for attributes in ({"query_env": {"k": "SECRET"}}, by_oauth2(server)):
        with pytest.raises(SettingError, match="SECRET is not set"):
            fetched(feed(server.url, **attributes))
        with pytest.raises(SettingError, match="SECRET is not set"):
            feed(server.url, **attributes).check_credentials()
    assert (server.posts, server.requests) == ([], [])


def test_a_client_certificate_is_shown_to_the_feeds_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(tls)
    authority.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    mine, trusted = tmp_path / "mine.pem", tmp_path / "trusted.pem"
    authority.issue_cert("importer@example.com").private_key_and_cert_chain_pem.write_to_path(mine)
    authority.cert_pem.write_to_path(trusted)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted))
    monkeypatch.setenv("CERTIFICATE", str(mine))

    with faulty_server(tls=tls) as server:
        server.arm(whole)
        assert fetched(feed(server.url, client_certificate_env="CERTIFICATE")) == BODY
        with pytest.raises(FeedAssetsError):
            fetched(feed(server.url, max_attempts=1))


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "cannot be read: No such file"), ("no PEM", "has no certificate with its unencrypted")],
)
def test_a_client_certificate_that_cannot_be_used_is_named(
    text: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERTIFICATE", str(tmp_path / "mine.pem"))
    if text is not None:
        (tmp_path / "mine.pem").write_text(text)
    with pytest.raises(SettingError, match=f"CERTIFICATE names a client certificate that {says}"):
        fetched(feed("https://localhost:1/", client_certificate_env="CERTIFICATE"))


@pytest.mark.parametrize(
    ("attributes", "complaint"),
    [
        ({"oauth2": {"token_url": "x"}}, "token_url"),
        ({"basic_auth": {"username_env": "A", "password_env": "B"}}, "more than one of basic_auth"),
        ({"oauth2": {"client_secret_env": SECRET}}, "is not the name of an environment variable"),
        (
            {"oauth2": {"token_url": "http://example.com/t"}},
            "would send its credentials over plain",
        ),
        ({"query_env": {"key": "a b"}}, "is not the name of an environment variable"),
        ({"query_env": {"a": "KEY"}}, "has a in its url and in query_env"),
        ({"url": "http://localhost/", "client_certificate_env": "C"}, "which only https can use"),
    ],
    ids=str,
)
def test_a_mistake_in_credentials_is_refused_when_the_feed_is_declared(
    attributes: dict[str, Any], complaint: str
) -> None:
    whole = {
        "token_url": "https://example.com/t",
        "client_id_env": "A",
        "client_secret_env": "B",
    }
    given = {"oauth2": whole, "url": "https://example.com/f?a=1", **attributes}
    given["oauth2"] = {**whole, **given["oauth2"]}
    with pytest.raises(ValidationError, match=complaint) as refused:
        feed(**given)
    assert "hunter2" not in str(refused.value)
