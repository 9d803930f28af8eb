"""Keep a warehouse open across consecutive small imports, for a few seconds at most."""

from __future__ import annotations

import time
from typing import Self

from feed_assets.warehouse.base import Warehouse

LEASE_SECONDS = 3.0
"""Then other processes get a chance: opening a DuckDB file costs as much as a small day."""


class WarehouseLease:
    """Keep a warehouse open over several imports. Leave it when there are no more."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._since: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.release()

    def renew(self) -> None:
        """Open the warehouse if it is not open; close it for one import after LEASE_SECONDS."""
        if self._since is None:
            self._warehouse.__enter__()
            self._since = time.monotonic()
        elif time.monotonic() - self._since > LEASE_SECONDS:
            self.release()

    def release(self) -> None:
        """Close the warehouse if it is open."""
        if self._since is not None:
            self._since = None
            self._warehouse.__exit__(None, None, None)
