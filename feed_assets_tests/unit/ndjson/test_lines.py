"""Lines that are rows, bad lines with their reasons, and line numbers."""

from __future__ import annotations

import sys

import pyarrow as pa
import pytest

from feed_assets.errors import BadLines, ContentError, NotNdjson, SettingError, full_text
from feed_assets.ndjson import Options
from feed_assets_tests.unit.ndjson.feeds import read_bytes, read_lines, values_of

REASONS = [
    (b"[1,2", "is not a JSON object (got an array)"),
    (b"[1,2]", "is not a JSON object (got an array)"),
    (b'"text"', "is not a JSON object (got a string)"),
    (b"12.5", "is not a JSON object (got a number)"),
    (b"true", "is not a JSON object (got a boolean)"),
    (b"null", "is not a JSON object (got null)"),
    (b'{"a":1}{"a":2}', "contains more than one JSON object"),
    (b'{"a":1} {"a"', "contains more than one JSON object"),
    (b'{"a":1},', "is not JSON (extra data at character 8)"),
    (b'{"a":NaN}', "is not JSON (NaN is not a JSON number)"),
    (b'{"a":[-Infinity]}', "is not JSON (-Infinity is not a JSON number)"),
    (b'{"a":1,"b":2,"a":3}', 'has the key "a" twice in one object'),
    (b'{"x":[{"\\u00e9":1,"\xc3\xa9":2}]}', 'has the key "\\u00e9" twice in one object'),
    (b'{"a":"\xff"}', "is not UTF-8 (byte 0xff at position 7)"),
    (b'{"a":"\xed\xa0\x80"}', "is not UTF-8 (byte 0xed at position 7)"),
    (b'{"a":"\\ud800"}', "contains half a character (a lone surrogate)"),
    (b'{"a":"\\udc00\\ud800"}', "contains half a character (a lone surrogate)"),
    (b'{"\\uDBFF":1}', "contains half a character (a lone surrogate)"),
    (b'{"x":[{"y":"\\uD83Dx"}]}', "contains half a character (a lone surrogate)"),
    (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", "is nested deeper than 200 levels"),
    (b'{"a":' + b"[" * 490 + b"]" * 490 + b"}", "is nested deeper than 200 levels"),
    (b'{"a":' * 100_000, "is nested deeper than 200 levels"),
]


@pytest.mark.parametrize(("line", "reason"), REASONS)
def test_a_bad_line_says_what_is_wrong_with_it(line: bytes, reason: str) -> None:
    reading = read_bytes(b'{"a":1}\n' + line + b'\n{"a":2}', max_bad_lines=1)
    (bad,) = reading.bad_lines
    assert (bad.line, full_text(bad.reason)) == (2, reason)
    assert reading.rows == 2
    assert reading.table.to_pylist() == [{"a": 1}, {"a": 2}]  # it decides no type


@pytest.mark.parametrize(
    "line",
    [
        b'{"a":1,}',
        b'{"a":[1,]}',
        b"{'a':1}",
        b'{"a":1}//x',
        b'{"a":1/**/}',
        b'{"a":01}',
        b'{"a":1.}',
        b'{"a":.5}',
        b'{"a":+1}',
        b'{"a":0x1}',
        b'{"a":1e}',
        b'{"a":-}',
        b'{"a":"\x01"}',
        b'{"a":"\t"}',
        b'{"a":"\\x"}',
        b'{"a":"\\u12g4"}',
        b'{"a":True}',
        b'{"a"}',
        b'{"a":}',
        b'{"a":1',
        b'{"a":"x',
        b"{",
        b"}",
        b"N1;2020-01-20;96.12",
        b"\xef\xbb\xbf{}",
        b"\x0c",
        "{\u00a0}".encode(),
        "{\u2028}".encode(),
        '{"a":\u0661}'.encode(),
    ],
)
def test_a_line_that_is_almost_json_is_bad(line: bytes) -> None:
    (bad,) = read_bytes(b"{}\n" + line, max_bad_lines=1).bad_lines
    assert bad.reason.startswith("is not JSON (")


def test_the_full_text_of_the_error_has_the_start_of_the_line() -> None:
    with pytest.raises(BadLines, match=r"^line 4 is not a JSON object \(got an array\)$") as e:
        read_bytes(b'{"a":1}\r\n\r\n{"a":2}\r\n[1,2\r\n[3')
    assert full_text(e.value.sentence) == "line 4 is not a JSON object (got an array): [1,2"
    assert (e.value.first.line, e.value.first.text, e.value.allowed) == (4, "[1,2", 0)


def test_bad_lines_up_to_the_limit_are_reported_with_their_text() -> None:
    reading = read_bytes(b'{"a":1}\nx\n{"a":"\xff"}\n', max_bad_lines=2)
    assert [(bad.line, bad.text) for bad in reading.bad_lines] == [(2, "x"), (3, '{"a":"\\xff"}')]
    with pytest.raises(BadLines) as e:
        read_bytes(b'{"a":1}\nx\ny\nz\n', max_bad_lines=2)
    assert (e.value.first.line, e.value.allowed) == (2, 2)


def test_blank_lines_a_byte_order_mark_carriage_returns_and_a_missing_line_feed_are_accepted() -> (
    None
):
    reading = read_bytes(b'\xef\xbb\xbf\r\n{"a":1}\r\n \t\r\n\n  {"a": 2}  \r\n{"a":3}')
    assert values_of(reading, "a") == [1, 2, 3]
    assert reading.first_conflicting_line("a", pa.bool_()) == 2  # every line counts, blank ones too


def test_only_a_line_feed_ends_a_line() -> None:
    text = '{"a":"x\u2028y\u0085z"}\r{"a":1}\n'
    (bad,) = read_bytes(b"{}\n" + text.encode(), max_bad_lines=1).bad_lines
    assert bad.reason == "contains more than one JSON object"
    reading = read_lines('{"a":"x\u2028y\u0085z"}')
    assert values_of(reading, "a") == ["x\u2028y\u0085z"]


@pytest.mark.parametrize("data", [b"", b"\n", b" \r\n\n\t", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_an_empty_file_has_no_rows_and_no_columns(data: bytes) -> None:
    reading = read_bytes(data)
    assert (reading.rows, reading.table.num_columns, reading.bytes) == (0, 0, len(data))
    assert reading.frame().shape == (0, 0)


def test_rows_without_values_are_counted() -> None:
    reading = read_lines("{}", "{}", '{"a":null}')
    assert reading.rows == 3
    assert reading.frame().shape == (3, 0)


def test_nesting_up_to_the_limit_is_accepted_however_deep_the_caller_is() -> None:
    line = '{"a":' + "[" * 199 + "1" + "]" * 199 + "}"
    assert read_lines(line).rows == 1
    brackets_in_text = '{"a":"' + "[{" * 5000 + '\\"[","b":[{}]}'
    assert read_lines(brackets_in_text).rows == 1

    def deeper(frames: int) -> int:
        return deeper(frames - 1) if frames else read_lines(line).rows

    assert deeper(sys.getrecursionlimit() // 3) == 1


def test_a_line_longer_than_allowed_refuses_the_feed() -> None:
    line = '{"a":"' + "x" * 92 + '"}'
    found = read_bytes(f"{line}\r\n{line}\r\nx".encode(), max_line_bytes=100, max_bad_lines=1)
    assert (found.rows, found.bad_lines[0].line) == (2, 3)
    with pytest.raises(NotNdjson, match=r"^line 2 is longer than 99 bytes\. .* max_line_bytes"):
        read_bytes(f"{{}}\n{line}\n".encode(), max_line_bytes=99, max_bad_lines=9)
    with pytest.raises(NotNdjson, match=r"^line 1 is longer"):
        read_bytes(line.encode(), max_line_bytes=99)


def test_a_line_that_is_too_long_has_its_number_in_the_feed_and_not_in_its_block() -> None:
    rows = b'{"a":1}\n' * 40_000
    with pytest.raises(NotNdjson, match=r"^line 40001 is longer than 99,999 bytes"):
        read_bytes(rows + b'{"a":"' + b"x" * 100_000 + b'"}\n', max_line_bytes=99_999)


def test_keys_that_are_data_are_refused_before_they_fill_the_memory() -> None:
    many = ",".join(f'"k{each}":{each}' for each in range(10_001))
    with pytest.raises(ContentError, match=r"^line 2 brings the feed to more than 10000 columns"):
        read_lines("{}", f'{{"o":{{{many}}}}}')
    reading = read_lines(f'{{"o":{{{many}}}}}', types={"o": "STRING"})
    assert values_of(reading, "o") == [f"{{{many}}}"]


@pytest.mark.parametrize(
    "options", [{"max_bad_lines": -1}, {"max_line_bytes": 0}, {"max_line_bytes": 1 << 40}]
)
def test_invalid_options_are_refused(options: dict[str, int]) -> None:
    (name,) = options
    with pytest.raises(SettingError, match=f"^{name} is "):
        Options(**options)  # type: ignore[arg-type]
