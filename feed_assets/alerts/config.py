"""Alerts as their user declares them."""

from __future__ import annotations

import os
import re
from typing import Any, Self

from pydantic import Field, ModelWrapValidatorHandler, field_validator, model_validator

from feed_assets.alerts.notifier import addresses
from feed_assets.config.auth import Declared, validate_without_input
from feed_assets.config.feed import NAME
from feed_assets.errors import SettingError
from feed_assets.urls import Url

UI_URL = "FEED_ASSETS_UI_URL"
LATE_AFTER_HOURS = 3


class Alerts(Declared):
    """Where alerts go, and what they link to."""

    urls_env: str = Field(
        "FEED_ASSETS_ALERTS",
        validate_default=True,
        examples=["TEAM_ALERTS"],
        description="Environment variable holding Apprise URLs, with spaces or lines between.",
    )
    ui_url: str = Field(
        "",
        examples=["https://dagster.example.com"],
        description=f"Where the Dagster UI is, for links. Default: what {UI_URL} holds.",
    )
    late_after_hours: float = Field(
        LATE_AFTER_HOURS,
        gt=0,
        le=8760,
        examples=[12],
        description="A feed not imported so long after its schedule is late.",
    )
    name: str = Field(
        "import_alerts",
        examples=["team_alerts"],
        description="Names the sensor, if there are several.",
    )

    @field_validator("urls_env")
    @classmethod
    def _holds_urls(cls, value: str) -> str:
        if not re.fullmatch(NAME, value):
            raise ValueError("is no name of an environment variable; put the URLs into one")
        try:
            addresses(value)
        except SettingError as mistake:
            raise ValueError(str(mistake)) from None
        return value

    @field_validator("ui_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if value and _ui(value) is None:
            raise ValueError("is no http or https URL of a Dagster UI")
        return value

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError(f"{value!r} must be of letters, digits and _")
        return value

    @model_validator(mode="wrap")  # around the others, so it is the last
    @classmethod
    def _quotes_no_input(cls, value: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        return validate_without_input(value, validate)

    def link(self, path: str, else_: str) -> str:
        """Where to look in the UI; where that is not known, what to look for."""
        ui = _ui(self.ui_url or os.environ.get(UI_URL, ""))
        return f"{ui.full.rstrip('/')}/{path}" if ui else else_


def _ui(url: str) -> Url | None:
    try:
        ui = Url.parse(url)
    except ValueError:
        return None
    return None if ui.query else ui
