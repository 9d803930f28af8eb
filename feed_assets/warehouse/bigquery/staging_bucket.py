"""Stage large files in Cloud Storage for the time of their load job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import IO, Any

from google.api_core.exceptions import NotFound
from google.cloud import storage

from feed_assets.warehouse.bigquery.errors import FAILURES

FOLDER = "feed_assets"
FORGOTTEN = timedelta(days=1)
"""Age at which an object is left over: a load job ends within an hour."""
CHUNK = 32 << 20  # bytes sent at a time, of which none is sent twice
CALL_SECONDS = 60.0


class StagingBucket:
    """A bucket for files on their way into BigQuery, in the location of its datasets.

    Its methods raise what Google's client raises.
    """

    def __init__(self, client: storage.Client, name: str) -> None:
        self._client = client
        self._bucket = client.bucket(name)

    @contextmanager
    def holding(self, file: IO[bytes], table: str, attempt: str) -> Iterator[str]:
        """Upload the file, yield its `gs://` URI, and delete it at the end of the block.

        What an import of that table that was killed has left is deleted, too.
        """
        folder = f"{FOLDER}/{table}/"
        blob = self._bucket.blob(f"{folder}{attempt}.parquet", chunk_size=CHUNK)
        self._forget(folder)
        file.seek(0)
        blob.upload_from_file(file, timeout=CALL_SECONDS)
        try:
            yield f"gs://{self._bucket.name}/{blob.name}"
        except BaseException:
            with suppress(*FAILURES):  # the load's own failure is the one to tell
                self._delete(blob)
            raise
        self._delete(blob)

    def _forget(self, folder: str) -> None:
        listed = self._client.list_blobs(self._bucket, prefix=folder, timeout=CALL_SECONDS)
        for blob in listed:
            if datetime.now(UTC) - blob.time_created > FORGOTTEN:
                self._delete(blob)

    def _delete(self, blob: Any) -> None:
        with suppress(NotFound):
            blob.delete(timeout=CALL_SECONDS)


def emulator_storage() -> storage.Client:
    """Create a client without credentials and proxy, which reads STORAGE_EMULATOR_HOST."""
    client = storage.Client.create_anonymous_client()
    client._http.trust_env = False  # Google's clients have no setting for it
    return client
