"""A feed's bytes may be read while they arrive, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from feed_assets.byte_source import ByteSource, GrowingByteSource, unnamed_temp_file
from feed_assets.errors import Truncated
from feed_assets.ndjson import read


@pytest.fixture(scope="module")
def rows() -> bytes:
    return b"".join(b'{"n":%d,"text":"%d"}\n' % (number, number) for number in range(300_000))


@pytest.mark.parametrize("chunk", [999, 1 << 20])
def test_the_bytes_read_while_a_body_arrives_are_its_bytes(chunk: int, rows: bytes) -> None:
    with unnamed_temp_file() as file:
        arriving = GrowingByteSource(file)

        def send() -> None:
            for start in range(0, len(rows), chunk):
                arriving.write(rows[start : start + chunk])
            arriving.end()

        sender = threading.Thread(target=send)
        sender.start()
        found = read(arriving)
        sender.join()
        whole = read(ByteSource(file))
    assert found.rows == 300_000
    assert found.bytes == len(rows)
    assert found.table.equals(whole.table)


def test_a_feed_that_breaks_off_is_never_read_as_complete() -> None:
    with unnamed_temp_file() as file:
        arriving = GrowingByteSource(file)
        arriving.write(b'{"n":0}\n')  # whole lines, as it happens
        arriving.end(Truncated("broke off", url=""))
        with pytest.raises(Truncated, match="broke off"):
            read(arriving)


def test_the_first_bad_line_is_reported_before_the_rest_has_arrived() -> None:
    with unnamed_temp_file() as file:
        arriving = GrowingByteSource(file)
        arriving.write(b"<html>" + bytes(1 << 20))
        with pytest.raises(Exception, match="is an HTML or XML page"):
            read(arriving)


def test_a_source_can_be_read_after_its_file_is_closed() -> None:
    with unnamed_temp_file() as file:
        file.write(b"orders")
        file.flush()
        source, number = ByteSource(file), file.fileno()
    with unnamed_temp_file() as other:  # it gets the number of the closed file
        assert other.fileno() == number
        other.write(b"leads!")
        other.flush()
        assert source.read(0, 6) == b"orders"


@pytest.mark.parametrize("ended", [True, False])
def test_a_reader_of_a_closed_source_gets_an_error_and_never_another_file(ended: bool) -> None:
    with unnamed_temp_file() as file:
        arriving = GrowingByteSource(file)
        arriving.write(b"orders")
        if ended:
            arriving.end()
        assert arriving.read(0, 1) == b"o"
        arriving.close()
        for read_on in (arriving.read, arriving.read_available):
            with pytest.raises(ValueError, match="the feed's file is closed"):
                read_on(0, 6)
        with pytest.raises(ValueError, match="the feed's file is closed"):
            arriving.open().read()


def test_a_reader_that_waits_is_woken_when_the_source_is_closed() -> None:
    found: list[Exception] = []
    with unnamed_temp_file() as file:
        arriving = GrowingByteSource(file)

        def wait() -> None:
            try:
                arriving.wait_for(1)
            except ValueError as failure:
                found.append(failure)

        reader = threading.Thread(target=wait)
        reader.start()
        arriving.close()
        reader.join(10)
    assert [str(failure) for failure in found] == ["the feed's file is closed"]


def open_temp_files() -> set[tuple[str, str]]:
    """Return the unnamed files of this process; threads of other tests may close theirs."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
    return {(number, link) for number, link in found if link.endswith("(deleted)")}


def test_a_source_leaves_no_file_open() -> None:
    before = open_temp_files()
    for _ in range(9):
        with unnamed_temp_file() as file:
            arriving = GrowingByteSource(file)
            arriving.write(b"orders")
            arriving.end()
            assert open_temp_files() - before
            arriving.close()
    assert not open_temp_files() - before


@pytest.mark.process
@pytest.mark.parametrize("ends", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_killed_leaves_no_file(tmp_path: Path, ends: signal.Signals) -> None:
    program = """
from feed_assets.ndjson import read
from feed_assets.byte_source import GrowingByteSource, unnamed_temp_file
ROWS = b'{"n":1}\\n' * (2 << 20)
class Stalled(GrowingByteSource):
    def wait_for(self, wanted):
        if wanted > len(ROWS):
            print("waits", flush=True)
        return super().wait_for(wanted)
with unnamed_temp_file() as file:
    stalled = Stalled(file)
    stalled.write(ROWS)
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
