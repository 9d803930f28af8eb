"""Split a file into blocks of whole lines, and a block into halves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from feed_assets.byte_source import ByteSource

_END = b"\n"
_GLANCE = 16 << 10  # bytes to search at a time for the end of a line


@dataclass(frozen=True)
class Extent:
    """Byte range of whole lines in a file."""

    start: int
    size: int

    def read(self, source: ByteSource) -> Block:
        """Read the lines."""
        return Block(source.read(self.start, self.size), self.start)


@dataclass(frozen=True)
class Block:
    """Bytes of whole lines; `start` is their position in the file."""

    data: bytes
    start: int

    @property
    def extent(self) -> Extent:
        """Byte range of the block."""
        return Extent(self.start, len(self.data))

    def halves(self) -> tuple[Block, Block] | None:
        """Return two halves of whole lines, about equally long; None for a single line."""
        middle = len(self.data) // 2
        cut = self.data.rfind(_END, 0, middle) + 1 or self.data.find(_END, middle) + 1
        if cut in (0, len(self.data)):
            return None
        return Block(self.data[:cut], self.start), Block(self.data[cut:], self.start + cut)


def block_extents(
    source: ByteSource, *, size: int, first: int, max_line_bytes: int
) -> Iterator[Extent]:
    """Yield ranges of whole lines of about `size` bytes, or a single longer line.

    The first range has about `first` bytes. A line longer than `max_line_bytes` can be truncated,
    but only beyond that length.
    """
    start = 0
    while True:
        end = start + (size if start else first)
        sure = end + max_line_bytes + len(b"\r\n")
        while end <= sure and (more := source.read(end, _GLANCE)):
            if _END in more:
                end += more.find(_END) + 1
                break
            end += len(more)
        end = min(end, source.wait_for(end))
        if end == start:
            return
        yield Extent(start, end - start)
        start = end
