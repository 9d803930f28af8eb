"""Send messages through Apprise, without ever logging their URLs."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.util import find_spec
from threading import Thread
from typing import Any

from feed_assets.alerts.messages import Message
from feed_assets.errors import SettingError

SCHEME = re.compile(r"([A-Za-z0-9]{1,20})://")
STATUS = re.compile(r"error=(\d{3})\b")
MAX_REFUSALS = 3
"""Consecutive refusals after which an address gets no more messages in this tick."""


@dataclass(frozen=True)
class Address:
    """Destination of alerts. `label` is safe to log: the URL's scheme, numbered if not unique."""

    label: str
    service: Any = field(repr=False)


@dataclass
class SendResult:
    """The positions of messages that one address received, and the errors of the others."""

    done: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)


def is_installed() -> bool:
    """Return whether Apprise is installed; an image that only runs imports can leave it out."""
    return find_spec("apprise") is not None


def addresses(variable: str) -> Sequence[Address]:
    """Return the addresses in an environment variable of Apprise URLs; none if it is not set.

    Raises SettingError for a URL that Apprise does not recognize, or if Apprise is missing.
    """
    urls = os.environ.get(variable, "").split()
    if not urls:
        return ()
    if not is_installed():
        raise SettingError(
            f"alerts go through the package apprise, which is not installed here; run "
            f"pip install 'feed_assets[alerts]', or remove {variable} from the environment"
        )
    import apprise  # here, because it takes a third of a second

    _silence_logs()
    found: list[Address] = []
    seen: dict[str, int] = {}
    for number, url in enumerate(urls, 1):
        scheme = SCHEME.match(url)
        name = scheme[1].lower() if scheme else ""
        token = _statuses.set([])
        try:
            service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        # Parsers of some hundred services raise anything, and their errors quote the secret URL
        except Exception:  # noqa: BLE001  (refused below, without its text)
            service = None
        finally:
            _statuses.reset(token)
        if service is None:
            which = f"URL {number} of {len(urls)}" if len(urls) > 1 else "a URL"
            begins = f" (it begins with {name}://)" if name else " (it has no scheme)"
            raise SettingError(
                f"the environment variable {variable} holds {which} that Apprise does not "
                f"recognize{begins}; see https://github.com/caronc/apprise/wiki for the formats"
            )
        seen[name] = seen.get(name, 0) + 1
        found.append(Address(name if seen[name] == 1 else f"{name} {seen[name]}", service))
    return found


def send(
    to: Sequence[Address], messages: Mapping[str, Sequence[tuple[int, Message]]], seconds: float
) -> Mapping[str, SendResult]:
    """Send messages, given by label of the address with their positions, to all addresses at once.

    Messages not sent within `seconds` count as failed. Raises nothing.
    """
    results = {address.label: SendResult() for address in to}
    deadline = time.monotonic() + seconds
    threads = [
        Thread(
            target=_send_all,
            args=(address, messages.get(address.label, ()), results[address.label], deadline),
            name=f"alerts to {address.label}",
            daemon=True,
        )
        for address in to
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    # Copies, because threads past the deadline may still write
    return {
        label: SendResult(list(each.done), dict(each.failed)) for label, each in results.items()
    }


def _send_all(
    address: Address, messages: Sequence[tuple[int, Message]], result: SendResult, deadline: float
) -> None:
    refused = 0
    for place, message in messages:
        if refused == MAX_REFUSALS or time.monotonic() > deadline:
            return
        result.failed[place] = "timeout"  # until it is sent
        why = _send(address, message)
        if why is None:
            result.done.append(place)
            del result.failed[place]
            refused = 0
        else:
            result.failed[place] = why
            refused += 1


def _send(address: Address, message: Message) -> str | None:
    """Return None, or the reason for a failure. Apprise's own messages may contain the URL."""
    import apprise

    one = apprise.Apprise()
    one.add(address.service)
    statuses: list[str] = []
    _statuses.set(statuses)
    try:
        done = one.notify(
            title=message.title,
            body=message.body,
            notify_type=apprise.NotifyType(message.kind),
            body_format=apprise.NotifyFormat.TEXT,
        )
    except Exception as failure:  # noqa: BLE001  (services raise anything)
        return f"Apprise raised {type(failure).__name__}"
    if done:
        return None
    return (
        f"it answered {statuses[-1]}" if statuses else "it is not reachable, or refused the message"
    )


_statuses: ContextVar[list[str] | None] = ContextVar("statuses", default=None)
"""HTTP statuses in Apprise's log while a message is sent. Apprise copies the context."""


def _silence_logs() -> None:
    """Drop the log records of our use of Apprise and, below it, urllib3: they contain URLs."""
    for name in ("apprise", "urllib3.connectionpool"):
        logging.getLogger(name).addFilter(_record_status)  # added once, even if repeated


def _record_status(record: logging.LogRecord) -> bool:
    statuses = _statuses.get()
    if statuses is not None and (answered := STATUS.search(record.getMessage())):
        statuses.append(answered[1])
    return statuses is None
