"""The components' documentation in the UI."""

from __future__ import annotations

import dagster as dg

from feed_assets.orchestration.alert_sensor import ImportAlerts
from feed_assets.orchestration.component import JsonFeed
from feed_assets.orchestration.dagster_internals import (
    PLUGIN_COMPONENT_TYPES_JSON_METADATA_KEY,
    EnvRegistryKey,
    get_package_entry_snap,
    json_for_all_components,
)


def documentation() -> dg.Definitions:
    """Document our own components only.

    Dagster documents all installed components and imports them for that (dagster_gcp: 1.7 s).
    """
    snaps = [
        get_package_entry_snap(EnvRegistryKey("feed_assets", component.__name__), component)
        for component in (JsonFeed, ImportAlerts)
    ]
    documents = dg.MetadataValue.json(json_for_all_components(snaps))
    return dg.Definitions(metadata={PLUGIN_COMPONENT_TYPES_JSON_METADATA_KEY: documents})
