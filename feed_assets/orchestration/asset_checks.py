"""The asset checks of a feed, per day or for the snapshot."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from feed_assets.config.feed import Feed
from feed_assets.orchestration.dagster_internals import (
    AssetCheckEvaluationTargetMaterializationData,
    AssetCheckExecutionRecordStatus,
    PartitionKeyFilter,
    replace,
)

if TYPE_CHECKING:
    from feed_assets.importing.checks import CheckResult

DONE = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}


def check_specs(
    feed: Feed, partitions: dg.PartitionsDefinition | None
) -> Sequence[dg.AssetCheckSpec]:
    """Return the specs of the checks that an import of this feed runs."""
    named = ", ".join(feed.key)
    descriptions = {"rows": "Every row of the feed is stored, and no line was bad."}
    if feed.key:
        descriptions["key"] = f"Each row has its own {named}."
    if feed.updated_at and feed.partition_by_date:
        zone = feed.partition_by_date.timezone
        descriptions["updated_at"] = f"The {feed.updated_at} of each row is on its day in {zone}."
    if feed.columns:
        descriptions["columns"] = "The feed has each column that columns names."
    descriptions["schema"] = "No column is new, removed, or of a different type than before."
    if feed.partition_by_date:
        descriptions["schema"] += f" In BigQuery, {feed.destination.name}_* has all of them."
    with warnings.catch_warnings():  # checks by partition are a preview in Dagster 1.13
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [
            dg.AssetCheckSpec(
                name, asset=feed.name, description=description, partitions_def=partitions
            )
            for name, description in descriptions.items()
        ]


def evaluations(
    asset: dg.AssetKey, day: str | None, checked: Sequence[CheckResult]
) -> Sequence[dg.AssetCheckEvaluation]:
    """Build Dagster's results of a day's checks. Only errors alert people."""
    return [
        dg.AssetCheckEvaluation(
            asset,
            each.name,
            each.passed,
            metadata={
                **each.numbers,
                **({"for example": dg.MetadataValue.json(each.samples)} if each.samples else {}),
            },
            severity=dg.AssetCheckSeverity.ERROR
            if each.passed or each.is_error
            else dg.AssetCheckSeverity.WARN,
            description=each.summary,
            partition=day,
        )
        for each in checked
    ]


def with_target(
    check: dg.AssetCheckEvaluation, record: dg.EventLogRecord
) -> dg.AssetCheckEvaluation:
    """Tie a check to a materialization, given by its event log record."""
    target = AssetCheckEvaluationTargetMaterializationData(
        storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
    )
    return replace(check, target_materialization_data=target)


def last_evaluations(
    context: dg.AssetExecutionContext, specs: Sequence[dg.AssetCheckSpec], key: str | None = None
) -> Sequence[dg.AssetCheckEvaluation]:
    """Return the evaluations of the last import of a snapshot or day, which hold for its table."""
    found = [
        record.evaluation
        for spec in specs
        for record in context.instance.event_log_storage.get_asset_check_execution_history(
            spec.key,
            limit=1,
            status=DONE,
            partition_filter=PartitionKeyFilter(key=key) if key else None,
        )
    ]
    return [each for each in found if each]
