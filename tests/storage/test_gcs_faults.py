"""What a network and a server can do to the Google Cloud Storage backend: each ends well or clearly, and soon."""

import base64
import gzip
import time
from collections.abc import Iterator

import google_crc32c
import pytest

from tests.fixtures.faults import NEVER, Answer, FaultServer, closed_port
from tests.fixtures.gcs_server import GcsServer, Twist, error_document, open_gcs
from tests.storage.contract import content, names, odd_chunks, read
from tests.storage.operations import RETRIED, SHORT, Operation, operations
from walpy.errors import (
    AccessDenied,
    DataCorrupt,
    ObjectMissing,
    StorageError,
    StorageFull,
    StorageThrottled,
    StorageUnavailable,
)
from walpy.storage.base import Storage

BUFFER = 1 << 20
OPERATIONS: dict[str, Operation] = {
    **operations(BUFFER),
    "open nothing": lambda storage: read(storage, "a", size=0),
    "discard_unfinished": lambda storage: storage.discard_unfinished(""),
}

each_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


@pytest.fixture
def server() -> Iterator[GcsServer]:
    with GcsServer() as server:
        yield server


@pytest.fixture
def storage(server: GcsServer) -> Iterator[Storage]:
    """A storage whose buffer holds BUFFER bytes."""
    with open_gcs(server.url, GCS_MAX_CHUNK_SIZE=str(BUFFER)) as storage:
        yield storage


def refused(status: int, reason: str) -> Answer:
    return Answer(status, (), error_document(status, reason))


def fails(operation: Operation, answer: Answer, kind: type[StorageError], **settings: str) -> tuple[StorageError, int]:
    """Run operation against a server that always gives this answer; the error, and how many requests it cost."""
    started = time.monotonic()
    with FaultServer(answer) as server:
        with (
            open_gcs(server.url, GCS_MAX_CHUNK_SIZE=str(BUFFER), **settings) as storage,
            pytest.raises(StorageError) as caught,
        ):
            operation(storage)
        assert time.monotonic() - started < 5
        assert type(caught.value) is kind
        return caught.value, len(server.requests)


# whatever is done


@each_operation
def test_a_server_that_never_answers(operation: Operation) -> None:
    error, _ = fails(operation, NEVER, StorageUnavailable, **SHORT)
    assert "timed out" in str(error)


@each_operation
def test_a_server_that_is_not_there(operation: Operation) -> None:
    with (
        open_gcs(f"127.0.0.1:{closed_port()}", **SHORT) as storage,
        pytest.raises(StorageUnavailable, match="refused"),
    ):
        operation(storage)


@each_operation
def test_a_server_that_is_down(operation: Operation) -> None:
    error, requests = fails(operation, refused(503, "backendError"), StorageUnavailable, **RETRIED)
    assert "503 backendError" in str(error)
    assert requests > 1


@each_operation
def test_a_server_that_asks_to_slow_down(operation: Operation) -> None:
    _, requests = fails(operation, refused(429, "rateLimitExceeded"), StorageThrottled, **RETRIED)
    assert requests > 1


@each_operation
def test_no_permission_is_said_at_once(operation: Operation) -> None:
    _, requests = fails(operation, refused(403, "forbidden"), AccessDenied)
    assert requests <= 3  # one for each object


@each_operation
def test_a_used_up_quota_is_said_at_once(operation: Operation) -> None:
    _, requests = fails(operation, refused(403, "quotaExceeded"), StorageFull)
    assert requests <= 3


@each_operation
def test_wrong_credentials_are_said_at_once(operation: Operation) -> None:
    fails(operation, refused(401, "authError"), AccessDenied)


@each_operation
def test_a_missing_bucket_is_an_error_and_not_an_absence(operation: Operation, server: GcsServer) -> None:
    for server.explains in (True, False):
        with open_gcs(server.url, "gs://nobucket/x", **SHORT) as storage, pytest.raises(StorageError) as caught:
            operation(storage)
        assert type(caught.value) is StorageError
        assert "bucket" in str(caught.value) + caught.value.hint


@each_operation
def test_a_page_of_a_proxy_is_no_answer(operation: Operation) -> None:
    page = Answer(200, (("Content-Type", "text/html"),), b"<html>log in first</html>", cut_after=-1)
    with FaultServer(page) as server, open_gcs(server.url, GCS_MAX_CHUNK_SIZE=str(BUFFER), **SHORT) as storage:
        if operation in (OPERATIONS["open"], OPERATIONS["delete"], OPERATIONS["delete several"]):
            return  # a download may be any bytes, and the answer to a deletion has none
        with pytest.raises(StorageError):
            operation(storage)


@each_operation
def test_a_passing_fault_is_not_noticed(operation: Operation, server: GcsServer, storage: Storage) -> None:
    if operation is not OPERATIONS["create"]:
        storage.put("a", [b"abc"])
    for method in ("GET", "POST", "PUT", "DELETE"):
        server.twist(Twist(method, "", times=2, status=503))
    operation(storage)


# downloads


@pytest.mark.parametrize("cut_after", [0, 1, 100_000, 2_000_000])
@pytest.mark.parametrize(("offset", "size"), [(0, None), (5, None), (1000, 2_500_000)])
def test_a_broken_download_goes_on(
    server: GcsServer, storage: Storage, cut_after: int, offset: int, size: int | None
) -> None:
    data = content(3_000_000)
    storage.put("a", odd_chunks(data))
    server.twist(Twist("GET", "alt=media", times=3, cut_after=cut_after))
    assert read(storage, "a", offset=offset, size=size) == data[offset:][:size]
    assert server.seen("GET", "generation=")


def test_a_broken_download_does_not_go_on_with_another_version(server: GcsServer, storage: Storage) -> None:
    storage.put("a", odd_chunks(content(2_000_000, seed=1)))
    server.twist(Twist("GET", "alt=media", cut_after=1_000_000))
    with storage.open("a") as reader:
        storage.put("a", odd_chunks(content(2_000_000, seed=2)))
        with pytest.raises(DataCorrupt, match="changed while it was read"):
            list(reader)


def test_a_download_that_always_breaks(server: GcsServer) -> None:
    with open_gcs(server.url, **SHORT) as storage:
        storage.put("a", [content(1000)])
        server.twist(Twist("GET", "alt=media", times=10**6, cut_after=0))
        with (
            storage.open("a") as reader,
            pytest.raises(StorageUnavailable, match="download of 'gs://bucket/cluster/a' failed"),
        ):
            list(reader)


def test_an_answer_that_breaks_off_proves_no_absence(server: GcsServer, storage: Storage) -> None:
    server.twist(Twist("GET", "alt=media", times=2, cut_after=20))
    with pytest.raises(ObjectMissing):
        storage.open("a")
    assert len(server.seen("GET", "alt=media")) == 3


def download(body: bytes, *headers: tuple[str, str], cut_after: int = -1) -> Answer:
    return Answer(200, (("X-Goog-Generation", "1"), *headers), body, cut_after)


def crc_of(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def test_a_damaged_download_is_found() -> None:
    answer = download(b"damaged", ("X-Goog-Hash", f"crc32c={crc_of(b'correct')},md5=x"))
    with FaultServer(answer) as server, open_gcs(server.url) as storage, pytest.raises(DataCorrupt, match="CRC32C"):
        read(storage, "a")


def test_a_download_is_not_unpacked() -> None:
    """An object with `contentEncoding: gzip` is what was stored; the server unpacks for clients that ask for less."""
    packed = gzip.compress(b"text" * 1000)
    answer = download(packed, ("Content-Encoding", "gzip"), ("X-Goog-Hash", f"crc32c={crc_of(packed)}"))
    with FaultServer(answer) as server, open_gcs(server.url) as storage:
        assert read(storage, "a") == packed
        assert server.requests[0].headers["accept-encoding"] == "gzip"


def test_a_server_that_ignores_ranges_is_found_out() -> None:
    with (
        FaultServer(download(b"whole")) as server,
        open_gcs(server.url) as storage,
        pytest.raises(StorageError, match="ignores ranges"),
    ):
        read(storage, "a", offset=2)


def test_a_server_that_tells_no_generation_is_asked(server: GcsServer) -> None:
    """Otherwise a broken download could go on with another version."""
    described = Answer(
        200, (), b'{"name": "cluster/a", "size": "5", "generation": "7", "updated": "2024-01-01T00:00:00Z"}'
    )
    bodies = Answer(200, (), b"whole")
    with FaultServer(bodies, rules=[("GET", "fields=", described)]) as faults, open_gcs(faults.url) as storage:
        assert read(storage, "a") == b"whole"
        assert "generation=7" in faults.requests[-1].path


# listings and deletions


def test_pages(server: GcsServer, storage: Storage) -> None:
    server.page_size = 7
    wanted = sorted(f"many/{number:02}{ending}" for number in range(20) for ending in ("", "/x", ".y"))
    for name in wanted:
        storage.put(name, [b""])
    server.requests.clear()
    assert names(storage, "many") == wanted
    assert len(server.requests) == 9
    folder = storage.list_folder("many")
    assert [item.name for item in folder.objects] == [name for name in wanted if not name.endswith("/x")]
    assert folder.folders == tuple(f"many/{number:02}" for number in range(20))
    found = storage.stat_many([wanted[-1], "many/gone", wanted[0], "many/05", wanted[-1]])
    assert [item.name for item in found] == [wanted[-1], wanted[0], "many/05", wanted[-1]]


def test_a_fault_between_pages(server: GcsServer, storage: Storage) -> None:
    server.page_size = 2
    for name in "abcde":
        storage.put(name, [b""])
    server.twist(Twist("GET", "pageToken", times=2, lost=True))
    assert names(storage) == list("abcde")


def test_stat_many_is_one_request(server: GcsServer, storage: Storage) -> None:
    storage.put("wal_005/0001.lz4", [b""])
    server.requests.clear()
    storage.stat_many([f"wal_005/0001{extension}" for extension in (".br", ".lz4", "")])
    assert len(server.requests) == 1
    assert "prefix=cluster%2Fwal_005%2F0001&" in server.requests[0].path


def test_pieces_of_walgs_uploads_are_no_objects(server: GcsServer, storage: Storage) -> None:
    tars = "basebackups_005/base_1/tar_partitions"
    pieces = [f"{tars}/part_001.tar.lz4_chunks/chunk0", f"{tars}/part_001.tar.lz4_chunks/composite32"]
    for name in (*pieces, f"{tars}/part_002.tar.lz4", "other_chunks/else"):
        storage.put(name, [b""])
    assert names(storage) == [f"{tars}/part_002.tar.lz4", "other_chunks/else"]
    assert storage.list_folder(tars).folders == ()
    assert storage.discard_unfinished("basebackups_005/base_1") == 2
    for name in pieces:
        with pytest.raises(ObjectMissing):
            storage.stat(name)
    assert storage.stat(f"{tars}/part_002.tar.lz4").size == 0


def test_placeholders_of_folders_are_no_objects(server: GcsServer, storage: Storage) -> None:
    storage.put("folder/a", [b""])
    bucket = storage._bucket  # type: ignore[attr-defined]
    for key in ("cluster/folder/", "cluster/folder//x"):
        bucket.request("POST", bucket.upload_url, what="test", params={"uploadType": "media", "name": key}, body=b"x")
    assert [item.name for item in storage.list_folder("folder").objects] == ["folder/a"]
    assert storage.list_folder("folder").folders == ()


def test_all_deletions_are_tried_and_a_failure_is_raised(server: GcsServer, storage: Storage) -> None:
    for name in "abcd":
        storage.put(name, [b""])
    server.twist(
        Twist("DELETE", "cluster%2Fb", times=99, status=403, body=error_document(403, "retentionPolicyNotMet"))
    )
    with pytest.raises(AccessDenied, match="deletion of 'gs://bucket/cluster/b' failed: 403 retentionPolicyNotMet"):
        storage.delete(["a", "b", "c", "d", "gone"])
    assert names(storage) == ["b"]


# the deadline


def test_a_deadline_of_zero_is_one_attempt(server: GcsServer) -> None:
    with open_gcs(server.url, WALPY_STORAGE_DEADLINE="0s") as storage:
        storage.put("a", [b"x"])
        assert read(storage, "a") == b"x"
        server.twist(Twist("GET", "", status=503))
        with pytest.raises(StorageUnavailable, match="503"):
            storage.stat("a")
        assert storage.stat("a").size == 1
