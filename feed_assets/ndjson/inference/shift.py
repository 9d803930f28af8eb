"""What a part of a feed has seen, in the numbers of the feed's lines."""

from __future__ import annotations

from feed_assets.ndjson.inference.observed import Seen


def shifted(seen: Seen, lines: int) -> Seen:
    """The same with that many lines before it."""
    if not lines:
        return seen
    return Seen(
        {kind: line + lines for kind, line in seen.kinds.items()},
        {key: shifted(child, lines) for key, child in seen.fields.items()},
        None if seen.elements is None else shifted(seen.elements, lines),
        None if seen.first is None else (seen.first[0] + lines, *seen.first[1:]),
    )


def count_of_columns(seen: Seen) -> int:
    """As the observer counts them: every key of every object."""
    inside = sum(1 + count_of_columns(child) for child in seen.fields.values())
    return inside + (count_of_columns(seen.elements) if seen.elements else 0)
