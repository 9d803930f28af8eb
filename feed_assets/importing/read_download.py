"""Read a download as NDJSON while it arrives."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

import pyarrow as pa

from feed_assets import ndjson
from feed_assets.byte_source import BodyReplaced
from feed_assets.download import Download
from feed_assets.errors import ContentError


def read_download(
    download: Download,
    options: ndjson.Options,
    *,
    known: Iterable[pa.Field] = (),
    on_progress: Callable[[int, int], None] = lambda rows, size: None,
) -> ndjson.Reading:
    """Read the body, and read it again if the server replaces it meanwhile.

    Arguments and errors are those of `ndjson.read`; DownloadError in addition.
    """
    while True:
        try:
            return _read_once(download, options, known, on_progress)
        except BodyReplaced:
            continue


def _read_once(
    download: Download,
    options: ndjson.Options,
    known: Iterable[pa.Field],
    on_progress: Callable[[int, int], None],
) -> ndjson.Reading:
    """Read the body; of an unverified one, wait for its checksum before a ContentError.

    Corrupt bytes are then a DownloadError, and the content is not blamed.
    """
    source = download.source
    try:
        return ndjson.read(source, options=options, known=known, on_progress=on_progress)
    except ContentError:
        if download.unverified:
            source.wait_for(sys.maxsize)
        raise
