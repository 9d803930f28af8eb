"""How long a warehouse that one process at a time can open is held for many small imports."""

from __future__ import annotations

import time
from typing import Self

from feed_assets.warehouse.base import Warehouse

TURN = 3.0
"""Seconds, after which others get theirs: opening a DuckDB file costs as much as a small day."""


class Turns:
    """Holds a warehouse over several imports. To be left when nothing is imported any more."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._since: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.end()

    def go_on(self) -> None:
        """Holds it from now on, or still; but once the turn is over, lets go for one import."""
        if self._since is None:
            self._warehouse.__enter__()
            self._since = time.monotonic()
        elif time.monotonic() - self._since > TURN:
            self.end()

    def end(self) -> None:
        """Lets go, if it is held."""
        if self._since is not None:
            self._since = None
            self._warehouse.__exit__(None, None, None)
