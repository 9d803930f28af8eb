"""How a body is decoded while it arrives, and whether its own end was seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from isal import isal_zlib

PIECE = 1 << 20  # bytes decoded at a time, however small a bomb they come from
GZIP = b"\x1f\x8b"
_WITH_HEADER = 31  # zlib's word for gzip, whatever its window

CorruptError = cast("type[Exception]", isal_zlib.error)  # its stub has it as an instance


class TrailingBytesError(Exception):
    """Bytes after the end of a gzip stream that are neither zeros nor a further member."""


class Plain:
    """A body as it stands, which does not tell where it ends."""

    ended = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        """The next part of it."""
        yield data


class Gzip:
    """One gzip member after the other, each with its checksum (RFC 1952)."""

    def __init__(self) -> None:
        self._member = isal_zlib.decompressobj(wbits=_WITH_HEADER)

    @property
    def ended(self) -> bool:
        """Whether what was taken may be all: nothing of a member is missing."""
        return self._member.eof

    def decode(self, data: bytes) -> Iterator[bytes]:
        """The next part, decoded. Raises CorruptError and TrailingBytesError."""
        while True:
            if self._member.eof:
                data = data.lstrip(b"\0")  # some pad the end with zeros
                if not data:
                    return
                if not data.startswith(GZIP[: len(data)]):
                    raise TrailingBytesError(data[:20])
                self._member = isal_zlib.decompressobj(wbits=_WITH_HEADER)
            piece = self._member.decompress(data, PIECE)
            if piece:
                yield piece
            if self._member.eof:
                data = self._member.unused_data
            else:
                data = self._member.unconsumed_tail
                if not data and len(piece) < PIECE:  # else it may hold back some
                    return
