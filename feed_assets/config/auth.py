"""Credentials, by the names of the environment variables that contain them."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Container, Mapping

from pydantic import Field, field_validator

from feed_assets.config.model import FrozenModel
from feed_assets.errors import SettingError

HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
OURS = re.compile(
    r"accept|accept-encoding|connection|content-.*|expect|host|if-.*|proxy-.*|range|te|trailer"
    r"|transfer-encoding|upgrade",
    re.IGNORECASE,
)
CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _check_variable(value: str) -> str:
    if not VARIABLE.fullmatch(value):  # not quoted: it may be the secret
        raise ValueError("is not the name of an environment variable; put the secret into one")
    return value


class BasicAuth(FrozenModel):
    """HTTP Basic Auth. The values are read from environment variables."""

    username_env: str = Field(
        examples=["CRM_FEED_USERNAME"], description="Environment variable with the user name."
    )
    password_env: str = Field(
        examples=["CRM_FEED_PASSWORD"], description="Environment variable with the password."
    )

    _are_variables = field_validator("username_env", "password_env")(_check_variable)

    def headers(self) -> Mapping[str, bytes]:
        """Return the header, in UTF-8 (RFC 7617, 2.1); `requests` would use Latin-1."""
        username, password = (
            _from_env(variable, "basic_auth").encode()
            for variable in (self.username_env, self.password_env)
        )
        return {"Authorization": b"Basic " + b64encode(username + b":" + password)}


class BearerAuth(FrozenModel):
    """A bearer token. Its value is read from an environment variable."""

    token_env: str = Field(
        examples=["CRM_TOKEN"], description="Environment variable with the token."
    )

    _is_a_variable = field_validator("token_env")(_check_variable)

    def headers(self) -> Mapping[str, bytes]:
        """Return the header (RFC 6750, 2.1)."""
        return {"Authorization": b"Bearer " + _header_from_env(self.token_env, "bearer_auth")}


def check_fixed_headers(headers: Mapping[str, str]) -> None:
    """Raise ValueError for an invalid or reserved header, or for one that holds a credential."""
    _check_names(headers, allowed={"accept"})
    for name, value in headers.items():
        if name.lower() in {"authorization", "cookie"}:
            raise ValueError(
                f"{name} is secret; put its value into an environment variable, and name that in "
                f"headers_env"
            )
        if CONTROL.search(value.encode()):
            raise ValueError(f"{name} has a line break or another control character in its value")


def headers_from_env(variables: Mapping[str, str]) -> Mapping[str, bytes]:
    """Return the headers with their values from these environment variables."""
    return {name: _header_from_env(variable, "headers_env") for name, variable in variables.items()}


def check_headers(variables: Mapping[str, str]) -> None:
    """Raise ValueError for an invalid or reserved header, or an invalid variable name."""
    _check_names(variables)
    for variable in variables.values():
        _check_variable(variable)


def _check_names(headers: Mapping[str, str], allowed: Container[str] = ()) -> None:
    for name in headers:
        if not HEADER.fullmatch(name):  # not quoted: it may contain the secret
            raise ValueError("has an invalid header name; write, for example, X-Api-Key: CRM_KEY")
        if OURS.fullmatch(name) and name.lower() not in allowed:
            raise ValueError(f"{name} is set by feed_assets in each request")
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("has a header twice; header names ignore case")


def _header_from_env(variable: str, by: str) -> bytes:
    value = _from_env(variable, by).encode()
    if CONTROL.search(value):
        raise SettingError(
            f"the environment variable {variable} contains a line break or another control "
            f"character, which a header cannot contain; remove it"
        )
    return value


def _from_env(variable: str, by: str) -> str:
    value = os.environ.get(variable)
    if value is None:
        raise SettingError(
            f"the environment variable {variable} is not set; the feed's {by} reads it"
        )
    return value
