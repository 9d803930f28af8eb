"""Programs for support/warm.py: count the calls that loading all feeds takes, list the assets."""

from __future__ import annotations

import cProfile
import pstats

from dagster._core.remote_representation.external_data import RepositorySnap
from dagster_shared.serdes import serialize_value

from feed_assets.definitions import defs


def print_calls() -> None:
    """Print how many Python functions are called to load it and describe it to Dagster."""
    profile = cProfile.Profile()
    profile.enable()
    repository = defs().get_repository_def()
    serialize_value(RepositorySnap.from_def(repository, defer_snapshots=True))
    profile.disable()
    print(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


def print_pools() -> None:
    """Print each asset with its group and its pools."""
    graph = defs().get_repository_def().asset_graph
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        print(key.to_user_string(), node.group_name, *sorted(node.pools or ()))
