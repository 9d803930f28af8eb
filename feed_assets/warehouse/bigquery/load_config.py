"""Configure load jobs: file format, schema, labels and table properties."""

from __future__ import annotations

import re
from typing import IO, Any

import pyarrow as pa
from google.cloud import bigquery

from feed_assets.disk import disk_failed
from feed_assets.schema.columns import Columns
from feed_assets.schema.table import Table
from feed_assets.warehouse.base import Origin
from feed_assets.warehouse.bigquery import ndjson_file, parquet_file
from feed_assets.warehouse.bigquery.client import OURS, fields_of
from feed_assets.warehouse.bigquery.load_job import CALL_SECONDS, JOB_SECONDS
from feed_assets.warehouse.bigquery.overwrite import Overwrite

DECIMALS = [bigquery.DecimalTargetType.NUMERIC, bigquery.DecimalTargetType.BIGNUMERIC]
LABEL_LENGTH = 63
_NO_LABEL = re.compile(r"[^a-z0-9_-]")


def write(rows: pa.RecordBatchReader, columns: Columns, file: IO[bytes], *, of: Table) -> str:
    """Write the rows in a format for load jobs, and return that format."""
    try:
        if ndjson_file.is_needed(columns):
            ndjson_file.write(rows, columns, file)
            return bigquery.SourceFormat.NEWLINE_DELIMITED_JSON
        parquet_file.write(rows, file)
        return bigquery.SourceFormat.PARQUET
    except OSError as failure:
        raise disk_failed(f"the rows for {of} could not be written to disk", failure) from None


def load_config(
    form: str, overwrite: Overwrite, origin: Origin, *, new: bool
) -> bigquery.LoadJobConfig:
    """Configure the load of rows in that format.

    The job that creates a table sets its description and labels, so it is never without them. An
    existing table keeps its own: a job that would change them fails.
    https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#DestinationTableProperties
    """
    config = bigquery.LoadJobConfig(
        source_format=form,
        write_disposition=overwrite.disposition,
        schema=fields_of(overwrite.schema),
        labels=_labels(origin),
    )
    if overwrite.disposition == bigquery.WriteDisposition.WRITE_TRUNCATE_DATA:
        config.schema_update_options = [
            bigquery.SchemaUpdateOption.ALLOW_FIELD_ADDITION,
            bigquery.SchemaUpdateOption.ALLOW_FIELD_RELAXATION,
        ]
    if form == bigquery.SourceFormat.PARQUET:
        options = bigquery.ParquetOptions()  # type: ignore[no-untyped-call]  # nor has this
        options.enable_list_inference = True
        config.parquet_options = options
        # BIGNUMERIC is none of the targets else
        # https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad.FIELDS.decimal_target_types
        config.decimal_target_types = DECIMALS
        # else a project's own default may rename a flexible name, whose column is then NULL:
        # https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#columnnamecharactermap
        config.column_name_character_map = "STRICT"
    config.job_timeout_ms = round((JOB_SECONDS + CALL_SECONDS) * 1000)  # if we are killed
    if new:
        properties: dict[str, Any] = {"labels": _labels(origin)}
        if origin.description:
            properties["description"] = origin.description
        config._properties["load"]["destinationTableProperties"] = properties
    return config


def _labels(origin: Origin) -> dict[str, str]:
    """Return our labels and those of the origin, in characters that labels may have.

    https://cloud.google.com/bigquery/docs/labels-intro#requirements
    """
    found = {
        key: _NO_LABEL.sub("-", value.lower())[:LABEL_LENGTH]
        for key, value in origin.labels.items()
    }
    return {**found, **OURS}
