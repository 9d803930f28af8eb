"""A feed's bytes may be read while they arrive, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from feed_assets.errors import Truncated
from feed_assets.ndjson import read
from feed_assets.source import Arriving, Source, nameless

ROWS = b"".join(b'{"n":%d,"text":"%d"}\n' % (number, number) for number in range(300_000))


@pytest.mark.parametrize("chunk", [999, 1 << 20])
def test_what_is_read_while_it_arrives_is_what_was_sent(chunk: int) -> None:
    with nameless() as file:
        arriving = Arriving(file)

        def send() -> None:
            for start in range(0, len(ROWS), chunk):
                arriving.write(ROWS[start : start + chunk])
            arriving.end()

        sender = threading.Thread(target=send)
        sender.start()
        found = read(arriving)
        sender.join()
        whole = read(Source(file))
    assert found.rows == 300_000
    assert found.bytes == len(ROWS)
    assert found.table.equals(whole.table)


def test_a_feed_that_breaks_off_is_never_read_as_whole() -> None:
    with nameless() as file:
        arriving = Arriving(file)
        arriving.write(ROWS[: ROWS.index(b"\n") + 1])  # whole lines, as it happens
        arriving.end(Truncated("broke off", url=""))
        with pytest.raises(Truncated, match="broke off"):
            read(arriving)


def test_the_first_bad_line_is_told_before_the_rest_has_arrived() -> None:
    with nameless() as file:
        arriving = Arriving(file)
        arriving.write(b"<html>" + bytes(1 << 20))
        with pytest.raises(Exception, match="is an HTML or XML page"):
            read(arriving)


@pytest.mark.parametrize("ends", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_killed_leaves_no_file(tmp_path: Path, ends: signal.Signals) -> None:
    program = """
from feed_assets.ndjson import read
from feed_assets.source import Arriving, nameless
SENT = b'{"n":1}\\n' * (2 << 20)
class Stalled(Arriving):
    def reach(self, wanted):
        if wanted > len(SENT):
            print("waits", flush=True)
        return super().reach(wanted)
with nameless() as file:
    stalled = Stalled(file)
    stalled.write(SENT)
    read(stalled)
"""
    running = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    with running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"waits\n"
        assert list(tmp_path.iterdir()) == []  # nobody else can open it, not even while it is there
        running.send_signal(ends)
    assert list(tmp_path.iterdir()) == []
