"""Credentials, by the names of the environment variables that contain them."""

from __future__ import annotations

import os
import re
import ssl
from base64 import b64encode
from collections import deque
from collections.abc import Container, Mapping, Sequence
from typing import Literal
from urllib.parse import quote, quote_plus

from pydantic import Field, PrivateAttr, field_validator, model_validator

from feed_assets.config.model import FrozenModel
from feed_assets.errors import SettingError
from feed_assets.urls import Url

_TOKENS_MASKED = 10

HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
OURS = re.compile(
    r"accept|accept-encoding|connection|content-.*|expect|host|if-.*|proxy-.*|range|te|trailer"
    r"|transfer-encoding|upgrade",
    re.IGNORECASE,
)
CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_PUBLIC_KEY = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/]{16,}={0,2}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_variable(value: str) -> str:
    """Return the name of an environment variable. Raise ValueError for anything else."""
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

    _are_variables = field_validator("username_env", "password_env")(check_variable)

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

    _is_a_variable = field_validator("token_env")(check_variable)

    def headers(self) -> Mapping[str, bytes]:
        """Return the header (RFC 6750, 2.1)."""
        return {"Authorization": b"Bearer " + _header_from_env(self.token_env, "bearer_auth")}


class OAuth2(FrozenModel):
    """OAuth 2.0 client credentials. A token is requested when needed, and before it expires."""

    token_url: str = Field(
        examples=["https://example.com/oauth/token"], description="URL that issues tokens."
    )
    client_id_env: str = Field(
        examples=["CRM_CLIENT_ID"], description="Environment variable with the client's id."
    )
    client_secret_env: str = Field(
        examples=["CRM_CLIENT_SECRET"],
        description="Environment variable with the client's secret.",
    )
    scope: str | None = Field(
        None, examples=["orders.read"], description="Scope to request, if the server wants one."
    )
    client_auth: Literal["basic", "body"] = Field(
        "basic",
        examples=["body"],
        description="Send id and secret by Basic Auth, or in the body of the request.",
    )
    parameters: Mapping[str, str] = Field(
        default_factory=dict,
        examples=[{"audience": "https://example.com/api"}],
        description="Other parameters of the request for a token.",
    )
    _issued: deque[str] = PrivateAttr(default_factory=lambda: deque(maxlen=_TOKENS_MASKED))

    _are_variables = field_validator("client_id_env", "client_secret_env")(check_variable)

    @field_validator("token_url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        try:
            Url.parse(value)
        except ValueError as mistake:
            raise ValueError(f"{mistake}; write https://example.com/oauth/token") from None
        return value

    @property
    def variables(self) -> tuple[str, str]:
        """Names of the environment variables."""
        return self.client_id_env, self.client_secret_env

    def request(self) -> tuple[dict[str, bytes], dict[str, str]]:
        """Return headers and fields of the request for a token (RFC 6749, 2.3.1 and 4.4.2)."""
        client_id, secret = (_from_env(variable, "oauth2") for variable in self.variables)
        headers = {
            "Accept": b"application/json",
            "Content-Type": b"application/x-www-form-urlencoded",
        }
        fields = {"grant_type": "client_credentials", **self.parameters}
        if self.scope:
            fields["scope"] = self.scope
        if self.client_auth == "body":
            return headers, {**fields, "client_id": client_id, "client_secret": secret}
        pair = f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()
        return {**headers, "Authorization": b"Basic " + b64encode(pair)}, fields

    def issued(self, token: str) -> None:
        """Remember a token, so that texts are masked that repeat it."""
        self._issued.append(token)

    @property
    def tokens(self) -> Sequence[str]:
        """The latest tokens that were issued in this process."""
        return tuple(self._issued)


class Sftp(FrozenModel):
    """Login at an SFTP server. Secrets are read from environment variables."""

    username_env: str | None = Field(
        None,
        examples=["CRM_SFTP_USERNAME"],
        description="Environment variable with the user name.",
    )
    password_env: str | None = Field(
        None,
        examples=["CRM_SFTP_PASSWORD"],
        description="Environment variable with the password.",
    )
    private_key_env: str | None = Field(
        None,
        examples=["CRM_SFTP_KEY"],
        description="Environment variable with the path of a private key, or with the key.",
    )
    passphrase_env: str | None = Field(
        None,
        examples=["CRM_SFTP_PASSPHRASE"],
        description="Environment variable with the private key's passphrase.",
    )
    host_key: str | None = Field(
        None,
        examples=[
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGRqWn3mAyzO6dpyyKm0uzYPfTSnWVFvEbEKWcJCLxgW"
        ],
        description="Public key of the server. Default: those in ~/.ssh/known_hosts.",
    )

    _are_variables = field_validator(
        "username_env", "password_env", "private_key_env", "passphrase_env"
    )(lambda value: value if value is None else check_variable(value))

    @field_validator("host_key")
    @classmethod
    def _is_a_public_key(cls, value: str | None) -> str | None:
        if value is not None and not _PUBLIC_KEY.fullmatch(value):
            raise ValueError("is not a public key; write its type and its base64: ssh-ed25519 AAAA")
        return value

    @model_validator(mode="after")
    def _is_a_login(self) -> Sftp:
        if self.password_env and self.private_key_env:
            raise ValueError("has a password_env and a private_key_env; leave one out")
        if bool(self.username_env) != bool(self.password_env or self.private_key_env):
            raise ValueError("must have username_env with password_env or private_key_env")
        if self.passphrase_env and not self.private_key_env:
            raise ValueError("has passphrase_env, which belongs to private_key_env")
        return self

    @property
    def variables(self) -> Sequence[str]:
        """Names of the environment variables."""
        all_of_them = (
            self.username_env,
            self.password_env,
            self.private_key_env,
            self.passphrase_env,
        )
        return [each for each in all_of_them if each]

    def credentials(self) -> tuple[str | None, str | None, str | None, str | None]:
        """Return user name, password, private key and passphrase. Raises SettingError."""
        username, password, key, passphrase = (
            _from_env(each, "sftp") if each else None
            for each in (
                self.username_env,
                self.password_env,
                self.private_key_env,
                self.passphrase_env,
            )
        )
        return username, password, key, passphrase


def parameters_from_env(variables: Mapping[str, str]) -> Mapping[str, str]:
    """Return the parameters of a query, percent-encoded, with their values."""
    return {
        quote(name, safe=""): quote(_from_env(variable, "query_env"), safe="")
        for name, variable in variables.items()
    }


def check_parameters(variables: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables. Raise ValueError for an invalid name."""
    for name, variable in variables.items():
        if not name:
            raise ValueError("has a parameter without a name; write, for example, api_key: CRM_KEY")
        check_variable(variable)
    return variables


def certificate_from_env(variable: str) -> str:
    """Return the path of a client certificate. Raises SettingError if it cannot be used."""
    path = _from_env(variable, "client_certificate_env")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(path, password=lambda: "")
    except (OSError, ValueError) as mistake:
        why = (
            "has no certificate with its unencrypted key in PEM form"
            if isinstance(mistake, ssl.SSLError | ValueError)
            else f"cannot be read: {mistake.strerror}"
        )
        raise SettingError(
            f"the environment variable {variable} names a client certificate that {why}; have it "
            f"name a file with both"
        ) from None
    return path


def check_fixed_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers. Raise ValueError for an invalid or reserved one, or a credential."""
    _check_names(headers, allowed={"accept"})
    for name, value in headers.items():
        if name.lower() in {"authorization", "cookie"}:
            raise ValueError(
                f"{name} is secret; put its value into an environment variable, and name that in "
                f"headers_env"
            )
        if CONTROL.search(value.encode()):
            raise ValueError(f"{name} has a line break or another control character in its value")
    return headers


def headers_from_env(variables: Mapping[str, str]) -> Mapping[str, bytes]:
    """Return the headers with their values from these environment variables."""
    return {name: _header_from_env(variable, "headers_env") for name, variable in variables.items()}


def check_headers(variables: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables. Raise ValueError for an invalid or reserved header or variable."""
    _check_names(variables)
    for variable in variables.values():
        check_variable(variable)
    return variables


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
