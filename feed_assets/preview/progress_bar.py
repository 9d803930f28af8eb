"""A progress bar on stderr, if stderr is a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class ProgressBar:
    """Context manager that shows the bar while a feed is read."""

    def __init__(self) -> None:
        self.log: logging.Handler = logging.NullHandler()
        """Shows warnings, such as repeated requests, above the bar."""
        self._progress: Progress | None = None
        self._task: TaskID
        self._expected: Callable[[], int] = lambda: 0

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._begin()
        return self

    def __exit__(self, *failure: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def expect(self, size: Callable[[], int]) -> None:
        """Set the function that returns the total size in bytes; 0 while unknown."""
        self._expected = size

    def update(self, rows: int, size: int) -> None:
        """Show the number of rows and bytes read so far."""
        if self._progress is not None:
            total = max(self._expected(), size) if self._expected() else None
            self._progress.update(self._task, completed=size, total=total, rows=f"{rows:,} rows")

    def _begin(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TransferSpeedColumn,
        )

        self._progress = Progress(
            BarColumn(bar_width=None),
            TextColumn("{task.fields[rows]}"),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=Console(stderr=True),
            transient=True,
            expand=True,
        )
        self._task = self._progress.add_task("", total=None, rows="waiting")
        self.log = _LogAboveBar(self._progress)
        self._progress.start()


class _LogAboveBar(logging.Handler):
    """Print log lines above the bar."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.WARNING)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        from feed_assets.preview.printable import escape

        self._progress.console.print(escape(record.getMessage()), markup=False, highlight=False)
