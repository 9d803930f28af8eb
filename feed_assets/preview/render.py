"""Render a preview as text: summary, columns, and notes."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from feed_assets.errors import full_text
from feed_assets.preview.preview import Preview
from feed_assets.preview.printable import count_of, escape, percentage

_LINES = 5  # bad lines shown
_PIPED = 120  # width if stdout is not a terminal
_EXAMPLE, _QUOTED = 60, 60
_LEAST = 20  # minimum width of examples
_OTHERS = 16  # width of the null column and of the gaps


def render(preview: Preview, width: int | None = None) -> str:
    """Render in the given width; by default the terminal's, with its colors."""
    if width is None and not sys.stdout.isatty():
        width = _PIPED
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(_summary(preview))
        if preview.columns:
            console.print(_columns(preview, console.width))
        notes = Grid.grid(padding=(0, 1))
        for sign, note in _notes(preview):
            notes.add_row(sign, Text(preview.mask(note.plain)))
        if notes.row_count:
            console.print(notes)
            console.print()
    return "\n".join(line.rstrip() for line in captured.get().split("\n"))


def _summary(preview: Preview) -> Text:
    bad = preview.bad_line_count
    parts = [
        count_of(preview.rows, "rows"),
        *([count_of(bad, f"bad {preview.feed.unit}s")] if bad else []),
    ]
    parts += [count_of(len(preview.stats), "columns"), _size(preview.bytes)]
    return Text.assemble((escape(preview.shown), "bold"), f": {', '.join(parts)}")


def _size(size: int) -> str:
    return f"{size:,} bytes" if size < 100_000 else f"{size / 1e6:,.1f} MB"


def _columns(preview: Preview, width: int) -> Grid:
    """Render the columns; where space is short, truncate examples first, then fold names."""
    names = [
        Text(f"{'  ' * each.depth}{escape(preview.mask(each.column.name))}")
        for each in preview.stats
    ]
    types = [str(each.column) for each in preview.stats]
    room = max(width - max(map(len, types)) - _OTHERS, 2 * _LEAST)
    for_names = min(max(len("column"), *(name.cell_len for name in names)), room - _LEAST)
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    grid.add_column("column", width=for_names, overflow="fold")
    grid.add_column("type", no_wrap=True)
    grid.add_column("null", justify="right", no_wrap=True)
    grid.add_column("example", no_wrap=True, style="dim", max_width=room - for_names)
    for name, type_, stats in zip(names, types, preview.stats, strict=True):
        example = Text(escape(preview.mask(stats.example or ""), _EXAMPLE))
        grid.add_row(name, type_, percentage(stats.nulls, stats.values), example)
    return grid


def _notes(preview: Preview) -> Iterator[tuple[Text, Text]]:
    for each in preview.findings:
        yield _note("!", each.text)
    for warning in preview.warnings:
        yield _note("!", warning)
    if preview.untyped:
        yield _note("-", f"no column, because no row has a value: {', '.join(preview.untyped)}")
    if preview.renamed:
        renamed = ", ".join(f"{old} → {new}" for old, new in preview.renamed.items())
        yield _note("-", f"renamed: {renamed}")
    if bad := preview.bad_line_count:
        yield _note("!", f"{count_of(bad, f'bad {preview.feed.unit}s')} make an import fail:")
        for line in preview.bad_lines[:_LINES]:
            quoted = f": {escape(line.text, _QUOTED)}" if line.text else ""
            text = f"{line.unit} {line.line} {full_text(line.reason)}{quoted}"
            yield Text(), Text(escape(text))
        if bad > _LINES:
            yield Text(), Text(f"and {bad - _LINES:,} more; --json lists the first 1,000")


def _note(sign: str, text: str) -> tuple[Text, Text]:
    return Text(sign, "bold yellow" if sign == "!" else ""), Text(escape(text))
