"""Recognise other formats (compressed files, HTML, JSON arrays) and name them in the error."""

from __future__ import annotations

import json
from itertools import islice

from feed_assets.byte_source import ByteSource
from feed_assets.errors import NotNdjson, row_text
from feed_assets.ndjson.input.lines import BOM, JSON_SPACE, read_lines
from feed_assets.ndjson.strict_json import InvalidLine, nested_too_deep, parse

_WINDOW = 1 << 20  # bytes looked at for an object that spans lines
_QUOTED = 60
_EXPECTED = "A feed answers with NDJSON: one JSON object per line, in UTF-8"
_MAGIC = (
    (b"\x1f\x8b", "is gzip-compressed", "send it with Content-Encoding: gzip, or uncompressed"),
    (b"\x28\xb5\x2f\xfd", "is zstd-compressed", "send it uncompressed"),
    (b"BZh", "is bzip2-compressed", "send it uncompressed"),
    (b"\xfd7zXZ", "is xz-compressed", "send it uncompressed"),
    (b"PK\x03\x04", "is a ZIP archive or an Excel file", "send the rows themselves"),
    (b"PAR1", "is a Parquet file", "send the rows as JSON"),
    (b"%PDF", "is a PDF", "check the URL"),
    (b"\xff\xfe\x00\x00", "is UTF-32", "encode it as UTF-8"),
    (b"\x00\x00\xfe\xff", "is UTF-32", "encode it as UTF-8"),
    (b"\xff\xfe", "is UTF-16", "encode it as UTF-8"),
    (b"\xfe\xff", "is UTF-16", "encode it as UTF-8"),
)


def reject_non_ndjson(source: ByteSource, *, max_line_bytes: int, quote: bool = True) -> None:
    """Raise NotNdjson for a file in another format, however many bad lines are allowed."""
    head = source.read(0, _WINDOW)
    for magic, what, remedy in _MAGIC:
        if head.startswith(magic):
            raise _not_ndjson(what, remedy)
    _refuse_other_encoding(head)
    start = head.removeprefix(BOM).lstrip(JSON_SPACE)
    if start.startswith(b"<"):
        quoted = start.split(b"\n")[0].strip()[:_QUOTED].decode(errors="replace")
        raise _not_ndjson(
            "is an HTML or XML page",
            "check the URL, and whether it wants a login or answers with an error page",
            f" (it begins with {quoted})" if quote else "",
        )
    found = (line for _, line in read_lines(source, max_bytes=max_line_bytes))
    first = list(islice(found, 1))
    if not first or _is_row(first[0]):
        return
    first += islice(found, 1)
    if first[0].startswith(b"[") and (len(first) == 1 or not _is_complete_array(first[0])):
        raise _not_ndjson(
            "is a JSON array",
            "declare format: json, or write each element on a line of its own, without the "
            "brackets and the commas",
        )
    if first[0].startswith(b"{") and _spans_lines(start, first):
        raise _not_ndjson(
            "is a JSON object written over several lines",
            "write each object on one line, without indentation, or declare format: json, and the "
            "path of the array of rows in it as records",
        )
    if b"\x00" in first[0] and not first[0].startswith(b"{"):
        raise _not_ndjson("is binary", "check the URL")


def _refuse_other_encoding(head: bytes) -> None:
    """Reject UTF-16 and UTF-32 without a byte order mark: they have a NUL beside a character."""
    if b"\x00" in head[:2] and any(byte in head[:4] for byte in b"{[<"):
        raise _not_ndjson("is UTF-16 or UTF-32", "encode it as UTF-8")


def _is_row(line: bytes) -> bool:
    if line.startswith(b"{") and len(line) > _WINDOW:
        return True  # or a bad line, but not an object that spans lines
    try:
        parse(line)
    except InvalidLine:
        return False
    return True


def _is_complete_array(line: bytes) -> bool:
    text = line.decode(errors="replace")
    if nested_too_deep(text):
        return False
    try:
        return isinstance(json.JSONDecoder(parse_int=str).decode(text), list)
    except ValueError:
        return False


def _spans_lines(start: bytes, first: list[bytes]) -> bool:
    if first[0] == b"{" and len(first) > 1 and first[1].startswith(b'"'):
        return True  # even if the object is larger than the window
    text = start.decode(errors="replace")
    if nested_too_deep(text):
        return False
    try:
        _, end = json.JSONDecoder(parse_int=str).raw_decode(text)
    except ValueError:
        return False
    return "\n" in text[:end]


def _not_ndjson(what: str, remedy: str, begin: str = "") -> NotNdjson:
    return NotNdjson(f"the feed {what}" + row_text(begin) + f", not NDJSON. {_EXPECTED}: {remedy}")
