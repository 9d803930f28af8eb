"""A file's lines, one at a time, each with the number an editor would show for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from feed_assets.errors import NotNdjson
from feed_assets.source import Source

BOM = b"\xef\xbb\xbf"
JSON_SPACE = b" \t\r\n"


def lines(source: Source, *, max_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, without the white space around them; only `\\n` ends a line.

    A byte order mark before the first is dropped. Never holds more than about `max_bytes`; raises
    NotNdjson at a line that is longer, since what follows in it cannot be trusted to be a row.
    """
    with source.open() as file:
        yield from lines_in(file, max_bytes=max_bytes)


def lines_in(file: BinaryIO, *, max_bytes: int, marked: bool = True) -> Iterator[tuple[int, bytes]]:
    """The same for what is open; no byte order mark is dropped of what is not `marked`."""
    number = 0
    while raw := file.readline(max_bytes + 2):  # room for the line's own end
        number += 1
        if len(raw.rstrip(b"\r\n")) > max_bytes:
            raise NotNdjson(
                f"line {number} is longer than {max_bytes:,} bytes. A feed has one JSON object "
                f"per line: end each with a line feed, or raise max_line_bytes"
            )
        line = (raw.removeprefix(BOM) if marked and number == 1 else raw).strip(JSON_SPACE)
        if line:
            yield number, line
