"""A real project in the emulator's place: `make test-contract PROJECT=...` with credentials.

Its datasets are named after the run that made them, and deleted at its end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

PROJECT = os.environ.get("FEED_ASSETS_TEST_PROJECT", "")
_RUN = f"feed_assets_test_{uuid4().hex[:12]}"


def new_dataset() -> str:
    """The name of a dataset that nobody has used."""
    return f"{_RUN}_{uuid4().hex[:12]}"


class RealBigQuery:
    """A real project with the interface of `Emulator`."""

    @property
    def url(self) -> str:
        raise NotImplementedError("a test that needs the emulator has no place on a real project")

    def client(self, project: str = "", location: str | None = "EU") -> bigquery.Client:
        """A client of the real project, whatever project a test names."""
        emulated = os.environ.get("BIGQUERY_EMULATOR_HOST")  # to try this suite itself
        nobody = AnonymousCredentials() if emulated else None  # type: ignore[no-untyped-call]
        return bigquery.Client(PROJECT, nobody, location=location)


@contextmanager
def real_bigquery() -> Iterator[RealBigQuery]:
    """The project, left as it was."""
    real = RealBigQuery()
    client = real.client()
    try:
        yield real
    finally:
        for dataset in client.list_datasets():
            if dataset.dataset_id.startswith(_RUN):
                client.delete_dataset(dataset.reference, delete_contents=True)
