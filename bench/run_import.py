"""One way to import, into one target, some feeds: prints what came of each as a line of JSON.

Arguments: the way, the target, and for each feed its URL. Its table is named after its file.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))  # in the environment of another tool

from bench.importers import BY_NAME
from bench.peak import watched

_QUOTED = 200  # characters


def main() -> None:
    """Import, and print seconds and peak memory, or the reason of the failure."""
    way, target, *urls = sys.argv[1:]
    run = BY_NAME[way].make(target)
    for url in urls:
        failure = None
        with watched() as peak:
            begun = time.perf_counter()
            try:
                run(url, PurePosixPath(urlsplit(url).path).stem)
            except Exception as error:  # noqa: BLE001  (whatever a peer raises is its result)
                failure = _message(error)
            seconds = time.perf_counter() - begun
        print("\n" + json.dumps({"seconds": seconds, "peak": peak.mb, "failure": failure}))


def _message(error: BaseException) -> str:
    """Return the first error of a chain."""
    while error.__cause__:
        error = error.__cause__
    return " ".join(f"{type(error).__name__}: {error}".split())[:_QUOTED]


if __name__ == "__main__":
    main()
