"""The days of a feed by date."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from feed_assets.config.model import FrozenModel

FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2199, 12, 31)
"""Limits of the days, because Dagster enumerates all of them."""


class PartitionByDate(FrozenModel):
    """Import the feed by date: one request and one table (shard) per day."""

    start_date: date = Field(examples=["2020-01-01"], description="First day of the feed.")
    end_date: date | None = Field(
        None,
        examples=["2024-12-31"],
        description="Last day of a feed that has ended.",
    )
    timezone: str = Field(
        "UTC",
        examples=["Europe/Berlin", "America/New_York"],
        description="Time zone of the days, such as Europe/Berlin.",
    )
    refetch_days: int = Field(
        1,
        ge=0,
        le=3650,
        examples=[3],
        description="Number of earlier days that each scheduled run imports again.",
    )
    include_today: bool = Field(
        True,
        examples=[False],
        description="Import the current day, too; false: only complete days.",
    )

    @model_validator(mode="after")
    def _can_be_listed(self) -> PartitionByDate:
        if self.start_date < FIRST_DAY:
            raise ValueError(f"start_date {self.start_date} is before {FIRST_DAY}")
        if self.end_date is not None and self.end_date > LAST_DAY:
            raise ValueError(
                f"end_date {self.end_date} is after {LAST_DAY}; leave it out if the feed continues"
            )
        return self

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> PartitionByDate:
        if self.end_date is not None and self.end_date < self.start_date:
            raise ValueError(f"end_date {self.end_date} is before start_date {self.start_date}")
        return self

    @model_validator(mode="after")
    def _has_begun(self) -> PartitionByDate:
        today = datetime.now(ZoneInfo(self.timezone)).date()
        if self.start_date > today:
            raise ValueError(
                f"start_date {self.start_date} is in the future (today is {today} in "
                f"{self.timezone}); set it to the first day of the feed"
            )
        return self

    @field_validator("timezone")
    @classmethod
    def _exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: `Asia` is a folder
            raise ValueError(
                f"there is no time zone {value!r}; write it as Europe/Berlin"
            ) from None
        return value
