"""Check that a block has one JSON object per line, before Arrow parses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feed_assets.ndjson.buffers import Numbers, flags, indexes, places_of
from feed_assets.ndjson.input.lines import BOM, JSON_SPACE
from feed_assets.ndjson.strict_json import InvalidLine, Row, nested_too_deep

# Bytes. A shorter line cannot be too deep for Arrow, which takes 80 ms for a thousand levels and
# crashes at a hundred thousand. Nesting too deep for the feed shows in the types.
_LONGEST_SHALLOW = 1_000
_MOST_SPACES = 32  # before or after a line, as in an indented JSON document
_IS_SPACE = np.zeros(256, np.bool_)
_IS_SPACE[list(JSON_SPACE)] = True
_MOST_PARSED = 2_000  # rows of a block that can be parsed one by one at little cost


class FallBackToRows(Exception):
    """Arrow might read the block differently: the row-wise reader must read it."""


class Rows:
    """Rows of a block with one object per line, whatever its white space."""

    def __init__(
        self,
        data: bytes,
        *,
        first_of_file: bool,
        max_line_bytes: int,
        parse: Callable[[bytes], tuple[str, Row]],
    ) -> None:
        """Raise FallBackToRows for any other block."""
        self.count_of_lines, self.numbers = 0, np.arange(0)
        """Number of lines, blank ones included, and the line index of each row, from 0."""
        body = data.removeprefix(BOM) if first_of_file else data
        starts, ends = bounds_of_lines(body)
        self.count_of_lines = len(starts)
        if len(data) - len(body) + int((ends - starts).max(initial=0)) > max_line_bytes:
            raise FallBackToRows("a line may be too long")
        self.numbers = np.arange(len(starts))
        if not _are_braced(body, starts, ends):
            starts, ends = _without_space(body, starts, ends)
        if not _are_braced(body, starts, ends):
            body, self.numbers = _strip_lines(body, starts, ends)
            starts, ends = bounds_of_lines(body)
            if not _are_braced(body, starts, ends):
                raise FallBackToRows("a line is not an object")
        self.data, self._starts, self._ends = body, starts, ends
        if b"\0" in body:
            raise FallBackToRows("there is a NUL, which may end it all for Arrow")
        self._check_depth()
        self._check_utf8()
        self._parse = parse
        self._parsed: dict[int, Row] = {}
        self._texts: pa.Array | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def row(self, index: int) -> Row:
        """Parse a row as the row-wise reader does."""
        if index not in self._parsed:
            if len(self._parsed) >= _MOST_PARSED:
                raise FallBackToRows("too many rows would have to be looked at")
            try:
                line = self.data[self._starts[index] : self._ends[index]]
                self._parsed[index] = self._parse(line)[1]
            except InvalidLine as invalid:
                raise FallBackToRows("a line is bad") from invalid
        return self._parsed[index]

    def matching(self, pattern: str, within: Numbers) -> Numbers:
        """Return those of the rows `within` whose text matches the pattern, in order."""
        if self._texts is None:
            offsets = np.append(self._starts, len(self.data)).astype(np.int32)
            buffers: list[Any] = [None, pa.py_buffer(offsets), pa.py_buffer(self.data)]
            self._texts = pa.Array.from_buffers(pa.string(), len(self), buffers)
        texts = self._texts
        if len(within) != len(texts):
            texts = texts.take(indexes(within))
        found = pc.match_substring_regex(texts, pattern)
        return within[flags(found)]

    def _check_depth(self) -> None:
        for index in np.flatnonzero(self._ends - self._starts > _LONGEST_SHALLOW):
            line = self.data[self._starts[index] : self._ends[index]]
            if nested_too_deep(line.decode(errors="replace")):
                raise FallBackToRows("a line is nested too deep")

    def _check_utf8(self) -> None:
        if self.data.isascii():
            return
        offsets = pa.py_buffer(np.array([0, len(self.data)], np.int64))
        buffers: list[Any] = [None, offsets, pa.py_buffer(self.data)]
        try:
            pa.Array.from_buffers(pa.large_string(), 1, buffers).validate(full=True)
        except pa.ArrowInvalid:
            raise FallBackToRows("the block is not UTF-8") from None


def bounds_of_lines(data: bytes) -> tuple[Numbers, Numbers]:
    """Return start and end of each line, without its line feed."""
    ends = places_of("\n", data)
    starts = np.concatenate(([0], ends + 1))
    if starts[-1] == len(data):
        return starts[:-1], ends
    return starts, np.append(ends, len(data))


def _are_braced(data: bytes, starts: Numbers, ends: Numbers) -> bool:
    """Return whether all lines start and end with a brace, so that no object spans lines.

    Within an object, a comma separates a closing brace from the next opening one.
    """
    values = np.frombuffer(data, np.uint8)
    return bool(
        (starts < ends).all()
        and (values[starts] == ord("{")).all()
        and (values[ends - 1] == ord("}")).all()
    )


def _without_space(data: bytes, starts: Numbers, ends: Numbers) -> tuple[Numbers, Numbers]:
    """Return the bounds without a few spaces around each line, which Arrow reads past."""
    values = np.frombuffer(data, np.uint8)
    for _ in range(_MOST_SPACES):
        leading = (starts < ends) & _IS_SPACE[values[np.minimum(starts, len(data) - 1)]]
        starts = starts + leading
        trailing = (starts < ends) & _IS_SPACE[values[ends - 1]]
        ends = ends - trailing
        if not (leading.any() or trailing.any()):
            break
    return starts, ends


def _strip_lines(data: bytes, starts: Numbers, ends: Numbers) -> tuple[bytes, Numbers]:
    """Remove blank lines and the space around others; return the text and their line indexes."""
    numbers = np.flatnonzero(starts < ends)
    bounds = zip(starts[numbers].tolist(), ends[numbers].tolist(), strict=True)
    found = [data[start:end].strip(JSON_SPACE) for start, end in bounds]
    not_blank = np.fromiter(map(bool, found), np.bool_, len(found))
    return b"\n".join(filter(None, found)), numbers[not_blank]
