"""Make text from a feed safe to print: no control sequence reaches the terminal."""

from __future__ import annotations

import unicodedata

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def escape(text: str, most: int | None = None) -> str:
    """Escape invisible characters; shorten the text to `most` characters."""
    if most is not None and len(text) > most:
        text = f"{text[: most - 1]}…"
    if text.isprintable():
        return text
    return "".join(
        repr(each)[1:-1] if unicodedata.category(each) in _UNSEEN else each for each in text
    )


def percentage(part: int, whole: int) -> str:
    """Format a percentage; 100 % only if exact, and "" for none."""
    if not part or not whole:
        return ""
    if part == whole:
        return "100 %"
    percent = round(100 * part / whole)
    return "<1 %" if percent < 1 else ">99 %" if percent > 99 else f"{percent} %"


def count_of(number: int, things: str) -> str:
    """Format a count with its noun: 1 row, 1,000 rows."""
    return f"{number:,} {things.removesuffix('s') if number == 1 else things}"
