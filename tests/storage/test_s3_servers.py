"""The S3 backend on a server that verifies signatures and preconditions itself: SeaweedFS, or any other.

WALPY_TEST_S3_ENDPOINT names it, WALPY_TEST_S3_ACCESS_KEY and WALPY_TEST_S3_SECRET_KEY give access to make buckets
there. tests/servers/seaweedfs.sh builds one, starts it and sets them.
"""

import os
import uuid
from collections.abc import Iterator

import pytest

from tests.fixtures.require import missing
from tests.fixtures.s3_server import PART_SIZE, open_s3, settings
from tests.storage.contract import StorageContract, content, names, odd_chunks, put_all, read
from walpy.errors import AccessDenied, ObjectExists, StorageError
from walpy.storage.base import Storage
from walpy.storage.s3_direct import DirectS3, from_config

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def server() -> tuple[str, dict[str, str]]:
    """Endpoint, and the settings that give access."""
    endpoint = os.environ.get("WALPY_TEST_S3_ENDPOINT", "")
    if not endpoint:
        missing("s3-server", "WALPY_TEST_S3_ENDPOINT is not set: see tests/servers/seaweedfs.sh")
    access = {
        "AWS_ACCESS_KEY_ID": os.environ["WALPY_TEST_S3_ACCESS_KEY"],
        "AWS_SECRET_ACCESS_KEY": os.environ["WALPY_TEST_S3_SECRET_KEY"],
        "AWS_REGION": "",
    }
    return endpoint, access


@pytest.fixture
def bucket(server: tuple[str, dict[str, str]]) -> Iterator[str]:
    """A new bucket; removed afterwards."""
    endpoint, access = server
    name = f"walpy-{uuid.uuid4().hex}"
    with open_s3(endpoint, name, **access, WALG_S3_PREFIX=f"s3://{name}") as storage:
        storage._client.create_bucket(Bucket=name)
        yield name
        storage.discard_unfinished("")
        storage.delete(names(storage))
        storage._client.delete_bucket(Bucket=name)


@pytest.fixture
def storage(server: tuple[str, dict[str, str]], bucket: str) -> Iterator[Storage]:
    endpoint, access = server
    with open_s3(endpoint, bucket, **access) as storage:
        yield storage


class TestContract(StorageContract):
    large_size = 2 * PART_SIZE + 100_003
    many = 1_205

    @pytest.fixture
    def storage(self, server: tuple[str, dict[str, str]], bucket: str) -> Iterator[Storage]:
        endpoint, access = server
        with open_s3(endpoint, bucket, **access) as storage:
            yield storage

    def test_a_deleted_folder_is_gone(self, storage: Storage) -> None:
        """SeaweedFS has real folders, and sweeps empty ones a while later: so this asks for objects only."""
        put_all(storage, ["a/b/c", "d"])
        storage.delete(["a/b/c"])
        assert names(storage) == ["d"]
        assert storage.list_folder("a").objects == ()
        storage.put("a/b/c", [b"again"])
        assert names(storage) == ["a/b/c", "d"]


class TestDirect(TestContract):
    @pytest.fixture
    def storage(self, server: tuple[str, dict[str, str]], bucket: str) -> Iterator[Storage]:
        endpoint, access = server
        storage = from_config(settings(endpoint, bucket, **access))
        assert isinstance(storage, DirectS3)
        yield storage
        storage.close()


def test_a_wrong_secret_is_refused(server: tuple[str, dict[str, str]], bucket: str) -> None:
    endpoint, access = server
    wrong = {**access, "AWS_SECRET_ACCESS_KEY": "wrong"}
    with open_s3(endpoint, bucket, **wrong) as storage:
        with pytest.raises(AccessDenied, match="SignatureDoesNotMatch"):
            storage.put("a", [content(3 << 20)])
        with pytest.raises(AccessDenied, match="SignatureDoesNotMatch"):
            storage.stat("a")


def test_an_unknown_key_is_refused(server: tuple[str, dict[str, str]], bucket: str) -> None:
    endpoint, access = server
    unknown = {**access, "AWS_ACCESS_KEY_ID": "AKIAUNKNOWN"}
    with open_s3(endpoint, bucket, **unknown) as storage, pytest.raises(AccessDenied, match="InvalidAccessKeyId"):
        storage.stat_many(["a"])


def test_a_missing_bucket_is_no_missing_object(server: tuple[str, dict[str, str]]) -> None:
    endpoint, access = server
    with open_s3(endpoint, f"walpy-{uuid.uuid4().hex}", **access) as storage:
        for call in (lambda: storage.stat("a"), lambda: storage.open("a"), lambda: storage.stat_many(["a"])):
            with pytest.raises(StorageError, match="NoSuchBucket") as caught:
                call()
            assert type(caught.value) is StorageError


def test_preconditions_are_the_servers(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    """Neither walpy's look beforehand nor luck: the server itself refuses."""
    for size in (10, PART_SIZE + 1):
        name = f"size/{size}"
        data = content(size)
        storage.put(name, odd_chunks(data), create_only=True)
        with pytest.raises(ObjectExists):
            storage.put(name, odd_chunks(content(size, seed=2)), create_only=True)
        assert read(storage, name) == data
    assert "If-None-Match" not in caplog.text
