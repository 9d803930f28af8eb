"""The code location of the example CRM's feeds, separate from the user's."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import dagster as dg

from feed_assets.definitions import in_own_process


@dg.definitions
def defs() -> dg.Definitions:
    """Build the code location of the feeds in this package's `defs`."""
    return in_own_process(
        dg.ComponentTree(
            defs_module=import_module("feed_assets.demo.defs"), project_root=Path(__file__).parent
        )
    )
