"""Dagster instances that read Dagster's migrations once in a process, and create few tables.

Dagster reads them anew for each database, which takes most of the time to make one; an instance in
a folder makes a database for each run.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
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


def _migrations_once() -> AbstractContextManager[Any]:
    return patch.object(
        ScriptDirectory,
        "from_config",
        lambda config: _migrations(config.get_main_option("script_location")),
    )


@contextmanager
def ephemeral_instance(**settings: Any) -> Iterator[dg.DagsterInstance]:
    """Open a new instance in memory, with settings of dagster.yaml."""
    with (
        _migrations_once(),
        dg.DagsterInstance.ephemeral(settings=settings or None) as instance,
    ):
        yield instance


@cache
def _empty_home() -> TemporaryDirectory[str]:
    """The folder of an instance without runs, whose databases are copied."""
    folder = TemporaryDirectory(prefix="feed_assets_tests-")
    with dg.DagsterInstance.from_config(folder.name) as instance:
        assert not instance.get_runs()
    return folder


@contextmanager
def instance_of(home: Path) -> Iterator[dg.DagsterInstance]:
    """Open the instance of a folder, by its dagster.yaml."""
    if not (home / "history").exists():
        shutil.copytree(_empty_home().name, home, dirs_exist_ok=True)
    with _migrations_once(), dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance
