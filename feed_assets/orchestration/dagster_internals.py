"""All that feed_assets imports of Dagster's private modules, and why. Checked with Dagster 1.13.

No name here has a public counterpart in that version. Check them when upgrading Dagster.
"""

# ruff: noqa: I001  (grouped by purpose)

# Log a check together with the materialization it belongs to; without, the UI shows it as outdated.
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._record import replace

# Read the last finished evaluation of a check.
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

# Record the days of a run as they are stored, and not once more at its end.
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION

# Read materializations from a run's events.
from dagster._core.events import StepMaterializationData

# Check groups, owners, tags and cron schedules with Dagster's rules when definitions load.
from dagster._core.definitions.utils import VALID_GROUP_NAME_REGEX, is_valid_owner
from dagster._utils.tags import is_valid_strict_tag_value, is_valid_tag_key
from dagster._vendored.croniter.croniter import CroniterBadDateError

# Compute the times of a schedule as Dagster's daemon does.
from dagster._utils.schedules import (
    is_valid_cron_string,
    reverse_cron_string_iterator,
    schedule_execution_time_iterator,
)

# Claim a slot of a pool only where slots belong to runs.
from dagster._core.instance.config import PoolGranularity

# Tell a run launched by the UI or daemon from one of the command line.
from dagster._core.storage.tags import GRPC_INFO_TAG

# Report to Dagster's run monitoring whether the process of a run still exists.
from dagster._core.errors import (
    DagsterUserCodeUnreachableError,
    DagsterUserCodeUnreachableTimeoutError,
)
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

# Name the attribute whose template has no value.
from dagster.components.resolved.errors import ResolutionException

# Document our two components only; Dagster's own way imports every installed component (1.7 s).
from dagster.components.core.load_defs import PLUGIN_COMPONENT_TYPES_JSON_METADATA_KEY
from dagster.components.core.snapshot import get_package_entry_snap
from dagster_shared.serdes.objects import EnvRegistryKey
from dagster_shared.serdes.objects.package_entry import json_for_all_components

__all__ = [
    "GRPC_INFO_TAG",
    "PLUGIN_COMPONENT_TYPES_JSON_METADATA_KEY",
    "SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION",
    "VALID_GROUP_NAME_REGEX",
    "AssetCheckEvaluationTargetMaterializationData",
    "AssetCheckExecutionRecordStatus",
    "CanCancelExecutionRequest",
    "CanCancelExecutionResult",
    "CheckRunHealthResult",
    "CroniterBadDateError",
    "DagsterUserCodeUnreachableError",
    "DagsterUserCodeUnreachableTimeoutError",
    "EnvRegistryKey",
    "PartitionKeyFilter",
    "PoolGranularity",
    "ResolutionException",
    "StepMaterializationData",
    "WorkerStatus",
    "deserialize_value",
    "get_package_entry_snap",
    "is_valid_cron_string",
    "is_valid_owner",
    "is_valid_strict_tag_value",
    "is_valid_tag_key",
    "json_for_all_components",
    "replace",
    "reverse_cron_string_iterator",
    "schedule_execution_time_iterator",
]
