"""Secrets that a server sends back are hidden, however it has encoded them."""

from __future__ import annotations

import base64
import html
import json
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed_assets.config.feed import Feed
from feed_assets.errors import LINE_START, BadLine, BadLines, full_text
from feed_assets.masking import MaskedLog, SecretMask, secret_mask

FORMS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "percent": quote,
    "percent, all": lambda text: quote(text, safe=""),
    "percent, lower case": lambda text: (
        quote(text, safe="").replace("%C3%A4", "%c3%a4").lower()
        if text.islower()
        else quote(text, safe="")
    ),
    "percent, each byte": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "form": quote_plus,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON, not ASCII": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON, slashes too": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "HTML": html.escape,
    "HTML, numbers": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "Latin-1": lambda text: text.encode().decode("latin-1"),
    "Python": lambda text: repr(text)[1:-1],
    "Python, bytes": lambda text: repr(text.encode())[2:-1],
    "base64": lambda text: base64.b64encode(text.encode()).decode().rstrip("="),
    "base64 in a URL": lambda text: quote(base64.b64encode(text.encode()).decode().rstrip("=")),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
}
SECRETS = ["hunter2", "pässwörd-hunter2", "a b+c/d&e<f>\"g'h\\i%j=", "€🔑key", "x" * 3000]


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: ascii(secret[:20]))
@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_masked_however_it_is_encoded(form: str, secret: str) -> None:
    encoded = FORMS[form](secret)
    assert SecretMask([secret])(f"503 not {encoded}, go away") == "503 not ***, go away"


@given(st.text(min_size=4, max_size=30), st.sampled_from(sorted(FORMS)))
def test_any_secret_is_masked_in_any_encoding(secret: str, form: str) -> None:
    encoded = FORMS[form](secret)
    masked = SecretMask([secret])(f"[{encoded}]")
    assert masked == "[***]" or encoded not in masked[1:-1].split("***")


@pytest.mark.parametrize("at", range(8, 60, 7))
def test_the_start_of_a_secret_is_masked_where_a_line_is_cut_off(at: int) -> None:
    secret = "token-hunter3-" + "0123456789" * 10
    text = f'{{"echo": "{"x" * (LINE_START - 10 - at)}{secret}"}}'
    failure = BadLines(BadLine(7, "is not a JSON object", text), allowed=3)
    assert secret[:at] in full_text(failure.sentence)

    failure.mask = SecretMask([secret], quote_rows=True)

    assert secret[:8] not in str(failure)
    assert "***… (max_bad_lines is 3" in str(failure)


def test_text_that_only_begins_like_a_secret_is_not_masked() -> None:
    mask = SecretMask(["feed_assets-hunter2"])
    assert mask("feed_assets cannot reach it") == "feed_assets cannot reach it"


def feed(**attributes: Any) -> Feed:
    url = attributes.pop("url", "https://example.com/feed.ndjson")
    return Feed(**{"name": "crm_orders", "dataset": "crm", "url": url, **attributes})


BASIC = {"basic_auth": {"username_env": "CRM_USER", "password_env": "CRM_PASSWORD"}}


@pytest.mark.parametrize(
    ("environment", "attributes", "text", "masked"),
    [
        ({"CRM_USER": "crm", "CRM_PASSWORD": "abcd"}, BASIC, "crm.t: abcd", "crm.t: ***"),
        ({"CRM_USER": "crm", "CRM_PASSWORD": "abc"}, BASIC, "crm abc", "crm abc"),
        ({"CRM_USER": "crm", "CRM_PASSWORD": "abc"}, BASIC, "Y3JtOmFiYw==", "***=="),
        ({"CRM_USER": "crm", "CRM_PASSWORD": "abc"}, BASIC, "crm:abc", "***"),
        ({"CRM_USER": "wilma-the-user"}, BASIC, "no wilma-the-user", "no ***"),
        ({"CRM_USER": "crm_orders"}, BASIC, "crm_orders: 3 rows", "crm_orders: 3 rows"),
        ({}, BASIC, "as it is", "as it is"),
        ({"T": "hunter3"}, {"bearer_auth": {"token_env": "T"}}, "Bearer hunter3", "Bearer ***"),
        ({"T": "Token hunter3"}, {"headers_env": {"A": "T"}}, "no hunter3", "no ***"),
        ({}, {"url": "https://e.com/f?api_key=abcd"}, "no abcd", "no ***"),
        ({}, {"url": "https://e.com/f?api_key=a%20b%C3%A4"}, "no 'a bä'", "no '***'"),
        ({}, {"url": "https://e.com/f?shop=open"}, "cannot be opened", "cannot be opened"),
        ({}, {"url": "https://e.com/f?shop=0123456789"}, "no 0123456789", "no ***"),
        ({}, {"url": "https://e.com/f?table=crm_orders"}, "crm_orders", "crm_orders"),
        ({}, {"url": "https://e.com/f?date=20200120"}, "of 20200120", "of 20200120"),
    ],
)
def test_a_feeds_credentials_are_secrets_and_plain_words_are_not(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    attributes: dict[str, Any],
    text: str,
    masked: str,
) -> None:
    for name in ("CRM_USER", "CRM_PASSWORD", "T"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert secret_mask(feed(**attributes))(text) == masked


def test_texts_are_masked_inside_lists_and_objects() -> None:
    mask = SecretMask(["hunter2"])
    value = {"a hunter2": ["hunter2", 2, None, {"b": ("hunter2", True)}]}
    assert mask.values(value) == {"a ***": ["***", 2, None, {"b": ["***", True]}]}


def test_a_log_is_masked(caplog: pytest.LogCaptureFixture) -> None:
    MaskedLog(logging.getLogger("feed_assets"), SecretMask(["hunter2"])).warning("no hunter2")
    assert caplog.messages == ["no ***"]


def test_a_mask_does_not_show_its_secrets() -> None:
    assert "hunter2" not in repr(SecretMask(["hunter2"]))
