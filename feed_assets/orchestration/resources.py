"""The warehouse that the environment names, as a Dagster resource."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

import dagster as dg

from feed_assets.errors import FeedAssetsError, SettingError
from feed_assets.orchestration.metadata import failure_metadata
from feed_assets.schema.table import Table

if TYPE_CHECKING:
    from feed_assets.warehouse.base import Warehouse
    from feed_assets.warehouse.bigquery.staging_bucket import StagingBucket

VARIABLE = "FEED_ASSETS_WAREHOUSE"
FORMS = "write duckdb:///path/to/file.duckdb or bigquery://PROJECT?location=EU"
BIGQUERY_OPTIONS = ("location", "staging_bucket")
CHECKOUT = Path(__file__).parents[2]


def warehouse_url() -> str:
    """Return FEED_ASSETS_WAREHOUSE; if it is not set, a DuckDB file in the project's var/.

    The project is this checkout or, for an installed package, the current folder.
    """
    project = CHECKOUT if (CHECKOUT / "pyproject.toml").exists() else Path.cwd()
    return os.environ.get(VARIABLE) or f"duckdb://{quote(str(project))}/var/warehouse.duckdb"


def storage_kinds() -> set[str]:
    """Return the kind of the configured warehouse for the UI; empty if the URL is invalid."""
    return {warehouse_url().partition(":")[0]} & {"bigquery", "duckdb"}


def table_metadata(table: Table, *, exists: bool = True) -> dict[str, str]:
    """Return an asset's table under Dagster's standard metadata keys.

    Adds a link to BigQuery's console if a table of this very name exists (`exists`).
    """
    found = {"dagster/table_name": str(table)}
    for kind in storage_kinds():
        found["dagster/storage_kind"] = kind
        project = re.match("bigquery://([^/?#]+)", warehouse_url())
        if exists and project:
            place = urlencode(
                {"p": project[1], "d": table.dataset, "t": table.name, "page": "table"}
            )
            found["dagster/uri"] = f"https://console.cloud.google.com/bigquery?{place}"
    return found


class WarehouseResource(dg.ConfigurableResource[None]):
    """The warehouse at `url`: duckdb:///path/to/file.duckdb or bigquery://PROJECT?location=EU."""

    url: str = ""

    @contextmanager
    def open(self, log: logging.Logger | None = None) -> Iterator[Warehouse]:
        """Open the warehouse; `log` gets the reasons for waiting.

        Create the folder of the default file; any other folder must exist. Raises SettingError if
        the URL is not a warehouse.
        """
        url = self.url or warehouse_url()
        path = url.removeprefix("duckdb://")
        if url.startswith("duckdb:///") and len(path) > 1 and path != "/:memory:":
            from feed_assets.warehouse.duckdb.warehouse import DuckDBWarehouse

            file = Path(unquote(path))
            if not self.url and not os.environ.get(VARIABLE):
                file.parent.mkdir(exist_ok=True)
            yield DuckDBWarehouse(file, log=log)
        elif url.startswith("bigquery://"):
            project, options = _bigquery_names(url)
            with _bigquery(project, **options) as warehouse:
                yield warehouse
        else:
            raise SettingError(f"{VARIABLE} is {_shown(url)}, which is not a warehouse; {FORMS}")


def _bigquery_names(url: str) -> tuple[str, dict[str, str]]:
    try:
        parts = urlsplit(url)
    except ValueError:  # such as [, which would begin an IPv6 address
        parts = urlsplit("")
    query = parse_qs(parts.query)
    if not parts.netloc:
        raise SettingError(f"{VARIABLE} is {_shown(url)}, which is not a warehouse; {FORMS}")
    if unknown := query.keys() - set(BIGQUERY_OPTIONS):
        raise SettingError(
            f"{VARIABLE} is {_shown(url)}: {min(unknown)} is not an option; options are "
            f"{' and '.join(BIGQUERY_OPTIONS)}"
        )
    return parts.netloc, {name: values[0] for name, values in query.items()}


def _shown(url: str) -> str:
    """Redact possible passwords: the URL may be that of another database."""
    return repr(re.sub(r"\?.*", "?***", re.sub(r"//.*@", "//***@", url), flags=re.DOTALL))


@contextmanager
def _bigquery(
    project: str, location: str | None = None, staging_bucket: str | None = None
) -> Iterator[Warehouse]:
    from feed_assets.warehouse.bigquery.warehouse import (
        BigQueryWarehouse,
        GoogleAuthError,
        emulator_client,
    )

    if os.environ.get("BIGQUERY_EMULATOR_HOST"):
        client = emulator_client(project, location)
        staging = _staging(project, staging_bucket, emulated=True)
        with closing(BigQueryWarehouse(client, staging)) as warehouse:
            yield warehouse
        return
    from dagster_gcp import BigQueryResource

    try:
        with (
            BigQueryResource(project=project, location=location).get_client() as client,
            closing(BigQueryWarehouse(client, _staging(project, staging_bucket))) as warehouse,
        ):
            yield warehouse
    except GoogleAuthError as failure:
        raise SettingError(
            f"BigQuery cannot be used without Google's credentials: {failure}"
        ) from None


def _staging(project: str, bucket: str | None, *, emulated: bool = False) -> StagingBucket | None:
    if bucket is None:
        return None
    from feed_assets.warehouse.bigquery.staging_bucket import StagingBucket, emulator_storage

    if emulated:
        return StagingBucket(emulator_storage(), bucket)
    from dagster_gcp import GCSResource

    return StagingBucket(GCSResource(project=project).get_client(), bucket)


@contextmanager
def as_failure() -> Iterator[None]:
    """Raise our errors as dg.Failure; only transient ones allow retries."""
    try:
        yield
    except FeedAssetsError as failure:
        raise dg.Failure(
            str(failure), metadata=failure_metadata(failure), allow_retries=failure.transient
        ) from None
