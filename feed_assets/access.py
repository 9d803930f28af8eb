"""Credentials from the environment, where they may go, and URLs fit to be shown."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field

from feed_assets.errors import SettingError

HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
OURS = re.compile(
    r"accept|accept-encoding|connection|content-.*|expect|host|if-.*|proxy-.*|range|te|trailer"
    r"|transfer-encoding|upgrade",
    re.IGNORECASE,
)
CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
DAY = re.compile(r"\d{8}")
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Declared(BaseModel):
    """What stands in a YAML file: a mistyped name is refused, and no value quoted."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class BasicAuth(Declared):
    """HTTP Basic Auth, by the names of the environment variables that hold it."""

    username_env: str = Field(
        examples=["CRM_FEED_USERNAME"], description="Environment variable holding the user name."
    )
    password_env: str = Field(
        examples=["CRM_FEED_PASSWORD"], description="Environment variable holding the password."
    )

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

    def headers(self) -> Mapping[str, bytes]:
        """The header to send (RFC 6750, 2.1)."""
        return {"Authorization": b"Bearer " + _header_from_env(self.token_env, "bearer_auth")}


def headers_from_env(variables: Mapping[str, str]) -> Mapping[str, bytes]:
    """Headers by their names, of the environment variables that hold their values."""
    return {name: _header_from_env(variable, "headers_env") for name, variable in variables.items()}


def check_headers(variables: Mapping[str, str]) -> None:
    """Raises ValueError for a name that is no header's, or of a header that is not the user's."""
    for name in variables:
        if not HEADER.fullmatch(name):
            raise ValueError(f"{name!r} cannot be the name of a header")
        if OURS.fullmatch(name):
            raise ValueError(f"{name} is set for each request by feed_assets itself")


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


def is_private(url: str) -> bool:
    """Whether nobody on the way can read what is sent there: https, or this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in LOOPBACK


def may_follow(url: str, target: str) -> bool:
    """Whether credentials for a URL may go where it redirects to.

    That is the same server, or the same host by https instead of http.
    """
    one, other = _server(url), _server(target)
    return one == other or ((one[0], other[0]) == (80, 443) and one[1] == other[1])


def _server(url: str) -> tuple[int | None, str | None, str]:
    parts = urlsplit(url)
    return parts.port or {"http": 80, "https": 443}.get(parts.scheme), parts.hostname, parts.scheme


def redact(url: str) -> str:
    """The URL fit to be shown: without credentials, and with the values of its query hidden.

    Only `date` is shown, as it is ours and no secret.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    shown = []
    for item in parts.query.split("&") if parts.query else []:
        name, equals, value = item.partition("=")
        if item == f"date={value}" and DAY.fullmatch(value):
            shown.append(item)
        else:
            shown.append(f"{name}{equals}{'***' if value else ''}" if equals else "***")
    return urlunsplit((parts.scheme, host, parts.path, "&".join(shown), ""))
