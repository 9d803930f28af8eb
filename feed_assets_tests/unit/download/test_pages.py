"""The pages of a feed are one body; each is requested until it is complete, and they end."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from feed_assets.errors import AccessRefused, RequestRefused, ServerFailed, TooLarge, Truncated
from feed_assets_tests.support.servers.feed import Answer, FeedServer, feed_server, lines
from feed_assets_tests.support.servers.fetching import feed, fetched

OBJECT = {"format": "json", "records": "data", "pages": {"next_url": "paging.next"}}
ROWS = [{"id": number} for number in range(7)]


def document(*rows: Any, following: Any = None) -> Answer:
    return Answer(json.dumps({"data": rows, "paging": {"next": following}}).encode())


def serve(server: FeedServer, pages: dict[str, Answer]) -> None:
    """Answer each path with its page, and any other with 404."""
    server.answer = lambda path: pages.get(path, Answer(status=404))


def paths(server: FeedServer) -> list[str]:
    return [path for path, _ in server.requests]


def ids(body: bytes) -> list[int]:
    return [json.loads(line)["id"] for line in body.splitlines() if line.strip()]


@pytest.mark.parametrize("link", ["/feed?cursor=b%2F", "?cursor=b%2F", "{server}?cursor=b%2F"])
def test_the_next_urls_of_documents_are_followed(server: FeedServer, link: str) -> None:
    link = link.replace("{server}", server.url)
    pages = {"/feed": document(*ROWS[:2], following=link), "/feed?cursor=b%2F": document(ROWS[2])}
    serve(server, pages)

    assert ids(fetched(feed(server.url, **OBJECT))) == [0, 1, 2]
    assert paths(server) == ["/feed", "/feed?cursor=b%2F"]


@pytest.mark.parametrize("end", [None, "", False, "absent"])
def test_the_last_page_names_no_next_one(server: FeedServer, end: Any) -> None:
    last = Answer(b'{"data": [{"id": 1}]}') if end == "absent" else document(ROWS[1], following=end)
    serve(server, {"/feed": document(ROWS[0], following="/2"), "/2": last})
    assert ids(fetched(feed(server.url, **OBJECT))) == [0, 1]


def test_the_link_header_is_followed(server: FeedServer) -> None:
    header = f'<{server.url}?page=1>; rel="first", </feed?page=2>; rel="next last"'
    pages = {
        "/feed": Answer(b'{"id": 0}\n{"id": 1}', headers={"Link": header}),
        "/feed?page=2": Answer(b'{"id": 2}\n', headers={"Link": '</feed>; rel="prev"'}),
    }
    serve(server, pages)
    assert ids(fetched(feed(server.url, pages={"link_header": True}))) == [0, 1, 2]


@pytest.mark.parametrize(
    ("declared", "asked"),
    [
        ({"parameter": "page"}, ["page=1", "page=2", "page=3"]),
        ({"parameter": "offset", "start": 0, "step": 2}, ["offset=0", "offset=2", "offset=4"]),
        ({"parameter": "page[number]"}, [f"page%5Bnumber%5D={n}" for n in (1, 2, 3)]),
    ],
)
@pytest.mark.parametrize("of", [lines, lambda *rows: Answer(json.dumps(rows).encode())])
def test_a_parameter_counts_until_a_page_is_empty(
    server: FeedServer, declared: dict[str, Any], asked: list[str], of: Callable[..., Answer]
) -> None:
    contents = [ROWS[:2], ROWS[2:4], []]
    serve(server, {f"/feed?x=1&{a}": of(*c) for a, c in zip(asked, contents, strict=True)})
    form = "ndjson" if of is lines else "json"

    body = fetched(feed(f"{server.url}?x=1", format=form, pages=declared))

    assert ids(body) == [0, 1, 2, 3]
    assert paths(server) == [f"/feed?x=1&{each}" for each in asked]


def test_a_404_after_the_last_page_can_mean_empty(server: FeedServer) -> None:
    serve(server, {"/feed?page=1": lines(ROWS[0])})
    declared = feed(server.url, pages={"parameter": "page"}, empty_statuses=[404])
    assert ids(fetched(declared)) == [0]


def test_each_day_has_its_own_pages(server: FeedServer) -> None:
    serve(
        server,
        {
            "/feed?on=2020-01-20&page=1": lines(ROWS[0]),
            "/feed?on=2020-01-20&page=2": lines(),
        },
    )
    declared = feed(
        f"{server.url}?on={{date:%Y-%m-%d}}",
        pages={"parameter": "page"},
        partition_by_date={"start_date": "2020-01-01"},
    )
    assert ids(fetched(declared, date(2020, 1, 20))) == [0]


def test_only_a_page_that_broke_off_is_requested_again(server: FeedServer) -> None:
    whole = document(*ROWS[2:4], following="/3")
    broken = Answer(whole.body[:20], headers={"Content-Length": str(len(whole.body))})
    second = [broken, Answer(status=503), whole]
    pages = {"/feed": document(*ROWS[:2], following="/2"), "/3": document(ROWS[4])}
    server.answer = lambda path: second.pop(0) if path == "/2" else pages[path]

    assert ids(fetched(feed(server.url, max_attempts=3, **OBJECT))) == [0, 1, 2, 3, 4]
    assert paths(server) == ["/feed", "/2", "/2", "/2", "/3"]


def test_a_page_that_changes_between_attempts_is_read_as_it_is_at_the_last(
    server: FeedServer,
) -> None:
    before, after = document(*ROWS[2:5], following="/3"), document(ROWS[6], following="/3")
    second = [Answer(before.body[:30], headers={"Content-Length": "999"}), after]
    pages = {"/feed": document(*ROWS[:2], following="/2"), "/3": document(ROWS[5])}
    server.answer = lambda path: second.pop(0) if path == "/2" else pages[path]
    assert ids(fetched(feed(server.url, **OBJECT))) == [0, 1, 6, 5]


@pytest.mark.parametrize(
    ("last", "error", "says"),
    [
        (Answer(status=503), ServerFailed, r"/2 answered 503 .*\(2 attempts\)"),
        (Answer(b'{"data": ['), Truncated, "/2 broke off inside its JSON document"),
        (document(ROWS[1], following=7), RequestRefused, "has a paging.next that is not a URL"),
        (document(ROWS[1], following="http://["), RequestRefused, "next page whose address cannot"),
        (document(ROWS[1], following="ftp://x/"), RequestRefused, "address is not an http or"),
        (document(ROWS[1], following="/2"), RequestRefused, "page 2 of .* that was read before"),
        (
            document(ROWS[1], following="http://example.com/3"),
            RequestRefused,
            "page 2 of .* names http://example.com/3 as the next one, which is plain http",
        ),
        (
            document(ROWS[0], following="/3"),
            RequestRefused,
            "pages 1 and 2 of .* have the same rows, so the pages would never end",
        ),
        (document(ROWS[1], following="/2?b"), TooLarge, "more than 2 pages; .* raise max_pages"),
    ],
    ids=str,
)
def test_a_next_page_that_cannot_be_requested_fails_with_one_sentence(
    server: FeedServer, last: Answer, error: type[Exception], says: str
) -> None:
    serve(server, {"/feed?k=hunter2": document(ROWS[0], following="/2"), "/2": last})
    pages = {"next_url": "paging.next", "max_pages": 2}
    declared = feed(f"{server.url}?k=hunter2", **{**OBJECT, "pages": pages}, max_attempts=2)

    with pytest.raises(error, match=says) as failed:
        fetched(declared)

    assert "hunter2" not in str(failed.value)


def test_a_server_that_ignores_the_page_parameter_is_stopped(server: FeedServer) -> None:
    server.answer = lambda path: lines(*ROWS)
    with pytest.raises(RequestRefused, match=r"pages 1 and 2 of .* have the same rows"):
        fetched(feed(server.url, pages={"parameter": "page"}))
    assert len(server.requests) == 2


def test_max_pages_does_not_count_the_empty_last_page(server: FeedServer) -> None:
    serve(
        server, {f"/feed?p={n}": lines(*ROWS[n : n + 1]) for n in (1, 2)} | {"/feed?p=3": lines()}
    )
    declared = feed(server.url, pages={"parameter": "p", "max_pages": 2})
    assert ids(fetched(declared)) == [1, 2]
    with pytest.raises(TooLarge, match="more than 1 pages"):
        fetched(feed(server.url, pages={"parameter": "p", "max_pages": 1}))


def test_credentials_stay_with_the_feeds_server(
    server: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("U", "me")
    auth = {"username_env": "U", "password_env": "U"}
    with feed_server() as other:
        pages = {
            "/feed": document(ROWS[0], following="/2"),
            "/2": document(ROWS[1], following=other.url),
        }
        serve(server, pages)
        other.answer = lambda path: document(ROWS[2])

        assert ids(fetched(feed(server.url, basic_auth=auth, **OBJECT))) == [0, 1, 2]

        basic = "Basic " + base64.b64encode(b"me:me").decode()
        assert [headers.get("Authorization") for _, headers in server.requests] == [basic, basic]
        assert ["Authorization" in headers for _, headers in other.requests] == [False]

        other.answer = lambda path: Answer(status=401)
        with pytest.raises(AccessRefused, match="a link to the next page of the feed leads there"):
            fetched(feed(server.url, basic_auth=auth, **OBJECT))


def test_the_log_names_a_feed_without_any_next_page(
    server: FeedServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.answer = lambda path: Answer(b'{"data": [{"id": 1}], "paging": {"following": "/2"}}')
    assert ids(fetched(feed(server.url, **OBJECT))) == [1]
    assert "the first page has no paging.next, so it counts as the only one" in caplog.text


@pytest.mark.parametrize(
    ("attributes", "complaint"),
    [
        ({"pages": {}}, "must have one of next_url, link_header: true and parameter"),
        ({"pages": {"parameter": "p", "link_header": True}}, "must have one of"),
        ({"pages": {"link_header": True, "start": 0}}, "start or step, which belong to parameter"),
        ({"pages": {"parameter": "a=b"}}, "'a=b' is not a parameter of a query"),
        ({"pages": {"next_url": "a..b"}}, "'a..b' is not a path of keys"),
        ({"pages": {"next_url": "next"}}, "which only a JSON object has; declare format: json"),
        ({"pages": {"next_url": "next"}, "format": "json"}, "and records, the path of its rows"),
        ({"pages": {"parameter": "p"}, "url": "https://e.com/?p=1"}, "has p in its url and as the"),
        ({"records": "data"}, "has records, which only a JSON document has"),
        ({"format": "json", "records": "data."}, "is not a path of keys"),
        ({"format": "csv"}, "'ndjson' or 'json'"),
    ],
    ids=str,
)
def test_a_mistake_in_pages_is_refused_when_the_feed_is_declared(
    attributes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValidationError, match=complaint):
        feed(**{"url": "https://example.com/feed", **attributes})
