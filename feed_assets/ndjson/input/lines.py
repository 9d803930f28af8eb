"""Lines of a file, one at a time, numbered from 1 as in an editor."""

from __future__ import annotations

import re
from collections.abc import Iterator

from feed_assets.byte_source import ByteSource
from feed_assets.errors import NotNdjson
from feed_assets.ndjson.input.blocks import block_extents

BOM = b"\xef\xbb\xbf"
JSON_SPACE = b" \t\r\n"

_BLANK = re.compile(rb"[ \t\r\n]*+")
_PIECE = 1 << 20


class LineTooLong(NotNdjson):
    """A line longer than max_line_bytes: the rest of it cannot be trusted to be a row."""

    def __init__(self, line: int, max_bytes: int, *, unit: str = "line") -> None:
        self.line = line
        remedy = (
            "A feed has one JSON object per line: end each with a line feed, or raise"
            if unit == "line"
            else "If that is right, raise"
        )
        super().__init__(
            f"{unit} {line} is longer than {max_bytes:,} bytes. {remedy} max_line_bytes"
        )


def read_lines(source: ByteSource, *, max_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield number and text of each line that is not blank, stripped; only `\\n` ends a line.

    Drop a byte order mark. Use about `max_bytes` of memory; raise LineTooLong at a longer line.
    """
    first = 1
    for extent in block_extents(source, size=_PIECE, first=_PIECE, max_line_bytes=max_bytes):
        data = extent.read(source).data
        yield from split_lines(data, max_bytes=max_bytes, marked=not extent.start, first=first)
        first += data.count(b"\n")


def split_lines(
    data: bytes, *, max_bytes: int, marked: bool = True, first: int = 1
) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of `data` as `read_lines` does, numbered from `first`.

    `marked` data can begin with a byte order mark. A run of blank lines, perhaps of millions, is
    one step.
    """
    number, begin = first, 0
    at = len(BOM) if marked and data.startswith(BOM) else 0
    while begin < len(data):
        start = _BLANK.match(data, at).end()  # type: ignore[union-attr]  # it always matches
        if blank := data.count(b"\n", at, start):
            _check_blank(data[begin:start], number, max_bytes)
            number += blank
            begin = data.rfind(b"\n", at, start) + 1
        end = data.find(b"\n", start)
        if end < 0:
            end = len(data)
        if end - begin > max_bytes:
            _check_length(data[begin:end], number, max_bytes)
        if start < end:
            yield number, data[start:end].rstrip(JSON_SPACE)
        number += 1
        at = begin = end + 1


def _check_blank(data: bytes, first: int, max_bytes: int) -> None:
    if len(data) > max_bytes:
        for number, line in enumerate(data.split(b"\n"), first):
            _check_length(line, number, max_bytes)


def _check_length(line: bytes, number: int, max_bytes: int) -> None:
    if len(line.rstrip(b"\r\n")) > max_bytes:
        raise LineTooLong(number, max_bytes)
