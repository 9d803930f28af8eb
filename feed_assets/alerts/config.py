"""The declaration of alerts in YAML."""

from __future__ import annotations

import os
import re
from typing import Any, Self

from pydantic import Field, ModelWrapValidatorHandler, field_validator, model_validator

from feed_assets.alerts.notifier import addresses, is_installed
from feed_assets.config.model import NAME, FrozenModel, Name, validate_without_input
from feed_assets.errors import SettingError
from feed_assets.urls import Url

UI_URL = "FEED_ASSETS_UI_URL"
LATE_AFTER_HOURS = 3


class Alerts(FrozenModel):
    """Addresses of alerts, and the URL of the UI that they link to."""

    urls_env: str = Field(
        "FEED_ASSETS_ALERTS",
        validate_default=True,
        examples=["TEAM_ALERTS"],
        description="Environment variable with Apprise URLs, separated by spaces or line breaks.",
    )
    ui_url: str = Field(
        "",
        examples=["https://dagster.example.com"],
        description=f"URL of the Dagster UI, for links. Default: the value of {UI_URL}.",
    )
    late_after_hours: float = Field(
        LATE_AFTER_HOURS,
        gt=0,
        le=8760,
        examples=[12],
        description="Hours after its schedule at which a feed that is not imported counts as late.",
    )
    name: Name = Field(
        "import_alerts",
        examples=["team_alerts"],
        description="Name of the sensor; required to differ if there are several.",
    )

    @field_validator("urls_env")
    @classmethod
    def _holds_urls(cls, value: str) -> str:
        if not re.fullmatch(NAME, value):
            raise ValueError(
                "is not the name of an environment variable; set one to the URLs, and give its name"
            )
        try:
            if is_installed():
                addresses(value)
        except SettingError as mistake:
            raise ValueError(str(mistake)) from None
        return value

    @field_validator("ui_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if value and _ui(value) is None:
            raise ValueError("is not an http or https URL of a Dagster UI")
        return value

    @model_validator(mode="wrap")  # wraps the other validators, so it comes last
    @classmethod
    def _quotes_no_input(cls, value: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        return validate_without_input(value, validate)

    def link(self, path: str, default: str) -> str:
        """Return the URL of a page of the UI, or `default` if the UI's URL is not known."""
        ui = _ui(self.ui_url or os.environ.get(UI_URL, ""))
        return f"{ui.full.rstrip('/')}/{path}" if ui else default


def _ui(url: str) -> Url | None:
    try:
        ui = Url.parse(url)
    except ValueError:
        return None
    return None if ui.query else ui
