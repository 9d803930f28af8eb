"""Dagster instances in memory, opened in a third of the time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from unittest.mock import patch

import dagster as dg
from alembic.config import Config
from alembic.script import ScriptDirectory

_from_config = ScriptDirectory.from_config


@cache
def _migrations(location: str) -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", location)
    return _from_config(config)


@contextmanager
def ephemeral_instance() -> Iterator[dg.DagsterInstance]:
    """Open a new instance; Dagster's migrations are read for the first one only."""
    with patch.object(
        ScriptDirectory,
        "from_config",
        lambda config: _migrations(config.get_main_option("script_location")),
    ):
        instance = dg.DagsterInstance.ephemeral()
    with instance:
        yield instance
