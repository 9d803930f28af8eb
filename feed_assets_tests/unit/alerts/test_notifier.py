"""Sending alerts to a real webhook and a real mail server."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Sequence

import pytest

from feed_assets.alerts import notifier
from feed_assets.alerts.config import Alerts
from feed_assets.alerts.messages import Message
from feed_assets.alerts.notifier import Address, SendResult, addresses, send
from feed_assets.errors import SettingError
from feed_assets_tests.support.servers.receivers import mail_server, webhook

VARIABLE = "ALERTS"
MESSAGE = Message(
    "crm_orders: import failed", "line 2 is <not> *JSON*\n\nRun: http://x/1", "failure"
)
SECRET = "hunter2"


def send_results(
    to: Sequence[Address], *messages: Message, seconds: float = 60
) -> dict[str, SendResult]:
    numbered = list(enumerate(messages))
    return dict(send(to, {address.label: numbered for address in to}, seconds))


def test_a_webhook_and_a_mailbox_get_the_same_text(monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook() as hook, mail_server() as mailbox:
        monkeypatch.setenv(VARIABLE, f"{hook.url}\n  {mailbox.url}")
        assert send_results(addresses(VARIABLE), MESSAGE) == {
            "json": SendResult(done=[0]),
            "mailto": SendResult(done=[0]),
        }
    (posted,), (mail,) = hook.received, mailbox.received
    assert (posted["title"], posted["message"]) == (MESSAGE.title, MESSAGE.body)
    assert posted["type"] == "failure"
    assert (mail["Subject"], mail["To"]) == (MESSAGE.title, "oncall@example.com")
    assert mail.get_content().replace("\r\n", "\n").strip() == MESSAGE.body


def test_without_apprise_definitions_load_and_a_tick_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    monkeypatch.setenv(VARIABLE, "json://127.0.0.1")
    Alerts(urls_env=VARIABLE)
    with pytest.raises(SettingError, match=r"pip install .feed_assets\[alerts\]., or"):
        addresses(VARIABLE)


def test_an_address_that_fails_does_not_affect_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with webhook() as working, webhook() as broken, socket.create_server(("127.0.0.1", 0)) as mute:
        broken.status = 403
        silent = f"json://127.0.0.1:{mute.getsockname()[1]}/{SECRET}?rto=0.2"
        gone = f"json://127.0.0.1:1/{SECRET}"
        monkeypatch.setenv(VARIABLE, f"{broken.url} {silent} {gone} {working.url}")
        results = send_results(addresses(VARIABLE), MESSAGE)
    assert results == {
        "json": SendResult(failed={0: "it answered 403"}),
        "json 2": SendResult(failed={0: "it is not reachable, or refused the message"}),
        "json 3": SendResult(failed={0: "it is not reachable, or refused the message"}),
        "json 4": SendResult(done=[0]),
    }
    assert working.titles == [MESSAGE.title]


def test_sending_stops_waiting_for_a_service_after_the_time_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with webhook() as hook, socket.create_server(("127.0.0.1", 0)) as mute:
        silent = f"json://127.0.0.1:{mute.getsockname()[1]}/?rto=3"
        monkeypatch.setenv(VARIABLE, f"{silent} {hook.url}")
        to = addresses(VARIABLE)
        results = send_results(to, MESSAGE, seconds=1)
    assert results["json"] == SendResult(failed={0: "timeout"})
    assert results["json 2"] == SendResult(done=[0])


def test_an_exception_of_a_service_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    import apprise

    def raises(*args: object, **kwargs: object) -> bool:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(apprise.Apprise, "notify", raises)
    monkeypatch.setenv(VARIABLE, f"json://127.0.0.1/{SECRET}")
    assert send_results(addresses(VARIABLE), MESSAGE) == {
        "json": SendResult(failed={0: "Apprise raised RuntimeError"})
    }


def test_an_address_that_refuses_three_messages_gets_no_more_in_this_tick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with webhook() as hook:
        hook.status = 500
        monkeypatch.setenv(VARIABLE, hook.url)
        results = send_results(addresses(VARIABLE), *[MESSAGE] * 9)
    assert list(results["json"].failed) == [0, 1, 2]
    assert hook.refused == notifier.MAX_REFUSALS


@pytest.mark.parametrize(
    ("urls", "says"),
    [
        (
            f"slak://{SECRET}/b",
            r"holds a URL that Apprise does not recognize \(it begins with slak://",
        ),
        (f"json://localhost {SECRET}", r"holds URL 2 of 2 that .* \(it has no scheme\)"),
        (f"slack://{SECRET}", "a URL that Apprise does not recognize"),
    ],
)
def test_an_unknown_url_is_refused_without_showing_it(
    urls: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, urls)
    with pytest.raises(SettingError, match=says) as refused:
        addresses(VARIABLE)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("urls", [None, "", " \n"])
def test_without_urls_there_are_no_addresses(
    urls: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if urls is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, urls)
    assert addresses(VARIABLE) == ()


def test_no_log_shows_a_url(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    logging.getLogger("apprise").setLevel(1)
    with webhook() as hook:
        monkeypatch.setenv(VARIABLE, f"{hook.url} json://127.0.0.1:1/{SECRET}")
        to = addresses(VARIABLE)
        for hook.status in (200, 403):
            send_results(to, MESSAGE)
        monkeypatch.setenv(VARIABLE, f"slack://{SECRET}")
        with pytest.raises(SettingError):
            addresses(VARIABLE)
    assert SECRET not in caplog.text
    assert SECRET not in repr(to)
