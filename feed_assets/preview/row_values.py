"""Find values of a column by path, and the line numbers of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from feed_assets.ndjson import Options, read_lines
from feed_assets.preview.open_input import PreviewInput


def arrays_at(rows: pa.Table, path: Sequence[str]) -> Iterator[pa.Array]:
    """Yield the values at a path through records, batch by batch; null in a null record."""
    for batch in rows.select([path[0]]).to_batches():
        array = batch.column(0)
        for name in path[1:]:
            array = array.flatten()[array.type.get_field_index(name)]
        yield array


def line_numbers(wanted: Sequence[int], rows: PreviewInput) -> list[int]:
    """Return the line numbers of rows (ascending); none if not all bad lines are known."""
    reading = rows.reading
    if reading.lines == reading.rows:
        return [row + 1 for row in wanted]
    if reading.bad_line_count > len(reading.bad_lines) or not wanted:
        return []
    bad, found, row = {each.line for each in reading.bad_lines}, list[int](), 0
    for number, _ in read_lines(rows.source, max_bytes=Options.max_line_bytes):
        if number in bad:
            continue
        if row == wanted[len(found)]:
            found.append(number)
            if len(found) == len(wanted):
                break
        row += 1
    return found
