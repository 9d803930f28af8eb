"""Why a feed is refused as a whole, told by reading it from its first line."""

from __future__ import annotations

from typing import NoReturn

from feed_assets.byte_source import ByteSource
from feed_assets.errors import BadLine, BadLines
from feed_assets.ndjson.inference.declared_types import DeclaredTypes
from feed_assets.ndjson.input.lines import lines
from feed_assets.ndjson.options import Options
from feed_assets.ndjson.rowwise.observe import Observer
from feed_assets.ndjson.strict_json import InvalidLine, parse


def refuse(source: ByteSource, types: DeclaredTypes, options: Options) -> NoReturn:
    """Raises NotNdjson, BadLines or ContentError, whichever the lines give reason for first."""
    observer = Observer(types)
    first, bad = None, 0
    for number, line in lines(source, max_bytes=options.max_line_bytes):
        try:
            _, row = parse(line, empty_as_null=options.empty_as_null)
            types.check(row)
        except InvalidLine as invalid:
            if first is None:
                first = BadLine(number, str(invalid), line.decode(errors="backslashreplace"))
            bad += 1
            if bad > options.max_bad_lines:
                raise BadLines(first, allowed=options.max_bad_lines) from None
            continue
        observer.row(row, number)
    raise AssertionError("nothing is wrong with the feed")
