"""The emulator, a client of it, and a dataset of the test's own."""

from uuid import uuid4

import pytest
from google.cloud import bigquery

from feed_assets_tests.support.bigquery.emulator import Emulator


@pytest.fixture(scope="session")
def running(request: pytest.FixtureRequest) -> Emulator:
    found: Emulator = request.getfixturevalue("bigquery")
    return found


@pytest.fixture(scope="session")
def client(running: Emulator) -> bigquery.Client:
    return running.client()


@pytest.fixture
def dataset(client: bigquery.Client) -> str:
    name = f"d{uuid4().hex[:8]}"
    created = bigquery.Dataset(f"{client.project}.{name}")
    created.location = "EU"
    client.create_dataset(created)
    return name
