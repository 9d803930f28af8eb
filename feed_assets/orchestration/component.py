"""A feed in YAML, as Dagster's component."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self

import dagster as dg
from dagster._core.definitions.utils import VALID_GROUP_NAME_REGEX, is_valid_owner
from dagster._utils.schedules import is_valid_cron_string, schedule_execution_time_iterator
from dagster._utils.tags import is_valid_strict_tag_value, is_valid_tag_key
from dagster._vendored.croniter.croniter import CroniterBadDateError
from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    field_validator,
    model_validator,
)

from feed_assets.config.auth import validate_without_input
from feed_assets.config.feed import Feed
from feed_assets.orchestration.assets import feed_asset, latest_asset
from feed_assets.orchestration.scaffold import FeedScaffolder
from feed_assets.orchestration.schedules import feed_schedule

EXAMPLE: dict[str, Any] = {
    "name": "crm_orders",
    "description": "Orders of the shop.",
    "url": "https://example.com/feed.ndjson",
    "basic_auth": {"username_env": "CRM_FEED_USERNAME", "password_env": "CRM_FEED_PASSWORD"},
    "dataset": "crm",
    "table": "orders",
    "partition_by_date": {"start_date": "2020-01-01", "timezone": "Europe/Berlin"},
    "schedule": "0 5 * * *",
    "key": ["orderId"],
    "updated_at": "updatedAt",
    "types": {"total": "NUMERIC"},
    "column_descriptions": {"orderId": "The shop's number of the order."},
    "owners": ["data@example.com", "team:crm"],
}
"""In the documentation; else it would be made of one example of each attribute."""


class FeedAttributes(Feed):
    """A URL that answers with NDJSON, and the table it goes to."""

    # Here is checked what only Dagster knows to be right.

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        try:
            # `R` is a random minute, another at each load
            if is_valid_cron_string(value) and not re.search(r"\bR\b", value):
                next(schedule_execution_time_iterator(0, value, "UTC"))
                return value
        except CroniterBadDateError:
            raise ValueError(f"{value!r} names a day that no year has") from None
        raise ValueError(
            f"{value!r} is no cron expression that Dagster can run; write minute, hour, day, month "
            f"and weekday, such as 0 5 * * *"
        )

    @field_validator("group")
    @classmethod
    def _is_a_group(cls, value: str) -> str:
        if value and not VALID_GROUP_NAME_REGEX.match(value):
            raise ValueError(
                f"{value!r} is no group; write letters, digits and _, with / between parts of a "
                f"hierarchy, such as sales/orders"
            )
        return value

    @field_validator("owners")
    @classmethod
    def _are_owners(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for owner in value:
            if not is_valid_owner(owner):
                raise ValueError(
                    f"{owner!r} is no owner; write an e-mail address, or a team as team:crm"
                )
        return value

    @field_validator("tags")
    @classmethod
    def _are_tags(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for key, text in value.items():
            if key.startswith("dagster/"):
                raise ValueError(f"{key} is a tag that Dagster sets itself")
            if not (is_valid_tag_key(key) and is_valid_strict_tag_value(text)):
                raise ValueError(
                    f"{key}: {text} is no tag; write letters, digits, _, - and ., 63 at the most, "
                    f"the key with a namespace before it if you like: company/domain"
                )
        return value

    @model_validator(mode="wrap")  # around the others, so it is the last
    @classmethod
    def _quotes_no_input(cls, value: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        return validate_without_input(value, validate)


def declared_in(context: dg.ComponentLoadContext) -> str:
    """The file of a component, as seen from the project's folder."""
    return str((context.path / "defs.yaml").relative_to(context.project_root))


@dg.scaffold_with(FeedScaffolder)
class JsonFeed(dg.Component):
    """Imports an NDJSON feed into BigQuery or DuckDB, every day.

    With `partition_by_date`, an asset partitioned by day with a table `table_YYYYMMDD` for each,
    and, given `key` and `updated_at`, a view `table` of the latest state. Without it, an asset
    whose table is replaced whole.
    """

    def __init__(self, feed: Feed, file: str = "") -> None:
        self.feed = feed
        self.file = file

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return FeedAttributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> JsonFeed:
        assert isinstance(attributes, Feed)
        return cls(attributes, declared_in(context))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        assets = [feed_asset(self.feed)]
        if self.feed.has_latest:
            assets.append(latest_asset(self.feed))
        return dg.Definitions(assets=assets, schedules=[feed_schedule(self.feed)])
