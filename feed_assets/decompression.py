"""Decompress gzip, zstd and bzip2 piece by piece, and detect their end marks."""

from __future__ import annotations

import bz2
import sys
from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

from isal import isal_zlib

PIECE = 1 << 20  # bytes decoded at a time; bounds the memory that a compressed bomb can use
HEAD = 4
"""First bytes of a body that show its compression."""
_GZIP = (b"\x1f\x8b",)
_ZSTD = (b"\x28\xb5\x2f\xfd", *(bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60)))
"""A frame with data, and the skippable ones that parallel compressors write (RFC 8878, 3.1)."""
_BZIP2 = tuple(b"BZh%d" % level for level in range(1, 10))
_MAGIC = {"gzip": _GZIP, "zstd": _ZSTD, "bzip2": _BZIP2}
_GZIP_WITH_HEADER = 31  # zlib's code for gzip with any window size
_GZIP_ERROR = cast("type[Exception]", isal_zlib.error)  # its stub has it as an instance


class CorruptError(Exception):
    """Bytes that are not of the compression that the body began with."""


class TrailingBytesError(Exception):
    """Bytes after a compressed stream that are neither zeros nor another stream."""


class Decoder(Protocol):
    """Decoder of one body. `compression` is its name, or "" for none."""

    compression: str

    @property
    def ended(self) -> bool:
        """True at the end of a stream, so the body may be complete."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield the decoded data. Raises CorruptError and TrailingBytesError."""


def compression_of(head: bytes) -> str:
    """Return gzip, zstd or bzip2 if a stream of it begins like this, else an empty text."""
    return next((name for name, magic in _MAGIC.items() if head.startswith(magic)), "")


def decoder_for(head: bytes) -> Decoder:
    """Choose the decoder by the body's first bytes."""
    match compression_of(head):
        case "gzip":
            return Gzip()
        case "zstd":
            zstd = zstd_module()
            return Streams("zstd", zstd.ZstdDecompressor, zstd.ZstdError)
        case "bzip2":
            return Streams("bzip2", bz2.BZ2Decompressor, OSError)
    return Plain()


def zstd_module() -> Any:
    """Import Zstandard, which came into the standard library with Python 3.14."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


class Plain:
    """An uncompressed body, which has no end mark of its own."""

    compression = ""
    ended = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield the data unchanged."""
        yield data


class Gzip:
    """A sequence of gzip members, each with its checksum (RFC 1952)."""

    compression = "gzip"

    def __init__(self) -> None:
        self._member = isal_zlib.decompressobj(wbits=_GZIP_WITH_HEADER)

    @property
    def ended(self) -> bool:
        """True at the end of a member."""
        return self._member.eof

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield the decoded data."""
        while True:
            if self._member.eof:
                data = _next_stream(data, self.compression)
                if not data:
                    return
                self._member = isal_zlib.decompressobj(wbits=_GZIP_WITH_HEADER)
            try:
                piece = self._member.decompress(data, PIECE)
            except _GZIP_ERROR as failure:
                raise CorruptError(failure) from None
            if piece:
                yield piece
            if self._member.eof:
                data = self._member.unused_data
            else:
                data = self._member.unconsumed_tail
                if not data and len(piece) < PIECE:  # a full piece may have more behind it
                    return


class Streams:
    """A sequence of streams, each decoded by an object with the interface of BZ2Decompressor."""

    def __init__(self, compression: str, new: Callable[[], Any], error: type[Exception]) -> None:
        """`error` is what the object raises for corrupt data."""
        self.compression, self._new, self._error = compression, new, error
        self._stream = new()

    @property
    def ended(self) -> bool:
        """True at the end of a stream."""
        return bool(self._stream.eof)

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield the decoded data."""
        while True:
            if self._stream.eof:
                data = _next_stream(data, self.compression)
                if not data:
                    return
                self._stream = self._new()
            try:
                piece = self._stream.decompress(data, PIECE)
            except self._error as failure:
                raise CorruptError(failure) from None
            if piece:
                yield piece
            if self._stream.eof:
                data = self._stream.unused_data
            elif self._stream.needs_input:
                return
            else:
                data = b""


def _next_stream(data: bytes, compression: str) -> bytes:
    """Check that another stream follows, after zeros, which some servers pad the end with."""
    data = data.lstrip(b"\0")
    if not any(data.startswith(magic[: len(data)]) for magic in _MAGIC[compression]):
        raise TrailingBytesError(data[:20])
    return data
