"""Access tokens by OAuth 2.0 client credentials (RFC 6749, 4.4), for all days of a run."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

import requests

from feed_assets.config.auth import OAuth2
from feed_assets.download.headers import printable
from feed_assets.errors import AccessRefused, RequestRefused, ServerFailed
from feed_assets.urls import Url

_LARGEST = 1 << 20  # bytes of an answer
_EARLY = 60.0
"""Seconds before its end at which a token is replaced, at most a tenth of its life."""
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,65536}")  # RFC 6750, 2.1
_CODE = re.compile(r"[a-z_]{1,40}")
_BUSY = {408, 425, 429}

Post = Callable[[Url, dict[str, bytes], bytes], requests.Response]
"""Sends a POST: URL, headers, body."""


class AccessTokens:
    """The current token of a feed. Threads share it."""

    def __init__(self, oauth2: OAuth2) -> None:
        self._oauth2, self._lock = oauth2, threading.Lock()
        self._token, self._replace_at = "", 0.0

    def current(self, post: Post) -> str:
        """Return a token that is valid, requesting one if needed.

        Raises SettingError, and AccessRefused, ServerFailed or RequestRefused with the token
        endpoint's URL.
        """
        with self._lock:
            if not self._token or time.monotonic() >= self._replace_at:
                self._request(post)
            return self._token

    def discard(self, token: str) -> None:
        """Forget a token that the feed's server refused."""
        with self._lock:
            if self._token == token:
                self._token = ""

    def _request(self, post: Post) -> None:
        url, (headers, fields) = Url.parse(self._oauth2.token_url), self._oauth2.request()
        body = "&".join(f"{quote_plus(name)}={quote_plus(text)}" for name, text in fields.items())
        begun = time.monotonic()
        with post(url, headers, body.encode()) as response:
            answer = self._answer(url, response)
        token, kind = answer.get("access_token"), answer.get("token_type", "bearer")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise _no_token(url, "has no access_token")
        if str(kind).lower() != "bearer":
            raise _no_token(url, "has a token_type that is not bearer")
        life = answer.get("expires_in")
        if not isinstance(life, int | float) or life <= 0:
            life = float("inf")
        self._replace_at = begun + life - min(_EARLY, life / 10)
        self._oauth2.issued(token)
        self._token = token

    def _answer(self, url: Url, response: requests.Response) -> dict[str, Any]:
        status = response.status_code
        text = response.raw.read(_LARGEST, decode_content=True)
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            answer = None
        answer = answer if isinstance(answer, dict) else {}
        answered = f"{url} answered {status} {printable(response.reason)}".rstrip()
        if status in _BUSY or status >= 500:
            raise ServerFailed(
                f"{answered} to the request for a token", url=str(url), status=status
            )
        if status in {400, 401, 403}:
            code = answer.get("error")
            why = f" ({code})" if isinstance(code, str) and _CODE.fullmatch(code) else ""
            variables = " and ".join(self._oauth2.variables)
            raise AccessRefused(
                f"{answered}{why} to the request for a token; check what the environment has in "
                f"{variables}",
                url=str(url),
                status=401,  # like a wrong password, it concerns every day
            )
        if status != 200:
            raise RequestRefused(
                f"{answered} to the request for a token; check token_url of the feed's oauth2",
                url=str(url),
                status=status,
            )
        return answer


def _no_token(url: Url, why: str) -> RequestRefused:
    return RequestRefused(
        f"the answer of {url} {why}; check token_url of the feed's oauth2", url=str(url)
    )
