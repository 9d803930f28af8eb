"""Turn the elements of a JSON array into lines, chunk by chunk, as fast as the lines are read.

Only brackets, quotes and the commas between elements matter here; the reader of the lines checks
each element. Within an element a line feed is white space, so it becomes a space. In a string it is
an error, so it becomes a carriage return, which is the same error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feed_assets.errors import NotJson

_QUOTE, _BACKSLASH, _COMMA, _LINE_FEED, _RETURN, _SPACE = b'"\\,\n\r '
_CLOSING = {b"[": ord("]"), b"{": ord("}")}
_IS_SPACE = np.zeros(256, bool)
_IS_SPACE[[_SPACE, 9, _LINE_FEED, _RETURN]] = True
_EVERY_BYTE = np.uint64(0x0101010101010101)

Positions = NDArray[np.intp]


@dataclass(frozen=True)
class _Chunk:
    """Bytes (padded with zeros), which of them are in strings, and the brackets outside strings."""

    chars: NDArray[np.uint8]
    in_string: NDArray[np.bool_]
    brackets: Positions
    depths: Positions
    """Depth after each bracket; 1 is inside the container that is scanned."""


class _Brackets:
    """Finds the brackets of a document that comes in chunks, after an opening bracket."""

    def __init__(self) -> None:
        self.depth = 1
        self._in_string, self._escaped = False, False

    def scan(self, data: bytes) -> _Chunk:
        """Scan the next chunk."""
        chars = np.zeros(-(-len(data) // 8) * 8, np.uint8)
        chars[: len(data)] = np.frombuffer(data, np.uint8)
        quotes = chars == _QUOTE
        if self._escaped or b"\\" in data:
            quotes[self._escaped_positions(chars[: len(data)])] = False
        in_string = _parity(quotes, self._in_string)
        self._in_string = bool(in_string[-1])
        found = (chars & 0xD9) == 0x59  # the four brackets, and Y, y, _ and DEL
        found &= ~in_string
        brackets = np.flatnonzero(found)
        kinds = chars[brackets] | 0x20  # [ becomes {, and ] becomes }
        real = (kinds == ord("{")) | (kinds == ord("}"))
        brackets, kinds = brackets[real], kinds[real]
        depths = self.depth + np.cumsum(np.where(kinds == ord("{"), 1, -1))
        if len(depths):
            self.depth = int(depths[-1])
        return _Chunk(chars, in_string, brackets, depths)

    def _escaped_positions(self, chars: NDArray[np.uint8]) -> Positions:
        """Return the positions of characters after an odd number of backslashes."""
        at = np.flatnonzero(chars == _BACKSLASH)
        first = np.flatnonzero(np.diff(at, prepend=-2) != 1)  # of each run
        starts = at[first]
        lasts = at[np.append(first[1:], len(at)) - 1] if len(at) else at
        lengths = lasts - starts + 1
        positions = lasts + 1
        if self._escaped:
            if len(starts) and starts[0] == 0:
                lengths[0] -= 1
            else:
                positions = np.append(positions, 0)
                lengths = np.append(lengths, 1)
        positions = positions[lengths % 2 == 1]
        self._escaped = bool((positions == len(chars)).any())
        within: Positions = positions[positions < len(chars)]
        return within


def _parity(quotes: NDArray[np.bool_], start: bool) -> NDArray[np.bool_]:
    """Return for each byte whether the number of quotes up to it is odd, eight at a time."""
    words = quotes.view(np.uint64).copy()
    for shift in (8, 16, 32):
        words ^= words << np.uint64(shift)
    ends = (words >> np.uint64(56)).astype(np.uint8)
    before = np.empty_like(ends)
    before[0] = start
    np.bitwise_xor.accumulate(ends[:-1], out=before[1:])
    before[1:] ^= np.uint8(start)
    words ^= before.astype(np.uint64) * _EVERY_BYTE
    return words.view(np.bool_)


class Skip:
    """Reads to the end of an array or an object, of which nothing is needed."""

    def __init__(self, opening: bytes) -> None:
        self._closing, self._brackets = _CLOSING[opening], _Brackets()
        self.ended = False

    def read(self, data: bytes) -> int:
        """Read the next chunk; return how many of its bytes belong to the container."""
        chunk = self._brackets.scan(data)
        end = np.flatnonzero(chunk.depths == 0)[:1]
        if not len(end):
            return len(data)
        self.ended, at = True, int(chunk.brackets[end[0]])
        _check_closing(chunk, at, self._closing)
        return at + 1


class ElementLines:
    """Writes the elements of an array as lines; `elements` are those complete so far."""

    def __init__(self) -> None:
        self._brackets = _Brackets()
        self.elements, self.ended = 0, False
        self._begun = False

    def read(self, data: bytes) -> tuple[int, bytes]:
        """Read the next chunk. Return how many of its bytes belong to the array, and the lines.

        Raises NotJson for a missing element or bracket.
        """
        in_array = self._brackets.depth == 1
        chunk = self._brackets.scan(data)
        chars, brackets, depths = chunk.chars, chunk.brackets, chunk.depths
        size = len(data)
        if len(end := np.flatnonzero(depths == 0)[:1]):
            self.ended, size = True, int(brackets[end[0]])
            _check_closing(chunk, size, _CLOSING[b"["])
            brackets, depths = brackets[: end[0]], depths[: end[0]]
        between = _between_elements(brackets, depths, size, in_array=in_array)
        commas = self._commas(chunk, brackets, between)
        if b"\n" in data:
            line_feeds = np.flatnonzero(chars[:size] == _LINE_FEED)
            chars[line_feeds] = np.where(chunk.in_string[line_feeds], _RETURN, _SPACE)
        chars[commas] = _LINE_FEED
        if not self.ended:
            return size, chars[:size].tobytes()
        if self._begun:
            self.elements += 1
        elif self.elements:
            raise NotJson(f"the feed's array has a comma after its last element, {self.elements}")
        return size + 1, chars[:size].tobytes() + b"\n" * self._begun

    def _commas(self, chunk: _Chunk, brackets: Positions, between: Positions) -> Positions:
        """Return the positions of the commas that end an element; count the elements."""
        chars = chunk.chars[between]
        is_comma = (chars == _COMMA) & ~chunk.in_string[between]
        places = np.flatnonzero(is_comma)
        commas = between[places]
        # whatever is neither white space nor a comma belongs to an element
        parts = np.cumsum(~(_IS_SPACE[chars] | is_comma))
        before = np.searchsorted(brackets, commas) + parts[places]
        total = len(brackets) + (int(parts[-1]) if len(parts) else 0)
        if len(commas):
            missing = np.flatnonzero(np.diff(before, prepend=-1 if self._begun else 0) == 0)
            if len(missing):
                raise NotJson(f"the feed's array has no element {self.elements + missing[0] + 1}")
            self._begun, total = False, total - int(before[-1])
        self._begun = self._begun or total > 0
        self.elements += len(commas)
        return commas


def _between_elements(
    brackets: Positions, depths: Positions, size: int, *, in_array: bool
) -> Positions:
    """Return the positions that are in no array or object inside the array."""
    closing = np.flatnonzero(depths == 1)
    starts, ends = brackets[closing] + 1, np.append(brackets, size)[closing + 1]
    if in_array:
        starts = np.append(0, starts)
        ends = np.append(brackets[0] if len(brackets) else size, ends)
    lengths = ends - starts
    last = np.cumsum(lengths)
    return np.repeat(starts - (last - lengths), lengths) + np.arange(last[-1] if len(last) else 0)


def _check_closing(chunk: _Chunk, at: int, closing: int) -> None:
    if chunk.chars[at] != closing:
        raise NotJson(
            f"the feed is not a JSON document: {chr(chunk.chars[at])} closes what another bracket "
            f"opened"
        )
