"""A BigQuery in a process of its own, for tests with the real client over real HTTP.

`python -m feed_assets_tests.support.bigquery.emulator --port 9050` starts one by hand and prints
its URL.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

TIMEOUT = 10.0
"""Seconds for a request, its retries included; Google's default of 600 hides a dead server."""


@dataclass(frozen=True)
class Emulator:
    """A running emulator, and the folder that it reads `gs://` from."""

    url: str
    buckets: Path = Path()

    def client(self, project: str = "test-project", location: str | None = "EU") -> bigquery.Client:
        """A client of this emulator; any project will do, datasets must be created."""
        return LocalClient(
            project=project,
            location=location,
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options=ClientOptions(api_endpoint=self.url),
        )


class LocalClient(bigquery.Client):
    """Google's client, but for its patience and its second way to read rows."""

    def _call_api(self, retry: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs["timeout"] = kwargs.get("timeout") or TIMEOUT
        retry = retry.with_timeout(TIMEOUT) if retry else retry
        return super()._call_api(retry, *args, **kwargs)

    def _ensure_bqstorage_client(self, *_args: Any, **_kwargs: Any) -> None:
        """Rows come over REST: the Storage Read API would ask Google's own host."""


@contextmanager
def emulator(port: int = 0) -> Iterator[Emulator]:
    """Run an emulator; port 0 takes a free one.

    It reads `gs://bucket/object` from `buckets/bucket/object`, a folder of its own.
    It ends with this process, whatever becomes of it: it serves until its input ends.
    """
    with (
        tempfile.TemporaryDirectory(prefix="buckets-") as buckets,
        _serving(port, Path(buckets)) as url,
    ):
        yield Emulator(url, Path(buckets))


@contextmanager
def _serving(port: int, buckets: Path) -> Iterator[str]:
    rules = "feed_assets_tests.support.bigquery.emulator_rules"
    with subprocess.Popen(
        [sys.executable, "-m", rules, str(port), str(buckets)],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = next((line.strip() for line in process.stdout if line.startswith("http")), None)
        if url is None:
            raise RuntimeError(f"the emulator ended with code {process.wait()}; see stderr")
        try:
            yield url
        finally:
            process.stdin.close()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    arguments = parser.parse_args()
    with emulator(arguments.port) as running:
        print(running.url, flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
