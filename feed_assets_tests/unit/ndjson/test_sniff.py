"""Files in other formats are rejected with a specific error, however many bad lines are allowed."""

from __future__ import annotations

import gzip
import json

import pytest

from feed_assets.errors import NotNdjson
from feed_assets_tests.unit.ndjson.feeds import read_bytes

ROWS = [{"a": 1, "b": {"c": [1, 2]}}, {"a": 2}]
LONG = {f"key {each}": "x" * 100 for each in range(20_000)}

FOREIGN = [
    (b"<!DOCTYPE html>\n<html>", "HTML or XML page"),
    (b"\xef\xbb\xbf\n <html><body>Log in</body></html>", "HTML or XML page"),
    (b'<?xml version="1.0"?>', "HTML or XML page"),
    (json.dumps(ROWS).encode(), "JSON array"),
    (json.dumps(ROWS, indent=2).encode(), "JSON array"),
    (b"\n [\n" + b",\n".join(json.dumps(row).encode() for row in ROWS) + b"\n]\n", "JSON array"),
    (b"[]", "JSON array"),
    (b'[{"a":1},', "JSON array"),
    (b"[" * 1000, "JSON array"),
    (json.dumps(ROWS[0], indent=2).encode(), "JSON object written over several lines"),
    (json.dumps(ROWS[0], indent=1).replace("{\n", "{").encode(), "over several lines"),
    (b'{\n\n"a": 1\n}\n{\n"a": 2\n}\n', "over several lines"),
    (json.dumps(LONG, indent=2).encode(), "over several lines"),
    (gzip.compress(b'{"a":1}\n', mtime=0), "gzip-compressed"),
    (b"PK\x03\x04\x14\x00", "ZIP archive or an Excel file"),
    (b"PAR1\x15\x04", "Parquet"),
    ('{"a":1}\n'.encode("utf-16"), "UTF-16"),
    ('{"a":1}\n'.encode("utf-16-le"), "UTF-16"),
    ('{"a":1}\n'.encode("utf-16-be"), "UTF-16"),
    ('{"a":1}\n'.encode("utf-32"), "UTF-32"),
    (b"\x7fELF\x02\x01\x01\x00\x00\x00", "binary"),
]


@pytest.mark.parametrize(("data", "what"), FOREIGN)
def test_the_error_names_the_content_the_expectation_and_the_remedy(data: bytes, what: str) -> None:
    with pytest.raises(
        NotNdjson, match=rf"^the feed is .*{what}.*, not NDJSON\. A feed .* per line, in UTF-8: \w"
    ):
        read_bytes(data, max_bad_lines=1000)


@pytest.mark.parametrize(
    "data",
    [
        b'[1]\n{"a":1}',
        b"N1;2020\n",
        b'{\n{"a":1}',
        b'{"a":\n{"a":1}',
        b'{"a":"\x00"}\n',
        b'{"a":NaN}\n{"a":1}',
        b'{"a":1}{"b":2}',
        b"\xff",
        b"{" + b'"a":{' * 1000,
    ],
)
def test_a_bad_first_line_is_only_a_bad_line(data: bytes) -> None:
    assert read_bytes(data, max_bad_lines=1).bad_lines[0].line == 1
