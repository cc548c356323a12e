"""The Google Cloud Storage backend: the contract on two servers, settings, and what only this backend promises."""

import os
import uuid
from collections.abc import Iterator
from typing import ClassVar

import pytest
import requests

from tests.fixtures.gcs_server import GcsServer, open_gcs
from tests.fixtures.require import missing
from tests.storage.contract import StorageContract
from walpy.storage.base import Storage

MIB = 1 << 20


class TestContract(StorageContract):
    """On gcp-storage-emulator, completed with what it lacks (see tests/fixtures/gcs_server.py).

    It needs half a minute to take the objects of the paging test: pages have a test of their own below.
    """

    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        with GcsServer() as server, open_gcs(server.url) as storage:
            yield storage


@pytest.mark.servers
class TestContractOnFakeGcsServer(StorageContract):
    """On fake-gcs-server (tests/servers/fake_gcs.sh), whose generations and pages are its own."""

    many: ClassVar[int] = 1100

    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        endpoint = os.environ.get("WALPY_TEST_GCS_ENDPOINT", "")
        if not endpoint:
            missing("fake-gcs", "WALPY_TEST_GCS_ENDPOINT is not set: see tests/servers/fake_gcs.sh")
        bucket = f"walpy-{uuid.uuid4().hex}"
        requests.post(f"{endpoint}/storage/v1/b", json={"name": bucket}, timeout=10).raise_for_status()
        with open_gcs(endpoint, f"gs://{bucket}/cluster") as storage:
            yield storage
