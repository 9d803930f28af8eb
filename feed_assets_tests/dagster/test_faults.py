"""The table has the whole feed or its old rows, whatever the server does."""

from __future__ import annotations

import bz2
import gzip
import json
import logging
import re
import shutil
import ssl
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trustme

from feed_assets.config.feed import Feed
from feed_assets.decompression import zstd_module
from feed_assets.download.prefetch import PendingDay, prefetch_days
from feed_assets.errors import FeedAssetsError
from feed_assets.importing.import_feed import store
from feed_assets.warehouse.base import Warehouse
from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from feed_assets_tests.support.dagster.instances import ephemeral_instance
from feed_assets_tests.support.dagster.project import SNAPSHOT, Project
from feed_assets_tests.support.servers.faulty import (
    AT_A_LINE,
    BODY,
    CORRUPT,
    IN_A_LINE,
    ZIPPED,
    Answer,
    FaultyServer,
    Request,
    Wire,
    chunked,
    cut,
    drip,
    drip_headers,
    endless,
    faulty_server,
    partly,
    refuse,
    reset,
    rest,
    stall,
    status,
    whole,
    zipped,
)
from feed_assets_tests.support.servers.feed import FeedServer

zstd = zstd_module()
ATTEMPTS = 3
BEFORE = b'{"id": "N0", "total": 0.5, "text": ""}\n'
NEWER = BODY.replace(b'"N1"', b'"N9999"')
"""The feed after a change on the server."""
ZSTD_START, ZSTD_REST = zstd.compress(BODY[:AT_A_LINE]), zstd.compress(BODY[AT_A_LINE:])
ZSTD = zstd.compress(BODY)
BZIP2 = bz2.compress(BODY)
ARRAY = b"[" + BODY[:-1].replace(b"\n", b", ") + b"]"
SHORTER = BODY[:AT_A_LINE][: AT_A_LINE // 2].rpartition(b"\n")[0] + b"\n"


def _corrupt(zipped: bytes) -> bytes:
    """Change a literal early in a gzip, which its checksum at the end then shows."""
    middle = len(zipped) // 2
    return (
        zipped[:middle]
        + bytes(byte ^ 0x55 for byte in zipped[middle : middle + 10])
        + (zipped[middle + 10 :])
    )


@dataclass(frozen=True)
class Case:
    """The server's answers, the result of the import, and the number of requests.

    `ends` is the body that the table then has, or the text of the failure. `logged` is a text that
    the log must contain.
    """

    answers: Sequence[Answer]
    ends: bytes | str
    requests: int
    attributes: dict[str, Any] = field(default_factory=dict)
    logged: str = ""


def in_date(seconds: float) -> str:
    """A Retry-After as a date."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def dated(line: str, seconds: float) -> Answer:
    """An answer whose Retry-After is computed at the time of the response."""
    return lambda wire, request: status(line, Retry_After=in_date(seconds))(wire, request)


def bomb(wire: Wire, request: Request) -> None:
    """Answer with 50 KB of gzip that are 50 MB."""
    status("200 OK", gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")(wire, request)


CASES = {
    # whole feeds
    "whole": Case([whole], BODY, 1),
    "gzip": Case([zipped], BODY, 1),
    "gzip of several members": Case(
        [
            partly(
                gzip.compress(BODY[:AT_A_LINE]) + gzip.compress(BODY[AT_A_LINE:]),
                Content_Encoding="gzip",
            )
        ],
        BODY,
        1,
    ),
    "gzip padded with zeros": Case([partly(ZIPPED + bytes(99), Content_Encoding="gzip")], BODY, 1),
    "a gzip file without Content-Encoding": Case(
        [partly(ZIPPED, Content_Length=len(ZIPPED))], BODY, 1
    ),
    "Content-Encoding: identity": Case(
        [partly(BODY, Content_Length=len(BODY), Content_Encoding="identity")], BODY, 1
    ),
    "chunked": Case([chunked(BODY[:9], BODY[9:])], BODY, 1),
    "close-delimited": Case(
        [partly(BODY)], BODY, 1, logged="does not mark the end of its response"
    ),
    "close-delimited without the last newline": Case([partly(BODY[:-1])], BODY, 1),
    "close-delimited gzip": Case([partly(ZIPPED, Content_Encoding="gzip")], BODY, 1),
    # connections
    "refused": Case(
        [refuse], "closed the connection before it answered; try again later", ATTEMPTS
    ),
    "refused twice": Case([refuse, refuse, whole], BODY, 3),
    "reset at the first byte": Case([reset(0)], "broke off before its end", ATTEMPTS),
    "reset within": Case(
        [reset(IN_A_LINE)], r"broke off before its end; .*\(3 attempts\)", ATTEMPTS
    ),
    "reset, then fine": Case(
        [reset(IN_A_LINE), whole], BODY, 2, logged="broke off before its end; attempt 2 of 3"
    ),
    "reset, then shorter": Case([reset(IN_A_LINE), status("200 OK", SHORTER)], SHORTER, 2),
    "stall": Case(
        [stall(IN_A_LINE)],
        "stalled for longer than read_timeout",
        2,
        {"read_timeout": 0.4, "max_attempts": 2},
    ),
    "stall before the answer": Case(
        [lambda wire, request: wire.stall()],
        r"sent nothing for 0\.4 s",
        2,
        {"read_timeout": 0.4, "max_attempts": 2},
    ),
    "drip": Case(
        [drip], r"took longer than 0\.6 s \(download_timeout\)", 1, {"download_timeout": 0.6}
    ),
    "drip of headers": Case(
        [drip_headers],
        r"took longer than 0\.6 s \(download_timeout\)",
        1,
        {"download_timeout": 0.6},
    ),
    # bodies
    "more promised": Case([cut(AT_A_LINE)], "broke off before its end", ATTEMPTS),
    "less promised": Case([partly(BODY, Content_Length=IN_A_LINE)], "line 1010 is not JSON", 1),
    "cut gzip, all promised": Case(
        [cut(9000, ZIPPED, Content_Encoding="gzip")], "broke off before its end", ATTEMPTS
    ),
    "cut gzip, as promised": Case(
        [partly(ZIPPED[:9000], Content_Length=9000, Content_Encoding="gzip")],
        "broke off inside its gzip",
        ATTEMPTS,
    ),
    "gzip without its checksum": Case(
        [partly(ZIPPED[:-8], Content_Length=len(ZIPPED) - 8, Content_Encoding="gzip"), zipped],
        BODY,
        2,
    ),
    "cut gzip, close-delimited": Case(
        [partly(ZIPPED[:9000], Content_Encoding="gzip")], "broke off inside its gzip", ATTEMPTS
    ),
    "cut chunked": Case(
        [chunked(BODY[:AT_A_LINE], ends=False)], "broke off before its end", ATTEMPTS
    ),
    "cut close-delimited": Case([partly(BODY[:IN_A_LINE])], "broke off inside a line", ATTEMPTS),
    "corrupt gzip": Case(
        [partly(CORRUPT, Content_Length=len(CORRUPT), Content_Encoding="gzip")],
        "is not valid gzip",
        ATTEMPTS,
    ),
    "corrupt gzip, then fine": Case(
        [partly(CORRUPT, Content_Length=len(CORRUPT), Content_Encoding="gzip"), zipped], BODY, 2
    ),
    "no gzip at all": Case(
        [partly(BODY, Content_Length=len(BODY), Content_Encoding="gzip")],
        BODY,
        1,
        logged="names the encoding gzip and sends none",
    ),
    "zstd": Case([partly(ZSTD, Content_Length=len(ZSTD))], BODY, 1),
    "zstd of several frames": Case(
        [chunked(ZSTD_START, ZSTD_REST, Content_Encoding="zstd")], BODY, 1
    ),
    "zstd, called gzip": Case([partly(ZSTD, Content_Encoding="gzip")], BODY, 1),
    "bzip2": Case([partly(BZIP2, Content_Length=len(BZIP2))], BODY, 1),
    "cut zstd": Case([partly(ZSTD[:900])], "broke off inside its zstd", ATTEMPTS),
    "cut bzip2, then fine": Case([partly(BZIP2[:900]), partly(BZIP2)], BODY, 2),
    "corrupt bzip2": Case(
        [partly(BZIP2[:500] + bytes(9) + BZIP2[509:])], "is not valid bzip2", ATTEMPTS
    ),
    "zstd and more": Case(
        [partly(ZSTD + b"<p>")],
        "has bytes after the end of its zstd; configure its server to send only the zstd",
        1,
    ),
    "resumed zstd": Case([cut(900, ZSTD, ETag='"z"'), rest(ZSTD)], BODY, 2),
    "zstd bomb": Case(
        [partly(zstd.compress(bytes(50_000_000)))],
        "is larger than 1,000,000 bytes",
        1,
        {"max_feed_bytes": 1_000_000},
    ),
    "another encoding": Case(
        [status("200 OK", BODY, Content_Encoding="br")],
        "encoding br, which the request does not accept",
        1,
    ),
    # going on
    "resumed": Case(
        [cut(IN_A_LINE, ETag='"1"'), rest()], BODY, 2, logged=f"resuming at byte {IN_A_LINE:,}"
    ),
    "resumed twice": Case([cut(IN_A_LINE, ETag='"1"'), rest(until=AT_A_LINE), rest()], BODY, 3),
    "refused on resume": Case([cut(IN_A_LINE, ETag='"1"'), refuse, rest()], BODY, 3),
    "resumed gzip": Case(
        [
            cut(9000, ZIPPED, Content_Encoding="gzip", ETag='"z"'),
            rest(ZIPPED, Content_Encoding="gzip"),
        ],
        BODY,
        2,
    ),
    "weak ETag": Case([cut(IN_A_LINE, ETag='W/"1"'), whole], BODY, 2),
    "Range ignored": Case([cut(IN_A_LINE, ETag='"1"'), whole], BODY, 2),
    "changed on resume": Case(
        [cut(IN_A_LINE, ETag='"1"'), status("200 OK", NEWER, ETag='"2"')],
        NEWER,
        2,
        logged="the server has a new body",
    ),
    "changed under the same ETag": Case(
        [cut(IN_A_LINE, ETag='"1"'), rest(ETag='"2"'), status("200 OK", NEWER)],
        NEWER,
        3,
        logged="did not continue where it broke off",
    ),
    "wrong Content-Range": Case([cut(IN_A_LINE, ETag='"1"'), rest(shift=-7), whole], BODY, 3),
    "another length on resume": Case(
        [cut(IN_A_LINE, ETag='"1"'), rest(NEWER), status("200 OK", NEWER)], NEWER, 3
    ),
    "416 on resume": Case(
        [cut(IN_A_LINE, ETag='"1"'), status("416 Range Not Satisfiable"), whole], BODY, 3
    ),
    # statuses
    "429 in seconds": Case([status("429 Too Many Requests", Retry_After=0), whole], BODY, 2),
    "429 with a date": Case(
        [dated("429 Too Many Requests", -5), whole], BODY, 2, logged="asks for a retry in 0 s"
    ),
    "429 for long": Case(
        [status("429 Too Many Requests", Retry_After=7200)],
        "asks for a retry in 7200 s; try again later$",
        1,
    ),
    "429 with a date for long": Case(
        [dated("429 Too Many Requests", 7200)], r"asks for a retry in 7\d{3} s", 1
    ),
    "503 twice, then fine": Case(
        [status("503 Service Unavailable"), status("503 Service Unavailable"), whole],
        BODY,
        3,
        logged="answered 503 Service Unavailable; attempt 3 of 3 in 0.0 s",
    ),
    "503": Case(
        [status("503 Service Unavailable")],
        r"answered 503 Service Unavailable; try again later \(3 attempts\)",
        ATTEMPTS,
    ),
    "503 in the middle": Case(
        [cut(IN_A_LINE, ETag='"1"'), status("503 Service Unavailable"), rest()], BODY, 3
    ),
    "401": Case(
        [status("401 Unauthorized")],
        "answered 401 Unauthorized; check what the environment has in CRM_USER and CRM_PASSWORD",
        1,
    ),
    "401 in the middle": Case(
        [cut(IN_A_LINE, ETag='"1"'), status("401 Unauthorized")], "answered 401 Unauthorized", 2
    ),
    "403": Case([status("403 Forbidden")], "answered 403 Forbidden; check", 1),
    "404": Case([status("404 Not Found")], "answered 404 Not Found; check the feed's url", 1),
    "400": Case([status("400 Bad Request")], "answered 400 Bad Request; check", 1),
    "202": Case(
        [status("202 Accepted", Retry_After=0)] * 9 + [whole],
        BODY,
        10,
        {"max_attempts": 1},
        logged="202 Accepted: the feed is not ready yet; asking again in 0.0 s",
    ),
    "202 for too long": Case(
        [status("202 Accepted", Retry_After=7200)],
        "202 Accepted: the feed is not ready yet, and download_timeout .7200 s. is over before the "
        "next request; try again later$",
        1,
    ),
    "202 in the middle": Case(
        [cut(IN_A_LINE, ETag='"1"'), status("202 Accepted", Retry_After=0), rest()], BODY, 3
    ),
    "404 that means empty": Case(
        [status("404 Not Found", b"no such day")],
        b"",
        1,
        {"empty_statuses": [404], "allow_empty": True},
        logged="the server answered 404, which empty_statuses declares as no rows",
    ),
    "204 that means empty": Case(
        [status("204 No Content")], b"", 1, {"empty_statuses": [204], "allow_empty": True}
    ),
    "404 after half a feed": Case(
        [cut(IN_A_LINE, ETag='"1"'), status("404 Not Found")],
        "broke off, and the next request was answered with 404",
        ATTEMPTS,
        {"empty_statuses": [404], "allow_empty": True},
    ),
    "204": Case([status("204 No Content")], "answered 204 No Content, so there is no feed", 1),
    "206 unasked": Case([status("206 Partial Content", BODY)], "answered 206", 1),
    "304 unasked": Case([status("304 Not Modified")], "answered 304", 1),
    "redirect loop": Case(
        [status("302 Found", Location="/feed")], "redirects more than 10 times", 11
    ),
    "redirect within the server": Case(
        [status("302 Found", Location="/feed2?key=hunter2"), whole], BODY, 2
    ),
    "redirect without a web address": Case(
        [status("302 Found", Location="file:///etc/passwd")], "that is not an http or https URL", 1
    ),
    "redirect to nonsense": Case(
        [status("302 Found", Location="http://[::1")], "that cannot be read", 1
    ),
    "downgrade": Case(
        [status("302 Found", Location="http://example.com/feed")],
        "redirects to http://example.com/feed, which is plain http",
        1,
    ),
    # contents
    "login page": Case(
        [status("200 OK", b"<!DOCTYPE html><html>Log in", Content_Type="text/html")],
        "is an HTML or XML page",
        1,
    ),
    "wrong charset": Case(
        [status("200 OK", '{"id": "N1", "text": "Zürich"}\n'.encode("latin-1"))],
        "line 1 is not UTF-8",
        1,
    ),
    "bomb": Case(
        [bomb],
        r"is larger than 1,000,000 bytes; .* raise max_feed_bytes",
        1,
        {"max_feed_bytes": 1_000_000},
    ),
    "endless": Case([endless], "is larger than 1,000,000 bytes", 1, {"max_feed_bytes": 1_000_000}),
    "too large ahead": Case(
        [partly(b"", Content_Length=1_000_001)],
        "is larger than 1,000,000 bytes",
        1,
        {"max_feed_bytes": 1_000_000},
    ),
    "no room for it": Case(
        [partly(b"", Content_Length=10**17)],
        "bytes are free in the folder for temporary files",
        1,
        {"max_feed_bytes": 10**18},
    ),
    "a long line": Case(
        [status("200 OK", b'{"id": "' + b"a" * 2000 + b'"}\n')],
        r"line 1 is longer than 1,000 bytes",
        1,
        {"max_line_bytes": 1000},
    ),
    "fewer than min_rows": Case(
        [status("200 OK", b'{"id": "N1"}\n')], "has 1 rows, and min_rows is 2", 1, {"min_rows": 2}
    ),
}


CASES |= {
    f"a document: {name}": replace(case, attributes={"format": "json", **case.attributes})
    for name, case in {
        "whole": Case([partly(ARRAY, Content_Length=len(ARRAY))], BODY, 1),
        "its end is its last bracket": Case([partly(ARRAY)], BODY, 1),
        "in an object": Case(
            [chunked(b'{"n": 1, "data": {"items": ', ARRAY, b', "x": []}}')],
            BODY,
            1,
            {"records": "data.items"},
        ),
        "gzip": Case([partly(gzip.compress(ARRAY))], BODY, 1),
        "resumed": Case([cut(IN_A_LINE, ARRAY, ETag='"1"'), rest(ARRAY)], BODY, 2),
        "broke off, then fine": Case([partly(ARRAY[:IN_A_LINE]), partly(ARRAY)], BODY, 2),
        "broke off, then another": Case(
            [partly(ARRAY[:IN_A_LINE]), partly(ARRAY.replace(b'"N1"', b'"N9999"'))], NEWER, 2
        ),
        "cut short, all promised": Case(
            [status("200 OK", ARRAY[:IN_A_LINE])],
            r"broke off inside its JSON document, after element 997; try again later",
            ATTEMPTS,
        ),
        "empty": Case([status("200 OK")], "broke off inside its JSON document", ATTEMPTS),
        "corrupt gzip before the end": Case(
            [partly(_corrupt(gzip.compress(ARRAY)))], "is not valid gzip", ATTEMPTS
        ),
        "no array in a gzip": Case(
            [partly(gzip.compress(b'{"error": "no such day"}'))], "is a JSON object, not an", 1
        ),
        "no records": Case(
            [status("200 OK", b'{"error": "no such day"}')],
            "has no data.items, which records names; its keys are error$",
            1,
            {"records": "data.items"},
        ),
        "a bad element": Case(
            [status("200 OK", b'[{"id": "N1"},\n{"id": tru},\n3]')],
            r"element 2 is not JSON \(",
            1,
        ),
        "bad elements that are accepted": Case(
            [status("200 OK", b'[{"id": "N1", "total": 1.5, "text": ""},\n{"id": tru},\n3]')],
            b'{"id": "N1", "total": 1.5, "text": ""}',
            1,
            {"max_bad_lines": 2},
        ),
        "a long element": Case(
            [status("200 OK", b'[{"id": "N1"}, {"id": "' + b"a" * 2000 + b'"}]')],
            r"element 2 is longer than 1,000 bytes. If that is right, raise max_line_bytes",
            1,
            {"max_line_bytes": 1000},
        ),
        "too large beside its records": Case(
            [chunked(b'{"x": [' + b"1," * 1000 + b'1], "data": []}')],
            "is larger than 1,000 bytes",
            1,
            {"max_feed_bytes": 1000, "records": "data"},
        ),
        "an HTML page": Case([status("200 OK", b"<html>Log in")], "an HTML or XML page", 1),
    }.items()
}
CASES["an array for NDJSON"] = Case(
    [status("200 OK", b"[\n" + ARRAY[1:])], "is a JSON array, not NDJSON.* declare format: json", 1
)

SERVERS: dict[str, tuple[str, bool, bytes | str, int]] = {
    "IPv6": ("::1", False, BODY, 1),
    "a certificate that is not trusted": ("127.0.0.1", True, "certificate that is not trusted", 0),
}
"""Kinds of servers: host, with TLS or not, result of the import, number of requests."""


@pytest.fixture(scope="module")
def faulty() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        yield running


KINDS: dict[str, dict[str, Any]] = {
    "snapshot": {},
    "by date": {"partition_by_date": {"start_date": "2020-01-20"}},
}
"""Attributes that a feed of each kind adds."""


@pytest.fixture(params=KINDS)
def declared(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The attributes of a feed of each kind, with credentials."""
    monkeypatch.setenv("CRM_USER", "me")
    monkeypatch.setenv("CRM_PASSWORD", "hunter2")
    auth = {"username_env": "CRM_USER", "password_env": "CRM_PASSWORD"}
    return {"basic_auth": auth, "max_attempts": ATTEMPTS, **KINDS[request.param]}


@pytest.fixture(scope="module")
def imported(faulty: FaultyServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DuckDB file into which an earlier body of each kind of feed was imported."""
    file = tmp_path_factory.mktemp("before") / "warehouse.duckdb"
    faulty.arm(status("200 OK", BEFORE))
    for attributes in KINDS.values():
        assert not run(faulty, DuckDBWarehouse(file), attributes)
    return file


@pytest.fixture
def warehouse(imported: Path, tmp_path: Path) -> DuckDBWarehouse:
    shutil.copy(imported, tmp_path)
    return DuckDBWarehouse(tmp_path / imported.name)


def run(server: FaultyServer, warehouse: DuckDBWarehouse, attributes: dict[str, Any]) -> str:
    """Import the feed as a run does, without Dagster; return the reason of its failure or ""."""
    feed = Feed(
        **{"name": "orders", "url": server.url, "dataset": "crm", "retry_wait": 0, **attributes}
    )
    day = feed.partition_by_date.start_date if feed.partition_by_date else None
    with closing(prefetch_days(feed, [day])) as arriving:
        try:
            _, delivered = next(arriving)
            if isinstance(delivered, FeedAssetsError):
                raise delivered
            assert isinstance(delivered, PendingDay)
            store(delivered, warehouse, attempt=str(uuid4()))
        except FeedAssetsError as failure:
            return str(failure)
    return ""


def parsed(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]


def rows(warehouse: Warehouse, attributes: dict[str, Any]) -> list[dict[str, Any]]:
    by_date = "partition_by_date" in attributes
    table = SNAPSHOT.shard(date(2020, 1, 20)) if by_date else SNAPSHOT
    found: list[dict[str, Any]] = warehouse.read(table).to_pylist()
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_fault_gives_the_whole_feed_or_one_sentence_and_no_change(
    name: str,
    faulty: FaultyServer,
    declared: dict[str, Any],
    warehouse: DuckDBWarehouse,
    caplog: pytest.LogCaptureFixture,
) -> None:
    case = CASES[name]
    caplog.set_level(logging.DEBUG, "feed_assets")

    faulty.arm(*case.answers)
    with warehouse:  # opened once
        reason = run(faulty, warehouse, {**declared, **case.attributes})
        found = rows(warehouse, declared)

    assert len(faulty.requests) == case.requests, caplog.text
    assert case.logged in caplog.text
    assert "hunter2" not in caplog.text + reason
    if isinstance(case.ends, bytes):
        assert not reason
        assert found == parsed(case.ends)
    else:
        assert re.search(case.ends, reason), reason
        assert found == parsed(BEFORE)


@pytest.mark.parametrize("name", ["503 twice, then fine", "401 in the middle"])
def test_a_fault_gives_the_same_result_in_dagster(
    name: str, faulty: FaultyServer, declared: dict[str, Any], tmp_path: Path
) -> None:
    case, key = CASES[name], ["2020-01-20"] * ("partition_by_date" in declared)
    with ephemeral_instance() as instance:
        project = Project(FeedServer(faulty.url), tmp_path, instance, **declared)
        faulty.arm(status("200 OK", BEFORE))
        assert project.run(*key).success

        faulty.arm(*case.answers)
        ended = project.run(*key)
        log = "\n".join(entry.user_message for entry in instance.all_logs(ended.run_id))

    assert len(faulty.requests) == case.requests, log
    assert case.logged in log
    assert "hunter2" not in log
    if isinstance(case.ends, bytes):
        assert ended.success, project.reason(ended)
        assert rows(project.tables, declared) == parsed(case.ends)
    else:
        assert re.search(case.ends, project.reason(ended)), project.reason(ended)
        assert "hunter2" not in project.reason(ended)
        assert rows(project.tables, declared) == parsed(BEFORE)


@pytest.mark.parametrize("name", SERVERS)
def test_each_kind_of_server_gives_the_whole_feed_or_one_sentence(
    name: str, declared: dict[str, Any], warehouse: DuckDBWarehouse
) -> None:
    host, secure, ends, requests = SERVERS[name]
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if secure else None
    if tls is not None:
        trustme.CA().issue_cert("localhost").configure_cert(tls)

    with faulty_server(host, tls) as other:
        reason = run(other, warehouse, declared)

    assert len(other.requests) == requests
    if isinstance(ends, bytes):
        assert not reason
        assert rows(warehouse, declared) == parsed(ends)
    else:
        assert ends in reason
        assert rows(warehouse, declared) == parsed(BEFORE)


def test_a_redirect_to_another_host_is_followed_without_credentials(
    faulty: FaultyServer, declared: dict[str, Any], warehouse: DuckDBWarehouse
) -> None:
    with faulty_server() as other:
        faulty.arm(status("302 Found", Location=other.url))
        assert not run(faulty, warehouse, declared)
        assert "authorization" in faulty.requests[0].headers
        assert "authorization" not in other.requests[0].headers
    assert rows(warehouse, declared) == parsed(BODY)
