"""How a feed of several pages leads from one to the next."""

from __future__ import annotations

import re

from pydantic import Field, field_validator, model_validator

from feed_assets.config.model import FrozenModel

_PARAMETER = re.compile(r"[A-Za-z0-9_.~$\[\]-]+")


def check_path(path: str | None) -> str | None:
    """Raise ValueError for a path in a JSON object that has an empty part."""
    if path is not None and not all(path.split(".")):
        raise ValueError(f"{path!r} is not a path of keys; write it as data.items")
    return path


class Pages(FrozenModel):
    """Read a feed page by page: one of next_url, link_header and parameter."""

    next_url: str | None = Field(
        None,
        examples=["paging.next"],
        description="Path, in a JSON object, of the next page's URL; null or none on the last.",
    )
    link_header: bool = Field(
        False,
        examples=[True],
        description='Follow the header Link: <...>; rel="next" until an answer has none.',
    )
    parameter: str | None = Field(
        None,
        examples=["page"],
        description="Parameter to add to the query with the page's number, until a page is empty.",
    )
    start: int = Field(
        1, ge=0, le=1 << 31, examples=[0], description="Value of parameter for the first page."
    )
    step: int = Field(
        1,
        ge=1,
        le=1 << 31,
        examples=[100],
        description="Difference between two pages; for an offset, the rows of a page.",
    )
    max_pages: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        examples=[500],
        description="Most pages of one import; more fail it.",
    )

    @field_validator("next_url")
    @classmethod
    def _is_a_path(cls, value: str | None) -> str | None:
        return check_path(value)

    @field_validator("parameter")
    @classmethod
    def _is_a_parameter(cls, value: str | None) -> str | None:
        if value is not None and not _PARAMETER.fullmatch(value):
            raise ValueError(
                f"{value!r} is not a parameter of a query; write its name, such as page"
            )
        return value

    @model_validator(mode="after")
    def _leads_one_way(self) -> Pages:
        ways = [self.next_url is not None, self.link_header, self.parameter is not None]
        if sum(ways) != 1:
            raise ValueError("must have one of next_url, link_header: true and parameter")
        if self.parameter is None and {"start", "step"} & self.model_fields_set:
            raise ValueError("has start or step, which belong to parameter")
        return self
