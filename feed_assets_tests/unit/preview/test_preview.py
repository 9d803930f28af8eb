"""A preview shows what an import would store, and what to look at."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from feed_assets import cli, read_ndjson
from feed_assets.errors import SettingError
from feed_assets.preview.column_stats import ColumnStats
from feed_assets.preview.preview import Preview, preview
from feed_assets.preview.printable import escape, percentage
from feed_assets.preview.render import render
from feed_assets.preview.request import PreviewRequest
from feed_assets.schema.table import Table
from feed_assets_tests.support.dagster.project import Project
from feed_assets_tests.support.servers.feed import lines


def previewed(tmp_path: Path, *rows: Any, day: date | None = None, **attributes: Any) -> Preview:
    path = tmp_path / "orders.ndjson"
    path.write_bytes(lines(*rows).body)
    return preview(PreviewRequest(str(path), day, attributes=attributes))


def column(name: str, values: Sequence[Any]) -> list[dict[str, Any]]:
    return [{name: value} for value in values]


def many(value: Any, *others: Any) -> list[Any]:
    """A thousand rows, the others from line 501 on."""
    return [value] * 500 + [*others] + [value] * (500 - len(others))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            many("2020-01-20", ""),
            '1 of 1,000 values is "", the first at line 501; --null-value "" makes it DATETIME',
        ),
        (
            many("2020-01-20T10:00Z", "", ""),
            '2 of 1,000 values are "", the first at line 501; --null-value "" makes it TIMESTAMP',
        ),
        (
            many(7, ""),
            '1 of 1,000 values is "", the first at line 501; --null-value "" makes it INTEGER',
        ),
        (
            many(7.5, "", 3),
            '1 of 1,000 values is "", the first at line 501; --null-value "" makes it FLOAT',
        ),
        (
            many("2020-01-20", "n/a", ""),
            '2 of 1,000 values are "n/a" or "", the first at line 501; --null-value "n/a" '
            '--null-value "" makes it DATETIME',
        ),
        (
            many(7, "n/a", None, "-", 1.5, "?", "!"),
            '995 numbers, but 4 strings (line 501 "n/a", line 503 "-", line 505 "?"); '
            "--type x=FLOAT refuses these lines",
        ),
        (
            many("2020-01-20", "0000-00-00"),
            '1 of 1,000 values is "0000-00-00", the first at line 501; --null-value "0000-00-00" '
            "makes it DATETIME",
        ),
        (
            many(7, "8", ""),
            '999 numbers, but 1 string (line 502 ""); --type x=INTEGER refuses these lines',
        ),
        (
            many("31.01.2020", "05.02.2020"),
            'its values are times such as "31.01.2020"; --type x=DATETIME:%d.%m.%Y makes it '
            "DATETIME",
        ),
        (
            many("31/01/2020 10:00", "-"),
            'its values are times such as "31/01/2020 10:00"; --null-value "-" '
            '--type "x=DATETIME:%d/%m/%Y %H:%M" makes it DATETIME',
        ),
        (
            many("05/01/2020", "06/01/2020"),
            'its values are times such as "05/01/2020"; --type x=DATETIME:%d/%m/%Y makes it '
            "DATETIME; --type x=DATETIME:%m/%d/%Y accepts all values as well, so ask which one is "
            "right",
        ),
        (
            many("05/01/2020", "01/31/2020"),
            'its values are times such as "05/01/2020"; --type x=DATETIME:%m/%d/%Y makes it '
            "DATETIME",
        ),
        (
            many("2020-01-20", "?", "2020-02-30"),
            '999 dates, but 1 string (line 501 "?")',
        ),
        (
            many(True, "yes", 0),
            '998 booleans, but 1 number and 1 string (line 501 "yes", line 502 0); '
            "--type x=BOOLEAN refuses these lines",
        ),
        (many("new", 7), "999 strings, but 1 number (line 501 7)"),
        (
            many({"a": 1}, [1], "a"),
            '998 objects, but 1 array and 1 string (line 501 [1], line 502 "a")',
        ),
        (
            many(7, "8"),
            "some of its numbers are in quotes, numbers (first at line 1) and strings (first at "
            "line 501); --type x=NUMERIC accepts both",
        ),
        (
            many("1.50", "-3.00"),
            "all its numbers are in quotes; --type x=NUMERIC makes them numbers",
        ),
        (
            many("0.1234567890", "-3.00"),
            "all its numbers are in quotes; --type x=BIGNUMERIC makes them numbers",
        ),
        (
            many("2020-01-20T10:00", "2020-01-20T10:00Z"),
            "dates (first at line 1) and dates with an offset (first at line 501)",
        ),
        (
            many(1.5, 2**53 + 1),
            "no number type holds all its numbers exactly, so they are stored as text",
        ),
        (many([7], ["n/a"]), "numbers (first at line 1) and strings (first at line 501)"),
        (
            many("2020-02-28", "2020-02-30"),
            "dates (first at line 1) and strings (first at line 501)",
        ),
    ],
)
def test_a_finding_says_why_a_column_is_string_with_line_numbers(
    tmp_path: Path, values: list[Any], text: str
) -> None:
    found = previewed(tmp_path, *column("x", values))
    assert [each.text for each in found.findings] == [f"x is STRING: {text}"]


def test_advice_is_tried_on_the_elements_of_a_json_document(tmp_path: Path) -> None:
    path = tmp_path / "orders.json"
    path.write_text('{"rows": [{"at": "2020-01-20"}, {"at": "N/A"}]}')
    attributes = {"format": "json", "records": "rows"}
    (finding,) = preview(PreviewRequest(str(path), attributes=attributes)).findings
    assert finding.text.endswith('first at element 2; --null-value "N/A" makes it DATETIME')


PRIVATE = {"exclude": ["email"], "hash": ["phone"], "hash_key_env": "HASH_KEY"}


@pytest.mark.parametrize("as_json", [False, True])
def test_a_preview_shows_nothing_of_private_columns(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:
    monkeypatch.setenv("HASH_KEY", "0123456789abcdef")
    row = {"id": 1, "email": "ada@example.org", "phone": "555-0199"}
    path = tmp_path / "orders.ndjson"
    path.write_bytes(lines(row, '{"email": "ada@example.org",}', {"phone": row}).body)
    declared = {**PRIVATE, "rename": {"id": "order_id", "Id": "x"}}
    options = ["--json"] if as_json else []
    cli.main(["preview", str(path), "--set", f"columns={json.dumps(declared)}", *options])

    printed = capsys.readouterr().out
    assert "order_id" in printed
    for private in ("ada@example.org", "555-0199", "0123456789abcdef"):
        assert private not in printed
    if not as_json:
        assert "! columns names Id, which no row has; check the spelling" in printed
        assert "line 3 has an object in column phone, which is hashed; hash a field" in printed
        assert "  columns: {exclude: [email], hash: [phone], hash_key_env: HASH_KEY" in printed


def test_a_preview_without_the_key_of_hashes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HASH_KEY", raising=False)
    with pytest.raises(SettingError, match="HASH_KEY is not set"):
        previewed(tmp_path, {"phone": 1}, columns=PRIVATE)


def test_a_format_that_fits_a_sample_only_is_not_advised(tmp_path: Path) -> None:
    values = [f"01.{day:02}.{year}" for year in range(1900, 2000) for day in range(1, 13)]
    for odd, advised in (("31.01.2020", True), ("2020", False)):
        found = previewed(tmp_path, *column("x", [*values, odd]))
        texts = " ".join(each.text for each in found.findings)
        assert ("--type x=DATETIME:%d.%m.%Y" in texts) is advised


@pytest.mark.parametrize(
    ("keys", "advised"),
    [(["x", "y.z"], True), (["", "x"], False), (["x", "x.y"], False)],
    ids=str,
)
def test_a_type_is_advised_for_paths_that_can_be_declared(
    tmp_path: Path, keys: list[str], advised: bool
) -> None:
    numbers = {**dict.fromkeys(keys, 1), "other": 1}
    rows = [numbers, numbers, *({**numbers, key: "?"} for key in keys)]
    for columns in (None, {"exclude": ["other"]}):
        found = previewed(tmp_path, *rows, columns=columns)
        assert [" refuses these lines" in each.text for each in found.findings] == [advised] * 2


def test_digits_are_times_in_a_column_that_is_named_like_one(tmp_path: Path) -> None:
    found = previewed(tmp_path, *column("createdAt", many("1579514400123", "")))
    assert [each.text for each in found.findings] == [
        "createdAt is STRING: its values are times such as 1579514400123; "
        '--null-value "" --type createdAt=TIMESTAMP:epoch_ms makes it TIMESTAMP'
    ]


@pytest.mark.parametrize(
    "values",
    [
        many("new", ""),
        many("a note", "2020-01-20"),
        many("00123", "00124"),
        many("1.50", "n/a"),
        many("1.50", ""),
        many(None, "x"),
        many("1579514400123", "1579514400124"),  # perhaps a telephone number
        many(7, 8.5),
    ],
)
def test_columns_that_are_plainly_text_or_typed_have_no_finding(
    tmp_path: Path, values: list[Any]
) -> None:
    assert previewed(tmp_path, *column("x", values)).findings == []


def test_the_suggested_options_have_the_described_effect(tmp_path: Path) -> None:
    rows = column("x", many("2020-01-20", "")) + column("y", many(1.5, "2.50"))
    found = previewed(tmp_path, *rows, null_values=[""], types={"y": "NUMERIC"})
    assert found.findings == []
    assert [each["type"] for each in found.json["schema"]] == ["DATETIME", "NUMERIC"]


def test_line_numbers_count_blank_and_bad_lines(tmp_path: Path) -> None:
    rows = ["", '{"x": 1}', "bad", "", '{"x": "n/a"}', '{"x": 2}', "bad", '{"x": {"a": "-"}}']
    (text,) = (each.text for each in previewed(tmp_path, *rows).findings)
    assert '(line 5 "n/a", line 8 {"a": "-"})' in text


def test_a_mixed_field_of_a_record_is_named_by_its_path(tmp_path: Path) -> None:
    rows = [{"a": {"b": value}} for value in (1, 2, "?")] + [{"a": None}]
    (text,) = (each.text for each in previewed(tmp_path, *rows).findings)
    assert text.startswith('a.b is STRING: 2 numbers, but 1 string (line 3 "?")')


def test_each_column_has_its_share_of_nulls_and_an_example(tmp_path: Path) -> None:
    rows = [
        {"at": None, "text": "", "in": {"n": 1.5}, "list": [], "items": [{"n": 7}, {}], "b": True},
        {"at": "2020-01-20T10:00:00.25Z", "in": None, "list": [1, 2, 3, 4], "items": None},
        {"on": "2020-01-20", "text": "abc", "in": {}, "price": 12.5, "list": None},
        {"on": "2020-01-20T10:00"},
    ]
    found = previewed(tmp_path, *rows, types={"price": "NUMERIC"})
    assert [row(each) for each in found.stats] == [
        ("at", "TIMESTAMP", "75 %", "2020-01-20 10:00:00.250000Z"),
        ("text", "STRING", "50 %", "abc"),
        ("in", "RECORD", "50 %", None),
        ("  n", "FLOAT", "75 %", "1.5"),
        ("list", "REPEATED INTEGER", "75 %", "1, 2, 3, …"),
        ("items", "REPEATED RECORD", "75 %", None),
        ("  n", "INTEGER", "50 %", "7"),
        ("b", "BOOLEAN", "75 %", "true"),
        ("on", "DATETIME", "50 %", "2020-01-20"),
        ("price", "NUMERIC", "75 %", "12.5"),
    ]


def row(stats: ColumnStats) -> tuple[str, str, str, str | None]:
    name = f"{'  ' * stats.depth}{stats.column.name}"
    return name, str(stats.column), percentage(stats.nulls, stats.values), stats.example


@pytest.mark.parametrize(
    ("part", "text"),
    [(0, ""), (1, "<1 %"), (50, "5 %"), (500, "50 %"), (999, ">99 %"), (1000, "100 %")],
)
def test_a_percentage_is_100_only_if_exact(part: int, text: str) -> None:
    assert percentage(part, 1000) == text


def test_control_sequences_of_a_feed_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b]0;owned\x07\u202e[red]"
    path = tmp_path / "orders.ndjson"
    path.write_text(
        f"{json.dumps({evil: evil, 'x': 1})}\n{json.dumps({'x': evil})}\n{evil}\n", encoding="utf-8"
    )
    assert cli.main(["preview", str(path)]) == 0
    path.write_text(f"<{evil}")
    assert cli.main(["preview", str(path)]) == 1
    out, err = capsys.readouterr()
    assert "\\x1b]0;owned\\x07\\u202e[red]" in out
    assert "\\x1b]0;owned" in err
    for character in "\x1b\x07\u202e":
        assert character not in out + err


@pytest.mark.parametrize("width", [72, 80, 120])
def test_a_narrow_terminal_shows_names_types_and_shares_in_full(tmp_path: Path, width: int) -> None:
    name = "a_column_name_that_somebody_thought_a_good_idea"
    found = previewed(tmp_path, {name: ["x" * 300] * 2, "東京": "東京" * 50}, {"b": {"c": None}})
    text = render(found, width)
    lines = text.splitlines()
    assert max(map(cell_len, lines)) <= width
    assert "REPEATED STRING" in text
    assert "50 %" in text
    assert "…" in text
    head = next(at for at, line in enumerate(lines) if line.startswith(" column "))
    end = lines[head].index("type")
    folded = "".join(line[:end].strip() for line in lines[head + 1 :])
    assert name in folded


def test_characters_of_all_languages_are_printed_unchanged() -> None:
    assert escape("Zürich 東京 🎉") == "Zürich 東京 🎉"


@pytest.mark.parametrize("day", [None, date(2020, 1, 20)])
def test_an_import_does_what_the_preview_showed(
    project: Callable[..., Project], day: date | None, tmp_path: Path
) -> None:
    by_date = {"partition_by_date": {"start_date": "2020-01-01"}} if day else {}
    attributes: dict[str, Any] = {
        "types": {"in.price": "NUMERIC", "doc": "JSON"},
        "null_values": [""],
    }
    made = project(**by_date, **attributes)
    rows = [
        {"größe": 1, "order id": "N1", "Order_ID": 2, "in": {"price": "1.5", "größe": []}},
        {"größe": 2.5, "tags": ["x", None], "doc": {"a": 1}, "_TABLE_x": True, "at": ""},
    ]
    made.server.answer = lambda _: lines(*rows)
    request = PreviewRequest(made.server.url, day, attributes=attributes)

    found = preview(request)
    assert made.run(*([day.isoformat()] if day else [])).success

    table = Table("crm", "orders")
    columns = made.tables.columns(table.shard(day) if day else table)
    assert columns is not None
    assert found.columns == columns
    frame = read_ndjson(io.BytesIO(lines(*rows).body), **attributes)
    for figure in ("rows", "bytes", "untyped"):
        assert found.json[figure] == frame.attrs[figure]
    if day is None:
        assert found.renamed == frame.attrs["renamed"]
        assert [each.name for each in found.columns] == list(frame.columns)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([], "there are no rows; an import refuses an empty snapshot"),
        ([{}, {"a": None}], "no row has a value; an import rejects such a feed"),
        ([{"a": [1, None, None]}], "a: 2 nulls in arrays dropped"),
        (["a;b", "1;2"], "no line is a row; the input may not be NDJSON"),
    ],
)
def test_a_preview_warns_of_rows_and_columns_that_an_import_would_refuse_or_omit(
    tmp_path: Path, rows: list[Any], text: str
) -> None:
    assert any(text in each for each in previewed(tmp_path, *rows).warnings)
