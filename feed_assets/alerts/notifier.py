"""Sends messages through Apprise, and lets no URL of theirs be seen."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

from feed_assets.alerts.messages import Message
from feed_assets.errors import SettingError

SCHEME = re.compile(r"([A-Za-z0-9]{1,20})://")
ANSWERED = re.compile(r"error=(\d{3})\b")
TRIES = 3
"""Messages an address may refuse in a row before the others wait until the next time."""


@dataclass(frozen=True)
class Address:
    """Where alerts go. `label` is fit to be shown: the URL's scheme, numbered if it has several."""

    label: str
    service: Any = field(repr=False)


@dataclass
class Sent:
    """What became of messages sent to one address: their places, and why the others were not."""

    done: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)


def addresses(variable: str) -> Sequence[Address]:
    """Those whose Apprise URLs an environment variable holds; none where it is not set.

    Raises SettingError for a URL that Apprise does not know.
    """
    urls = os.environ.get(variable, "").split()
    if not urls:
        return ()
    import apprise  # late, as it takes a third of a second

    _keep_quiet()
    found: list[Address] = []
    seen: dict[str, int] = {}
    for number, url in enumerate(urls, 1):
        scheme = SCHEME.match(url)
        name = scheme[1].lower() if scheme else ""
        try:
            service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        except Exception:  # noqa: BLE001  (a parser may raise anything, and what it says has the URL)
            service = None
        if service is None:
            which = f"URL {number} of {len(urls)}" if len(urls) > 1 else "a URL"
            begins = f" (it begins with {name}://)" if name else " (it has no scheme)"
            raise SettingError(
                f"the environment variable {variable} holds {which} that Apprise does not "
                f"know{begins}; see https://github.com/caronc/apprise/wiki for what to write"
            )
        seen[name] = seen.get(name, 0) + 1
        found.append(Address(name if seen[name] == 1 else f"{name} {seen[name]}", service))
    return found


def send(
    to: Sequence[Address], messages: Mapping[str, Sequence[tuple[int, Message]]], seconds: float
) -> Mapping[str, Sent]:
    """Sends to each address, by its label, its messages, which are known by their places.

    All addresses at once, so that none waits for another; what is not done after `seconds` counts
    as not sent. Raises nothing.
    """
    sent = {address.label: Sent() for address in to}
    deadline = time.monotonic() + seconds
    threads = [
        Thread(
            target=_send_all,
            args=(address, messages.get(address.label, ()), sent[address.label], deadline),
            name=f"alerts to {address.label}",
            daemon=True,
        )
        for address in to
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    # A thread that goes on is not waited for, and what it does from now on is not looked at
    return {label: Sent(list(each.done), dict(each.failed)) for label, each in sent.items()}


def _send_all(
    address: Address, messages: Sequence[tuple[int, Message]], sent: Sent, deadline: float
) -> None:
    refused = 0
    for place, message in messages:
        if refused == TRIES or time.monotonic() > deadline:
            return
        sent.failed[place] = "it took too long"  # unless it is heard of in time
        why = _send(address, message)
        if why is None:
            sent.done.append(place)
            del sent.failed[place]
            refused = 0
        else:
            sent.failed[place] = why
            refused += 1


def _send(address: Address, message: Message) -> str | None:
    """None, or why it could not be sent. What Apprise itself says of that can hold the URL."""
    import apprise

    one = apprise.Apprise()
    one.add(address.service)
    heard: list[str] = []
    _heard.set(heard)
    try:
        done = one.notify(
            title=message.title,
            body=message.body,
            notify_type=apprise.NotifyType(message.kind),
            body_format=apprise.NotifyFormat.TEXT,
        )
    except Exception as failure:  # noqa: BLE001 - a service of Apprise may raise anything
        return f"Apprise raised {type(failure).__name__}"
    if done:
        return None
    return f"it answered {heard[-1]}" if heard else "it was not reached, or refused it"


_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)
"""The HTTP statuses that Apprise told its log while a message was sent; it copies the context."""


def _keep_quiet() -> None:
    """Apprise logs URLs, and urllib3 (when it debugs) their paths: from here that goes nowhere."""
    for name in ("apprise", "urllib3.connectionpool"):
        logging.getLogger(name).addFilter(_is_heard)  # once only, however often it is added


def _is_heard(record: logging.LogRecord) -> bool:
    heard = _heard.get()
    if heard is not None and (answered := ANSWERED.search(record.getMessage())):
        heard.append(answered[1])
    return heard is None and record.name != "apprise"
