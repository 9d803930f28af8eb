"""The days of a feed by date, as its user declares them."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from feed_assets.config.auth import Declared

FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2199, 12, 31)
"""Dagster lists each day from the first to the last, in the feed's time zone."""


class PartitionByDate(Declared):
    """Makes a feed by date: each day is requested by itself and kept in a table of its own."""

    start_date: date = Field(examples=["2020-01-01"], description="The first day the feed has.")
    end_date: date | None = Field(
        None,
        examples=["2024-12-31"],
        description="The last day it has, if it has ended.",
    )
    timezone: str = Field(
        "UTC",
        examples=["Europe/Berlin", "America/New_York"],
        description="Whose midnight ends a day, such as Europe/Berlin.",
    )
    refetch_days: int = Field(
        1,
        ge=0,
        le=3650,
        examples=[3],
        description="Each scheduled run imports that many days before its own again.",
    )
    include_today: bool = Field(
        True,
        examples=[False],
        description="Import the day that has begun, too, or only days that have ended.",
    )

    @model_validator(mode="after")
    def _can_be_listed(self) -> PartitionByDate:
        if self.start_date < FIRST_DAY:
            raise ValueError(f"start_date {self.start_date} is before {FIRST_DAY}")
        if self.end_date is not None and self.end_date > LAST_DAY:
            raise ValueError(
                f"end_date {self.end_date} is after {LAST_DAY}; a feed that goes on has no end_date"
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
                f"start_date {self.start_date} is in the future, as it is {today} in "
                f"{self.timezone}; name the first day that the feed has"
            )
        return self

    @field_validator("timezone")
    @classmethod
    def _exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: `Asia` is a folder of them
            raise ValueError(
                f"there is no time zone {value!r}; write it as Europe/Berlin"
            ) from None
        return value
