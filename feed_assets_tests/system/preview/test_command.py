"""`feed-assets preview` as a command: inputs, output, errors and exit status."""

from __future__ import annotations

import bz2
import errno
import gzip
import json
import os
import pty
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from feed_assets.decompression import zstd_module
from feed_assets.download import Transfer
from feed_assets_tests.support.dagster.client import waited_for
from feed_assets_tests.support.servers.faulty import Answer as Answering
from feed_assets_tests.support.servers.faulty import cut, faulty_server, stall
from feed_assets_tests.support.servers.feed import Answer, FeedServer, lines, ndjson_type, zipped
from feed_assets_tests.system.preview.commands import environment, feed_assets, finished, started

ROWS = lines({"id": "N1", "total": 1.5}, {"id": "N2", "total": 2}).body
FOUND = {
    "rows": 2,
    "bytes": len(ROWS),
    "schema": [
        {"name": "id", "type": "STRING", "mode": "NULLABLE"},
        {"name": "total", "type": "FLOAT", "mode": "NULLABLE"},
    ],
    "untyped": [],
    "renamed": {},
    "bad_lines": [],
    "bad_line_count": 0,
}
SECRET = "hunter2"


def previewed(*arguments: str | Path, run: Any = feed_assets, **options: Any) -> Any:
    done = run("preview", "--json", *arguments, **options)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def refused(*arguments: str | Path, status: int = 1, **options: Any) -> str:
    """Return the one sentence with which the command ends."""
    done = feed_assets("preview", *arguments, **options)
    assert (done.returncode, done.stdout) == (status, ""), done
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("feed-assets").removeprefix(" preview").strip(": \n")


@pytest.mark.parametrize(
    "packed",
    [ROWS, gzip.compress(ROWS), bz2.compress(ROWS), zstd_module().compress(ROWS)],
    ids=["plain", "gzip", "bzip2", "zstd"],
)
def test_a_file_a_pipe_and_a_url_are_read_alike(
    server: FeedServer, tmp_path: Path, packed: bytes
) -> None:
    path = tmp_path / "orders.ndjson"
    path.write_bytes(packed)
    server.answer = lambda _: Answer(packed, headers=ndjson_type)

    assert previewed(path) == FOUND
    assert previewed("-", stdin=packed) == FOUND
    assert previewed("-", run=finished, stdin=packed) == FOUND  # through a pipe
    assert previewed(server.url) == FOUND
    server.answer = lambda _: zipped(Answer(ROWS, headers=ndjson_type))
    assert previewed(server.url) == FOUND


def test_a_named_pipe_is_read_as_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with started("preview", "--json", tmp_path / "pipe", stdout=subprocess.PIPE) as running:
        (tmp_path / "pipe").write_bytes(ROWS)
        printed, _ = running.communicate(timeout=60)
    assert json.loads(printed) == FOUND


@pytest.mark.parametrize("day", ["2020-01-20", "20200120"])
def test_the_request_for_a_day_is_the_same_as_in_an_import(server: FeedServer, day: str) -> None:
    previewed(f"{server.url}?of=shop", "--date", day)
    assert [path for path, _ in server.requests] == ["/feed?of=shop&date=20200120"]


def test_a_day_is_filled_in_and_any_attribute_can_be_set(
    server: FeedServer, tmp_path: Path
) -> None:
    server.answer = lambda _: Answer(ROWS)
    url = server.url.replace("/feed", "/orders-{date:%Y-%m-%d}.ndjson")
    options = ["--set", "partition_by_date={timezone: Europe/Berlin}", "--set", "key=[id]"]
    done = feed_assets("preview", url, "--date", "2020-01-20", *options, "--set", "min_rows=2")

    assert (done.returncode, done.stderr) == (0, "")
    assert [path for path, _ in server.requests] == ["/orders-2020-01-20.ndjson"]
    declared = yaml.safe_load(done.stdout.partition("defs.yaml\n")[2])["attributes"]
    assert declared == {
        "name": "orders",
        "url": url,
        "dataset": "crm",
        "key": ["id"],
        "min_rows": 2,
        "partition_by_date": {"start_date": date(2020, 1, 20), "timezone": "Europe/Berlin"},
    }


@pytest.mark.parametrize(
    ("options", "header", "value"),
    [
        (["--basic-auth", "NAME", "SECRET"], "Authorization", "Basic YW5uYTpodW50ZXIy"),
        (["--bearer-auth", "SECRET"], "Authorization", f"Bearer {SECRET}"),
        (["--header-env", "X-Api-Key=SECRET"], "X-Api-Key", SECRET),
    ],
)
def test_credentials_come_from_the_environment(
    server: FeedServer, options: list[str], header: str, value: str
) -> None:
    done = feed_assets("preview", server.url, *options, NAME="anna", SECRET=SECRET)
    assert done.returncode == 0
    assert server.requests[0][1][header] == value
    assert SECRET not in done.stdout + done.stderr
    assert "SECRET" in done.stdout  # in the YAML, by its variable

    printed = refused(server.url, *options)
    assert "the environment variable" in printed
    assert "is not set" in printed


def test_query_values_are_hidden_wherever_the_url_appears(server: FeedServer) -> None:
    url = f"{server.url}?token={SECRET}"
    done = feed_assets("preview", url)
    shown, _, declared = done.stdout.partition("# feed_assets/defs")
    assert SECRET not in shown
    assert f"{server.url}?token=***" in shown
    assert "token in the URL may be a secret" in shown
    assert f"url: {url}" in declared
    server.answer = lambda _: Answer(status=404)
    assert SECRET not in refused(url)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(b"<!doctype html><p>Log in", headers=ndjson_type), "is an HTML or XML page"),
        (Answer(b'[{"a": 1}]', headers=ndjson_type), "is a JSON array"),
        (Answer(b'{\n  "a": 1\n}\n', headers=ndjson_type), "written over several lines"),
        (Answer(status=204), "204 No Content, so there is no feed"),
        (Answer(status=401), "401 Unauthorized; the feed declares no credentials"),
        (Answer(status=404), "404 Not Found; check the feed's url"),
        (zipped(Answer(ROWS), cut=9), "broke off inside its gzip; try again later (3 attempts)"),
    ],
)
def test_an_input_that_is_not_a_feed_fails_with_one_sentence(
    server: FeedServer, answer: Answer, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Transfer, "wait", lambda self, seconds: None)
    server.answer = lambda _: answer
    for options in ([], ["--json"]):
        assert why in refused(server.url, *options)


@pytest.mark.parametrize("status", [400, 404])
def test_a_feed_that_needs_a_day_is_refused_with_the_option(
    server: FeedServer, status: int
) -> None:
    server.answer = lambda path: lines({"id": 1}) if "date=" in path else Answer(status=status)
    assert refused(server.url).endswith("; for a feed by date, add --date 2020-01-20")
    assert previewed(server.url, "--date", "2020-01-20")["rows"] == 1


def test_a_connection_that_breaks_off_is_retried_silently() -> None:
    with faulty_server() as server:
        server.arm(cut(1000), *server.answers)
        assert previewed(server.url, run=finished)["rows"] == 2000  # where no test takes the log


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["nowhere.ndjson"], 1, "nowhere.ndjson cannot be read: No such file or directory"),
        (["."], 1, ". cannot be read: Is a directory"),
        (["ftp://example.com/feed"], 1, "is not an http, https, file, sftp, gs or s3 URL"),
        (["http://[::1/feed"], 1, "url has a host or a port that cannot be read"),
        (["-", "--max-feed-bytes", "0"], 1, "max_feed_bytes"),
        (
            ["https://e.com/f", "--bearer-auth", ""],
            1,
            "token_env is not the name of an environment variable",
        ),
        (["-", "--write", "f" * 300], 1, "cannot be written to: File name too long"),
        (["http://anna:hunter2@localhost/feed"], 1, "url has credentials in it"),
        (["http://example.com/f", "--bearer-auth", "A"], 1, "credentials over plain http"),
        (["https://e.com/f?date=20200120", "--date", "20200120"], 1, "has a date in its url"),
        (
            ["-", "--type", "a=MONEY"],
            1,
            "types declares a as MONEY, which is not a type; use",
        ),
        (["-", "--set", "key=a,b"], 1, "key is a list: write [a, b]"),
        (["-", "--type", "MONEY"], 2, "MONEY is not COLUMN=TYPE"),
        (["-", "--header-env", "X"], 2, "X is not NAME=ENV"),
        (["-", "--header-env", "Host=A"], 1, "Host is set by feed_assets in each request"),
        (["https://e.com/{date}"], 1, "a snapshot has no days; declare partition_by_date"),
        (["https://e.com/{day}", "--date", "20200120"], 1, "not a placeholder for the day"),
        (["-", "--set", "datset=crm"], 1, "datset is not an attribute"),
        (["-", "--set", "min_rows"], 2, "--set wants NAME=VALUE"),
        (["-", "--set", "pages={"], 2, "the value of pages is not YAML"),
        (["-", "--date", "yesterday"], 2, "yesterday is not a day; write it as 2020-01-20"),
        (["-", "--secret", "x"], 2, "unrecognized arguments: --secret x"),
        ([], 2, "the following arguments are required: SOURCE"),
    ],
)
def test_a_mistake_fails_with_one_sentence(
    tmp_path: Path, arguments: list[str], status: int, why: str
) -> None:
    printed = refused(*arguments, status=status, cwd=tmp_path)
    assert why in printed
    assert SECRET not in printed


def test_a_file_that_may_not_be_read_fails_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from feed_assets import cli

    def denied(*_: object) -> None:  # root may read everything
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("feed_assets.preview.open_input.open", denied, raising=False)
    assert cli.main(["preview", str(tmp_path / "orders.ndjson")]) == 1
    assert capsys.readouterr().err.endswith("orders.ndjson cannot be read: Permission denied\n")


def test_an_error_of_temporary_files_does_not_show_the_secret_of_the_url(
    server: FeedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from feed_assets import cli

    def denied(*_: object) -> None:  # root may write everywhere
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("feed_assets.ndjson.spill.unnamed_temp_file", denied)
    assert cli.main(["preview", f"{server.url}?token={SECRET}"]) == 1
    printed = capsys.readouterr().err
    assert "could not be written to disk (Permission denied); temporary files are in" in printed
    assert SECRET not in printed


def test_output_that_cannot_be_written_fails_with_one_sentence() -> None:
    with (
        open("/dev/full", "wb") as full,
        started(
            "preview", "-", stdin=subprocess.PIPE, stdout=full, stderr=subprocess.PIPE
        ) as running,
    ):
        _, errors = running.communicate(ROWS, timeout=60)
    assert running.returncode == 1
    assert errors.decode() == "feed-assets: the output cannot be written: No space left on device\n"


def test_accepted_bad_lines_are_reported_and_do_not_fail_the_import() -> None:
    bad = [
        '{"id": "N1"}',
        "",
        '{"id": NaN}',
        '["id"]',
        '{"id": "N2", "id": "N3"}',
        '{"id": "N4"} {"id": "N5"}',
    ]
    found = previewed("-", stdin="\n".join(bad).encode() + b'\n{"id": "\xff"}')
    assert (found["rows"], found["bad_line_count"]) == (1, 5)
    assert found["bad_lines"][0] == {
        "line": 3,
        "reason": "is not JSON (NaN is not a JSON number)",
        "text": '{"id": NaN}',
    }
    assert [each["line"] for each in found["bad_lines"]] == [3, 4, 5, 6, 7]


def test_many_bad_lines_are_all_counted_and_the_first_thousand_listed() -> None:
    found = previewed("-", stdin=b'{"id": 1}\n' + b"bad\n" * 150_000 + b'{"id": "x"}\n')
    assert (found["rows"], found["bad_line_count"]) == (2, 150_000)
    assert [each["line"] for each in found["bad_lines"]] == [*range(2, 1002)]
    assert found["schema"][0]["type"] == "STRING"  # also by what comes after them


def test_a_feed_without_rows_is_valid(tmp_path: Path) -> None:
    assert previewed("-") == {**FOUND, "rows": 0, "bytes": 0, "schema": []}


def test_a_closed_output_pipe_prints_no_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with started(
        "preview", "-", "--json", stdin=subprocess.PIPE, stdout=writer, stderr=subprocess.PIPE
    ) as running:
        os.close(writer)
        _, errors = running.communicate(ROWS, timeout=60)
    assert (running.returncode, errors) == (1, b"")


@pytest.mark.parametrize("answer", [stall(150_000), lambda wire, _: wire.stall()])
def test_control_c_ends_a_preview_at_once_with_one_word(answer: Answering) -> None:
    with faulty_server() as server:
        server.arm(answer)
        with started("preview", server.url, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as it:
            waited_for("a request", lambda: server.requests or it.poll() is not None)
            it.send_signal(signal.SIGINT)
            output, errors = it.communicate(timeout=60)
    assert (it.returncode, output, errors) == (130, b"", b"feed-assets: interrupted\n")


def test_help_shows_all_options_with_examples() -> None:
    done = feed_assets("preview", "--help")
    assert done.returncode == 0
    assert "feed-assets preview https://example.com/feed.ndjson --date 2020-01-20" in done.stdout
    assert "Secrets are never arguments" in done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["preview", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert imported(*arguments).isdisjoint({"pyarrow", "pydantic", "requests", "rich", "numpy"})


def test_a_preview_imports_neither_dagster_nor_pandas(server: FeedServer) -> None:
    server.answer = lambda _: lines(
        {"at": "2020-01-20T10:00:00Z", "on": "2020-01-20", "days": ["2020-01-20"], "in": {"n": 1}},
        {"at": "", "on": "n/a", "price": "1.50", "id": "N1", "updated_at": "2020-01-20"},
    )
    found = imported("preview", server.url, "--type", "in.n=NUMERIC")
    assert found.isdisjoint({"dagster", "pandas", "google", "duckdb", "apprise"})
    assert {"pyarrow", "rich"} <= found


def imported(*arguments: str) -> set[str]:
    """The packages that were imported when the command ended."""
    program = f"""
import atexit, sys
atexit.register(lambda: print("\\n", *{{name.partition(".")[0] for name in sys.modules}}))
from feed_assets.cli import main
sys.exit(main({list(arguments)!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("\n ")[2].split())


def test_a_progress_bar_is_shown_on_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "orders.ndjson"
    path.write_bytes(
        b"".join(b'{"id": %d, "note": "%s"}\n' % (i, b"x" * 80) for i in range(100_000))
    )
    terminal, its_end = pty.openpty()
    with started("preview", path, "--json", stdout=subprocess.PIPE, stderr=its_end) as running:
        os.close(its_end)
        assert running.stdout is not None
        seen = b""
        while part := _read(terminal):
            seen += part
        found = json.loads(running.stdout.read())
    os.close(terminal)
    assert found["rows"] == 100_000
    assert b"100,000 rows" in seen
    assert b"MB" in seen
    assert b"/s" in seen


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # it was left
        return b""


def test_a_json_document_is_read_from_a_file_and_a_url(server: FeedServer, tmp_path: Path) -> None:
    document = b'{"data": {"items": [' + ROWS[:-1].replace(b"\n", b",\n") + b"]}}"
    path = tmp_path / "orders.json.gz"
    path.write_bytes(gzip.compress(document))
    server.answer = lambda _: Answer(document)
    options = ["--set", "format=json", "--set", "records=data.items"]

    found = {**FOUND, "bytes": len(ROWS) + 1}  # white space between the elements stays
    assert previewed(path, *options) == found
    assert previewed(server.url, *options) == found
    path.write_bytes(document[:-9])
    assert "ends inside its JSON document, after element 1" in refused(path, *options)
    path.write_bytes(b'[{"id": 1}, 7]')
    printed = feed_assets("preview", path, "--set", "format=json").stdout
    assert "1 rows, 1 bad elements" in printed.replace("1 row,", "1 rows,").replace(
        "bad element,", "bad elements,"
    )
    assert "element 2 is not a JSON object" in printed
