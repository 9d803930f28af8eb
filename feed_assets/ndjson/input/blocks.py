"""A file in blocks of whole lines, and a block in two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from feed_assets.byte_source import ByteSource

_END = b"\n"
_GLANCE = 16 << 10  # bytes looked at for the end of a line


@dataclass(frozen=True)
class Extent:
    """Where in a file some of its lines are."""

    start: int
    size: int

    def read(self, source: ByteSource) -> Block:
        """The lines that are there."""
        return Block(source.read(self.start, self.size), self.start)


@dataclass(frozen=True)
class Block:
    """Lines of a file, as they are; `start` is where in the file the first begins."""

    data: bytes
    start: int

    @property
    def extent(self) -> Extent:
        """Where they are."""
        return Extent(self.start, len(self.data))

    def halves(self) -> tuple[Block, Block] | None:
        """Both with whole lines, about equally long; None for a single line."""
        middle = len(self.data) // 2
        cut = self.data.rfind(_END, 0, middle) + 1 or self.data.find(_END, middle) + 1
        if cut in (0, len(self.data)):
            return None
        return Block(self.data[:cut], self.start), Block(self.data[cut:], self.start + cut)


def block_extents(
    source: ByteSource, *, size: int, first: int, max_line_bytes: int
) -> Iterator[Extent]:
    """Lines that are together of about that size, or a single one that is larger.

    Those of the `first` size tell what to expect of the others. A line beyond `max_line_bytes` may
    be cut off, but not before it is seen to be one.
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
