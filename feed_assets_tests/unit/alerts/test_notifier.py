"""Alerts are sent, and received: by a real webhook and a real mail server."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence

import pytest

from feed_assets.alerts import notifier
from feed_assets.alerts.messages import Message
from feed_assets.alerts.notifier import Address, Sent, addresses, send
from feed_assets.errors import SettingError
from feed_assets_tests.support.servers.receivers import mail_server, webhook

VARIABLE = "ALERTS"
MESSAGE = Message(
    "crm_orders: import failed", "line 2 is <not> *JSON*\n\nRun: http://x/1", "failure"
)
SECRET = "hunter2"


def sent(to: Sequence[Address], *messages: Message, seconds: float = 60) -> dict[str, Sent]:
    numbered = list(enumerate(messages))
    return dict(send(to, {address.label: numbered for address in to}, seconds))


def test_a_chat_and_a_mailbox_get_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook() as hook, mail_server() as mailbox:
        monkeypatch.setenv(VARIABLE, f"{hook.url}\n  {mailbox.url}")
        assert sent(addresses(VARIABLE), MESSAGE) == {
            "json": Sent(done=[0]),
            "mailto": Sent(done=[0]),
        }
    (posted,), (mail,) = hook.received, mailbox.received
    assert (posted["title"], posted["message"]) == (MESSAGE.title, MESSAGE.body)
    assert posted["type"] == "failure"
    assert (mail["Subject"], mail["To"]) == (MESSAGE.title, "oncall@example.com")
    assert mail.get_content().replace("\r\n", "\n").strip() == MESSAGE.body


def test_who_cannot_be_reached_keeps_nobody_else_from_being_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with webhook() as well, webhook() as ill, socket.create_server(("127.0.0.1", 0)) as mute:
        ill.status = 403
        silent = f"json://127.0.0.1:{mute.getsockname()[1]}/{SECRET}?rto=0.2"
        gone = f"json://127.0.0.1:1/{SECRET}"
        monkeypatch.setenv(VARIABLE, f"{ill.url} {silent} {gone} {well.url}")
        became = sent(addresses(VARIABLE), MESSAGE)
    assert became == {
        "json": Sent(failed={0: "it answered 403"}),
        "json 2": Sent(failed={0: "it was not reached, or refused it"}),
        "json 3": Sent(failed={0: "it was not reached, or refused it"}),
        "json 4": Sent(done=[0]),
    }
    assert well.titles == [MESSAGE.title]


def test_a_service_that_does_not_come_back_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with webhook() as hook, socket.create_server(("127.0.0.1", 0)) as mute:
        silent = f"json://127.0.0.1:{mute.getsockname()[1]}/?rto=3"
        monkeypatch.setenv(VARIABLE, f"{silent} {hook.url}")
        to = addresses(VARIABLE)
        became = sent(to, MESSAGE, seconds=1)
    assert became["json"] == Sent(failed={0: "it took too long"})
    assert became["json 2"] == Sent(done=[0])


def test_a_service_that_raises_is_a_service_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    import apprise

    def raises(*args: object, **kwargs: object) -> bool:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(apprise.Apprise, "notify", raises)
    monkeypatch.setenv(VARIABLE, f"json://127.0.0.1/{SECRET}")
    assert sent(addresses(VARIABLE), MESSAGE) == {
        "json": Sent(failed={0: "Apprise raised RuntimeError"})
    }


def test_an_address_that_refuses_three_is_left_alone_until_the_next_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with webhook() as hook:
        hook.status = 500
        monkeypatch.setenv(VARIABLE, hook.url)
        became = sent(addresses(VARIABLE), *[MESSAGE] * 9)
    assert list(became["json"].failed) == [0, 1, 2]
    assert hook.refused == notifier.TRIES


@pytest.mark.parametrize(
    ("urls", "says"),
    [
        (f"slak://{SECRET}/b", r"holds a URL that Apprise does not know \(it begins with slak://"),
        (f"json://localhost {SECRET}", r"holds URL 2 of 2 that .* \(it has no scheme\)"),
        (f"slack://{SECRET}", "a URL that Apprise does not know"),
    ],
)
def test_a_url_that_apprise_does_not_know_is_refused_without_showing_it(
    urls: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, urls)
    with pytest.raises(SettingError, match=says) as refused:
        addresses(VARIABLE)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("urls", [None, "", " \n"])
def test_without_urls_there_is_nobody_to_tell(
    urls: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if urls is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, urls)
    assert addresses(VARIABLE) == ()


def test_no_log_shows_a_url_whatever_happens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    logging.getLogger("apprise").setLevel(1)
    with webhook() as hook:
        monkeypatch.setenv(VARIABLE, f"{hook.url} json://127.0.0.1:1/{SECRET}")
        to = addresses(VARIABLE)
        for hook.status in (200, 403):
            sent(to, MESSAGE)
        monkeypatch.setenv(VARIABLE, f"slack://{SECRET}")
        with pytest.raises(SettingError):
            addresses(VARIABLE)
    assert SECRET not in caplog.text
    assert SECRET not in repr(to)
