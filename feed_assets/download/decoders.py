"""Decode a body piece by piece, and detect its own end mark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from isal import isal_zlib

PIECE = 1 << 20  # bytes decoded at a time; bounds the memory that a gzip bomb can use
GZIP = b"\x1f\x8b"
_WITH_HEADER = 31  # zlib's code for gzip with any window size

CorruptError = cast("type[Exception]", isal_zlib.error)  # its stub has it as an instance


class TrailingBytesError(Exception):
    """Bytes after a gzip stream that are neither zeros nor another member."""


class Plain:
    """An uncompressed body, which has no end mark of its own."""

    ended = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield the data unchanged."""
        yield data


class Gzip:
    """A sequence of gzip members, each with its checksum (RFC 1952)."""

    def __init__(self) -> None:
        self._member = isal_zlib.decompressobj(wbits=_WITH_HEADER)

    @property
    def ended(self) -> bool:
        """True at the end of a member, so the body may be complete."""
        return self._member.eof

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield the decoded data. Raises CorruptError and TrailingBytesError."""
        while True:
            if self._member.eof:
                data = data.lstrip(b"\0")  # some servers pad the end with zeros
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
                if not data and len(piece) < PIECE:  # a full piece may have more behind it
                    return
