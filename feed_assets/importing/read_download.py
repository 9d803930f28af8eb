"""A feed's body as it is delivered, read as NDJSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

import pyarrow as pa

from feed_assets import ndjson
from feed_assets.byte_source import BodyReplaced
from feed_assets.download import Download
from feed_assets.errors import ContentError


def read_delivered(
    download: Download,
    options: ndjson.Options,
    *,
    known: Iterable[pa.Field] = (),
    told: Callable[[int, int], None] = lambda rows, size: None,
) -> ndjson.Reading:
    """Raises DownloadError besides what `ndjson.read` raises, whose other arguments these are.

    It is read anew where the server turns out to have another body by now.
    """
    while True:
        try:
            return _read_whole(download, options, known, told)
        except BodyReplaced:
            continue


def _read_whole(
    download: Download,
    options: ndjson.Options,
    known: Iterable[pa.Field],
    told: Callable[[int, int], None],
) -> ndjson.Reading:
    """Where a checksum at the end may tell that the body was garbled on its way, what is wrong with
    its content is not believed before.
    """
    source = download.source
    try:
        return ndjson.read(source, options=options, known=known, told=told)
    except ContentError:
        if download.unverified:
            source.wait_for(sys.maxsize)
        raise
