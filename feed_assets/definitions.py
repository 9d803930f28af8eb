"""The code location of this project: the feeds in defs/ and the warehouse of the environment."""

from __future__ import annotations

import gc
import warnings
from importlib import import_module
from pathlib import Path

import dagster as dg

from feed_assets.arrow_memory import prefer_jemalloc
from feed_assets.orchestration.code_location import code_location


@dg.definitions
def defs() -> dg.Definitions:
    """Build the code location of the feeds in this package's `defs`."""
    # Not for_project: it needs a pyproject.toml, which an installed wheel lacks
    return in_own_process(
        dg.ComponentTree(
            defs_module=import_module("feed_assets.defs"),
            project_root=Path(__file__).parents[1],
        )
    )


def in_own_process(tree: dg.ComponentTree) -> dg.Definitions:
    """Build a code location in a process that has nothing else to do, with settings for it."""
    prefer_jemalloc()
    warnings.filterwarnings("ignore", category=dg.BetaWarning)  # Dagster warns about its own use
    gc.disable()  # definitions stay; collecting garbage in them takes a quarter of the time
    try:
        definitions = code_location(tree)
    finally:
        gc.freeze()
        gc.enable()
    executor = dg.in_process_executor  # an import is one step; another process costs seconds
    return dg.Definitions.merge(definitions, dg.Definitions(executor=executor))
