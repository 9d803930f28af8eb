"""Credentials from the environment."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
)

from feed_assets.errors import SettingError

HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
OURS = re.compile(
    r"accept|accept-encoding|connection|content-.*|expect|host|if-.*|proxy-.*|range|te|trailer"
    r"|transfer-encoding|upgrade",
    re.IGNORECASE,
)
CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Declared(BaseModel):
    """What stands in a YAML file: a mistyped name is refused, and no value quoted."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


M = TypeVar("M", bound=Declared)


def validate_without_input(value: Any, validate: ModelWrapValidatorHandler[M]) -> M:
    """Validate a component's attributes, and leave their values out of the errors.

    Dagster makes a component's ValidationError anew, for the place in the YAML file, and has it
    quote its input, in which there may be secrets.
    """
    try:
        return validate(value)
    except ValidationError as mistake:
        errors: list[Any] = [{**each, "input": "***"} for each in mistake.errors()]
        raise ValidationError.from_exception_data(mistake.title, errors, hide_input=True) from None


def _check_variable(value: str) -> str:
    if not VARIABLE.fullmatch(value):  # not quoted, as it may be the secret itself
        raise ValueError("is no name of an environment variable; put the secret into one")
    return value


class BasicAuth(Declared):
    """HTTP Basic Auth, by the names of the environment variables that hold it."""

    username_env: str = Field(
        examples=["CRM_FEED_USERNAME"], description="Environment variable holding the user name."
    )
    password_env: str = Field(
        examples=["CRM_FEED_PASSWORD"], description="Environment variable holding the password."
    )

    _are_variables = field_validator("username_env", "password_env")(_check_variable)

    def headers(self) -> Mapping[str, bytes]:
        """The header to send; in UTF-8 (RFC 7617, 2.1), where `requests` would send Latin-1."""
        username, password = (
            _from_env(variable, "basic_auth").encode()
            for variable in (self.username_env, self.password_env)
        )
        return {"Authorization": b"Basic " + b64encode(username + b":" + password)}


class BearerAuth(Declared):
    """A bearer token, by the name of the environment variable that holds it."""

    token_env: str = Field(
        examples=["CRM_TOKEN"], description="Environment variable holding the token."
    )

    _is_a_variable = field_validator("token_env")(_check_variable)

    def headers(self) -> Mapping[str, bytes]:
        """The header to send (RFC 6750, 2.1)."""
        return {"Authorization": b"Bearer " + _header_from_env(self.token_env, "bearer_auth")}


def headers_from_env(variables: Mapping[str, str]) -> Mapping[str, bytes]:
    """Headers by their names, of the environment variables that hold their values."""
    return {name: _header_from_env(variable, "headers_env") for name, variable in variables.items()}


def check_headers(variables: Mapping[str, str]) -> None:
    """Raises ValueError for a name that no header or no environment variable of a user's has."""
    for name, variable in variables.items():
        if not HEADER.fullmatch(name):  # not quoted, as its value may be in it
            raise ValueError("has a name that no header can have; write X-Api-Key: CRM_KEY, say")
        if OURS.fullmatch(name):
            raise ValueError(f"{name} is set for each request by feed_assets itself")
        _check_variable(variable)
    if len({name.lower() for name in variables}) < len(variables):
        raise ValueError("has a header twice; case does not distinguish headers")


def _header_from_env(variable: str, by: str) -> bytes:
    value = _from_env(variable, by).encode()
    if CONTROL.search(value):
        raise SettingError(
            f"the environment variable {variable} has a line break or another control character "
            f"in it, which no header can hold; remove it"
        )
    return value


def _from_env(variable: str, by: str) -> str:
    value = os.environ.get(variable)
    if value is None:
        raise SettingError(
            f"the environment variable {variable} is not set; the feed's {by} reads it"
        )
    return value
