"""Mask a feed's secrets in every text that leaves an import or a preview.

A server may echo them: in a status line, a redirect, a bad line, a key. The mask also decides
whether a text may quote rows.
"""

from __future__ import annotations

import json
import logging
import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from html import escape
from typing import Any
from urllib.parse import quote_plus

from feed_assets.config.feed import Feed
from feed_assets.errors import FeedAssetsError, full_text

MASK = "***"
SHORTEST = 4
"""Characters of the shortest masked secret; a shorter one is a part of too many words."""
SHORTEST_WORD = 8
"""The same for possible words: user names, and parameters not named like a secret."""
SHORTEST_PART = 8
"""Characters of the shortest masked prefix of a secret, at the end of a cut text."""
LIKE_A_SECRET = re.compile("key|token|secret|pass|pwd|auth|sig|credential", re.IGNORECASE)
_CUT = re.compile(r"…|\.\.\.|[\"'`)\]}>]|\Z")


def secret_mask(feed: Feed, *, quote_rows: bool = False) -> SecretMask:
    """Build the mask for a feed's secrets, with their values from the environment.

    Texts quote rows with `quote_rows`, of the feed or given.

    A password is always masked. A user name, or a URL parameter not named like a secret, is masked
    only if it is long and not a part of the feed's name, table or redacted URL: `crm` or `orders`
    would match in every message.
    """
    secrets, words = list[str](), list[str]()
    if feed.basic_auth:
        username, password = map(_from_env, feed.basic_auth.model_dump().values())
        words.append(username)
        secrets += [password, f"{username}:{password}" if password else ""]
    if feed.bearer_auth:
        secrets.append(_from_env(feed.bearer_auth.token_env))
    if feed.oauth2:
        client_id, secret = map(_from_env, feed.oauth2.variables)
        words.append(client_id)
        secrets += [secret, f"{quote_plus(client_id)}:{quote_plus(secret)}" if secret else ""]
    if feed.sftp and feed.sftp.username_env:
        words.append(_from_env(feed.sftp.username_env))
        secrets += map(_from_env, feed.sftp.variables[1:])
    secrets += map(_from_env, feed.query_env.values())
    if feed.columns and feed.columns.hash_key_env:
        secrets.append(_from_env(feed.columns.hash_key_env).strip())
    for value in map(_from_env, feed.headers_env.values()):
        secrets += [value, value.partition(" ")[2]]  # which may follow a scheme: Bearer, Token
    secrets += [value for name, value in feed.headers.items() if LIKE_A_SECRET.search(name)]
    for name, value in feed.address.parameters:
        (secrets if LIKE_A_SECRET.search(name) else words).append(value)
    shown = f"{feed.name} {feed.destination} {feed.address}"
    long = [word for word in words if len(word) >= SHORTEST_WORD and word not in shown]
    oauth2 = feed.oauth2
    return SecretMask(
        [*secrets, *long],
        (lambda: oauth2.tokens) if oauth2 else tuple,
        quote_rows=quote_rows or feed.quote_rows,
    )


def _from_env(variable: str) -> str:
    return os.environ.get(variable, "")


class SecretMask:
    """Masks secrets in texts, plain or encoded: percent, JSON, HTML, base64, Latin-1."""

    def __init__(
        self,
        secrets: Iterable[str] = (),
        later: Callable[[], Iterable[str]] = tuple,
        *,
        quote_rows: bool = False,
    ) -> None:
        """Ignore secrets of fewer than SHORTEST characters. `later` returns those known later."""
        self._later, self._known_later = later, dict[str, SecretMask]()
        self._quote_rows = quote_rows
        found = {form for secret in secrets if len(secret) >= SHORTEST for form in _forms(secret)}
        self._secrets = [_Secret(form) for form in sorted(found, key=len, reverse=True)]

    def __repr__(self) -> str:
        return f"SecretMask({len(self._secrets)} forms)"

    def __call__(self, text: str) -> str:
        """Mask a text; of a redacted one, the full text if rows may be quoted."""
        text = full_text(text) if self._quote_rows else str(text)
        for secret in self._secrets:
            text = secret.masked(text)
        for token in self._later():
            if token not in self._known_later:
                self._known_later[token] = SecretMask([token])
            text = self._known_later[token](text)
        return text

    def quotes(self, values: Sequence[str]) -> Sequence[str]:
        """Mask values of rows. None are left unless rows may be quoted."""
        return [self(each) for each in values] if self._quote_rows else ()

    def values(self, value: Any) -> Any:
        """Mask all texts in a JSON value, keys included."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, Mapping):
            return {self.values(key): self.values(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.values(each) for each in value]
        return value

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Mask the messages of errors raised in the block."""
        try:
            yield
        except FeedAssetsError as failure:
            failure.mask = self
            raise


class MaskedLog(logging.LoggerAdapter[logging.Logger]):
    """A log whose lines are masked."""

    def __init__(self, log: logging.Logger, mask: SecretMask) -> None:
        super().__init__(log)
        self._mask = mask

    def process(self, msg: Any, kwargs: Any) -> tuple[str, Any]:
        return self._mask(msg if isinstance(msg, str) else str(msg)), kwargs


class _Secret:
    """One form of a secret, with any escaping of its characters."""

    def __init__(self, secret: str) -> None:
        self._characters = [_character(char) for char in secret]
        head = secret if len(secret) < SHORTEST_PART else secret[:SHORTEST_PART]
        self._head = re.compile("".join(map(_escaped, head)))
        self._headed = len(head)

    def masked(self, text: str) -> str:
        shown, at = list[str](), 0
        while found := self._head.search(text, at):
            end, whole = found.end(), True
            for character in self._characters[self._headed :]:
                if (more := character.match(text, end)) is None:
                    whole = False
                    break
                end = more.end()
            if whole or _CUT.match(text, end):
                shown += [text[at : found.start()], MASK]
                at = end
            else:
                shown.append(text[at : found.start() + 1])
                at = found.start() + 1
        return "".join(shown) + text[at:] if shown else text


def _forms(secret: str) -> Iterator[str]:
    yield secret
    data = secret.encode()
    for encoded in (b64encode(data), b64encode(data, b"-_")):
        yield encoded.decode().rstrip("=")


@lru_cache(1024)
def _character(char: str) -> re.Pattern[str]:
    return re.compile(_escaped(char))


@lru_cache(1024)
def _escaped(char: str) -> str:
    """Return the pattern of a character: plain, or escaped as in URLs, JSON, HTML or mojibake."""
    data, code = char.encode(errors="surrogatepass"), ord(char)
    units = char.encode("utf-16-be", "surrogatepass").hex()
    ways = {
        re.escape(char),
        re.escape(escape(char)),
        re.escape(json.dumps(char)[1:-1]),
        rf"\\{re.escape(char)}",
        "(?i:{})".format("".join(f"%{byte:02x}" for byte in data)),
        "(?i:{})".format("".join(rf"\\x{byte:02x}" for byte in data)),
        "(?i:{})".format("".join(rf"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))),
        rf"(?i:\\U{code:08x})",
        f"&#0*{code};",
        f"(?i:&#x0*{code:x};)",
    }
    if char == " ":
        ways.add(r"\+")
    if not char.isascii():
        ways |= {re.escape(data.decode("latin-1")), "\ufffd+"}
        if code < 256:
            ways |= {f"(?i:%{code:02x})", rf"(?i:\\x{code:02x})"}
    return f"(?:{'|'.join(sorted(ways, key=len, reverse=True))})"
