"""A file's lines, one at a time, each with the number an editor would show for it."""

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


def lines(source: ByteSource, *, max_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, without the white space around them; only `\\n` ends a line.

    A byte order mark before the first is dropped. Never holds more than about `max_bytes`; raises
    NotNdjson at a line that is longer, since what follows in it cannot be trusted to be a row.
    """
    before = 0
    for extent in block_extents(source, size=_PIECE, first=_PIECE, max_line_bytes=max_bytes):
        data = extent.read(source).data
        for number, line in split_lines(data, max_bytes=max_bytes, marked=not extent.start):
            yield before + number, line
        before += data.count(b"\n")


def split_lines(data: bytes, *, max_bytes: int, marked: bool = True) -> Iterator[tuple[int, bytes]]:
    """The same for bytes; no byte order mark is dropped from what is not `marked`.

    A run of blank lines, of which there can be millions, is one step.
    """
    number, begin = 1, 0
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
        raise NotNdjson(
            f"line {number} is longer than {max_bytes:,} bytes. A feed has one JSON object "
            f"per line: end each with a line feed, or raise max_line_bytes"
        )
