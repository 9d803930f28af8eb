"""The attributes of a feed, with the checks that need Dagster.

They are validators, because Dagster names the line of defs.yaml only for errors of the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self

from pydantic import ConfigDict, ModelWrapValidatorHandler, field_validator, model_validator

from feed_assets.config.feed import Feed
from feed_assets.config.model import validate_without_input
from feed_assets.orchestration.dagster_internals import (
    VALID_GROUP_NAME_REGEX,
    CroniterBadDateError,
    is_valid_cron_string,
    is_valid_owner,
    is_valid_strict_tag_value,
    is_valid_tag_key,
    schedule_execution_time_iterator,
)
from feed_assets.orchestration.yaml_templates import fill_in

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
"""The example in Dagster's documentation of the component."""


class FeedAttributes(Feed):
    """A feed: the URL of its rows, and the table to import them into."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        try:
            # `R` is a random minute, a different one at each load
            if is_valid_cron_string(value) and not re.search(r"\bR\b", value):
                next(schedule_execution_time_iterator(0, value, "UTC"))
                return value
        except CroniterBadDateError:
            raise ValueError(f"{value!r} names a day that does not exist in any year") from None
        raise ValueError(
            f"{value!r} is not a cron expression that Dagster can run; write minute, hour, day, "
            f"month and weekday, such as 0 5 * * *"
        )

    @field_validator("group")
    @classmethod
    def _is_a_group(cls, value: str) -> str:
        if value and not VALID_GROUP_NAME_REGEX.match(value):
            raise ValueError(
                f"{value!r} is not a group name; write letters, digits and _, with / between the "
                f"parts of a hierarchy, such as sales/orders"
            )
        return value

    @field_validator("owners")
    @classmethod
    def _are_owners(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for owner in value:
            if not is_valid_owner(owner):
                raise ValueError(
                    f"{owner!r} is not an owner; write an e-mail address, or a team as team:crm"
                )
        return value

    @field_validator("tags")
    @classmethod
    def _are_tags(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for key, text in value.items():
            if key.startswith("dagster/"):
                raise ValueError(f"{key} is reserved for Dagster")
            if not (is_valid_tag_key(key) and is_valid_strict_tag_value(text)):
                raise ValueError(
                    f"{key}: {text} is not a valid tag; use up to 63 letters, digits, _, - and .; "
                    f"the key may have a namespace: company/domain"
                )
        return value

    @model_validator(mode="wrap")  # wraps the other validators, so it comes last
    @classmethod
    def _quotes_no_input(cls, value: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        return validate_without_input(fill_in(value, cls.__name__), validate)
