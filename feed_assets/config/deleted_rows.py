"""Rows that a feed marks as deleted."""

from __future__ import annotations

from pydantic import Field

from feed_assets.config.model import FrozenModel


class DeletedRows(FrozenModel):
    """Leave keys whose newest row has one of these values out of the latest state."""

    column: str = Field(
        min_length=1,
        examples=["status"],
        description="Column with the mark, named as in the feed.",
    )
    values: tuple[bool | int | str, ...] = Field(
        min_length=1,
        examples=[["deleted"], [True]],
        description="Values of a deleted row: texts, integers, or true and false.",
    )
