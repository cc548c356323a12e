"""The S3 backend against moto over real HTTP: the contract, and requests as they arrive."""

import hashlib
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from tests.fixtures.s3_server import PART_SIZE, S3Server, Twist, open_s3, settings
from tests.storage.contract import StorageContract, content, names, odd_chunks, put_all, read
from walpy.config import Config
from walpy.errors import ObjectExists, StorageError
from walpy.storage.base import Storage
from walpy.storage.parts import LARGEST_OBJECT, MOST_PARTS, part_size
from walpy.storage.s3 import S3Storage, from_config
from walpy.storage.s3_direct import from_config as open_direct

MIB = 1 << 20


@pytest.fixture
def storage(server: S3Server, bucket: str) -> Iterator[S3Storage]:
    with open_s3(server.url, bucket) as storage:
        yield storage


class TestContract(StorageContract):
    large_size = 2 * PART_SIZE + 100_003
    many = 1_205

    @pytest.fixture
    def storage(self, server: S3Server, bucket: str) -> Iterator[Storage]:
        with open_s3(server.url, bucket) as storage:
            yield storage


def operations(server: S3Server) -> list[str]:
    """Operations in the order in which they arrived."""
    return [request.operation for request in server.requests]


# put


def test_a_segment_is_one_request(server: S3Server, storage: S3Storage) -> None:
    storage.put("wal_005/000000010000000000000001.lz4", odd_chunks(content(PART_SIZE)), create_only=True)
    assert operations(server) == ["PUT"]
    (request,) = server.requests
    assert request.headers["if-none-match"] == "*"
    assert request.headers["x-amz-storage-class"] == "STANDARD"
    assert request.headers["x-amz-content-sha256"] == hashlib.sha256(content(PART_SIZE)).hexdigest()
    assert not any(name.startswith(("x-amz-checksum", "x-amz-sdk-checksum")) for name in request.headers)


def test_parts_are_no_smaller_than_the_part_size(server: S3Server, bucket: str, storage: S3Storage) -> None:
    size = 2 * PART_SIZE + 2 * MIB
    storage.put("a", odd_chunks(content(size)))
    assert operations(server)[0] == "POST ?uploads"
    assert operations(server)[-1] == "POST ?uploadId"
    assert operations(server).count("PUT ?partNumber") == 3
    head = storage._client.head_object(Bucket=bucket, Key="cluster/a", PartNumber=1)
    assert (head["ContentLength"], head["PartsCount"]) == (PART_SIZE, 3)


@pytest.mark.parametrize(("size", "part_count"), [(16 * MIB + 300, 0), (20 * MIB, 0), (20 * MIB + 1, 3)])
@pytest.mark.parametrize("open_storage", [from_config, open_direct])
def test_by_default_a_segment_is_one_request_and_larger_objects_come_in_small_parts(
    server: S3Server, bucket: str, open_storage: Callable[[Config], Storage], size: int, part_count: int
) -> None:
    data = content(size)
    with closing(open_storage(settings(server.url, bucket, S3_MAX_PART_SIZE=""))) as storage:
        storage.put("a", odd_chunks(data), create_only=True)
        assert operations(server).count("PUT ?partNumber") == part_count
        assert operations(server).count("PUT") == (part_count == 0)
        assert read(storage, "a") == data


@pytest.mark.parametrize("size", [PART_SIZE - 1, PART_SIZE, PART_SIZE + 1, 2 * PART_SIZE, 2 * PART_SIZE + 1])
def test_sizes_around_a_part(storage: S3Storage, size: int) -> None:
    data = content(size)
    assert storage.put("a", odd_chunks(data)) == size
    assert read(storage, "a") == data


@pytest.mark.parametrize("size", [0, 1, 2 * MIB - 1])
def test_small_bodies_are_sent_without_asking(server: S3Server, storage: S3Storage, size: int) -> None:
    storage.put("a", [content(size)])
    assert "expect" not in server.requests[0].headers


def test_large_bodies_wait_for_consent(server: S3Server, bucket: str, storage: S3Storage) -> None:
    storage.put("a", [content(2 * MIB)])
    assert server.requests[0].headers["expect"] == "100-continue"
    server.calm()
    with open_s3(server.url, bucket, S3_DISABLE_100_CONTINUE="true") as impatient:
        impatient.put("a", [content(2 * MIB)])
    assert "expect" not in server.requests[0].headers


@pytest.mark.parametrize("in_flight", [1, 2, 5])
def test_parts_in_flight(server: S3Server, bucket: str, in_flight: int) -> None:
    data = content(4 * PART_SIZE + 1)
    with open_s3(server.url, bucket, UPLOAD_CONCURRENCY=str(in_flight)) as storage:
        storage.put("a", odd_chunks(data), create_only=True)
        assert read(storage, "a") == data


@pytest.mark.parametrize("first", [5 * MIB, 20 * MIB, 600 * MIB, 5 << 30])
def test_ten_thousand_parts_hold_the_largest_object(first: int) -> None:
    sizes = [part_size(number, first) for number in range(1, MOST_PARTS + 1)]
    assert sum(sizes) >= LARGEST_OBJECT
    assert sizes == sorted(sizes)
    assert sizes[0] == sizes[999] == first
    assert sizes[-1] <= max(first, 1280 * MIB)


MEMORY_OF_A_PUT = """
import resource, sys
from tests.fixtures.s3_server import open_s3

def chunks(count):
    piece = bytes(1 << 20)
    for _ in range(count):
        yield piece

with open_s3(sys.argv[1], sys.argv[2], S3_MAX_PART_SIZE=str(8 << 20)) as storage:
    storage.put("small", chunks(1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert storage.put("large", chunks(200)) == 200 << 20
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_of_a_large_put_is_bounded(server: S3Server, bucket: str) -> None:
    command = [sys.executable, "-c", MEMORY_OF_A_PUT, server.url, bucket]
    grown = int(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout) << 10
    assert grown < 4 * 8 * MIB + 12 * MIB, f"a put of 200 MiB took {grown / MIB:.0f} MiB"


def test_an_interrupted_multipart_put_is_taken_back(server: S3Server, storage: S3Storage) -> None:
    def chunks() -> Iterator[bytes]:
        yield content(2 * PART_SIZE + 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storage.put("a", chunks())
    assert operations(server)[-1] == "DELETE ?uploadId"
    assert storage.discard_unfinished("") == 0


def test_discard_unfinished_aborts_uploads_below_a_folder(bucket: str, storage: S3Storage) -> None:
    for key in ("cluster/a/b", "cluster/a/c/d", "cluster/ab", "other/a"):
        storage._client.create_multipart_upload(Bucket=bucket, Key=key)
    assert storage.discard_unfinished("a") == 2
    assert storage.discard_unfinished("") == 1
    assert storage.discard_unfinished("") == 0


# create only


@pytest.mark.parametrize(("size", "operation"), [(10, "PUT"), (PART_SIZE + 1, "POST ?uploadId")])
def test_a_lost_answer_is_not_taken_for_somebody_elses_object(
    server: S3Server, storage: S3Storage, size: int, operation: str
) -> None:
    server.twist(Twist(operation, lost=True))
    data = content(size)
    assert storage.put("a", [data], create_only=True) == size
    assert len(server.seen(operation)) == 2
    assert read(storage, "a") == data


@pytest.mark.parametrize(("size", "operation"), [(10, "PUT"), (PART_SIZE + 1, "POST ?uploadId")])
def test_somebody_elses_object_of_the_same_content_is_not_ours(
    server: S3Server, storage: S3Storage, size: int, operation: str
) -> None:
    data = content(size)
    storage.put("a", [data], create_only=True)
    server.twist(Twist(operation, status=500, code="InternalError"))
    with pytest.raises(ObjectExists):
        storage.put("a", [data], create_only=True)


def test_a_conflict_is_tried_again(server: S3Server, storage: S3Storage) -> None:
    server.twist(Twist("PUT", status=409, code="ConditionalRequestConflict"))
    assert storage.put("a", [b"x"], create_only=True) == 1
    assert operations(server) == ["PUT", "PUT"]


@pytest.mark.parametrize("size", [10, PART_SIZE + 1])
@pytest.mark.parametrize(
    ("status", "code"), [(501, "NotImplemented"), (400, "InvalidArgument"), (400, "InvalidRequest"), (501, "")]
)
def test_servers_without_preconditions(
    server: S3Server, storage: S3Storage, caplog: pytest.LogCaptureFixture, size: int, status: int, code: str
) -> None:
    for operation in ("PUT", "POST ?uploadId"):
        server.twist(Twist(operation, times=99, status=status, code=code, needs="if-none-match"))
    data = content(size)
    storage.put("a", [data], create_only=True)
    for _ in range(2):
        with pytest.raises(ObjectExists):
            storage.put("a", [b"other"], create_only=True)
    storage.put("b", [data], create_only=True)
    assert read(storage, "a") == read(storage, "b") == data
    assert len([item for item in server.requests if "if-none-match" in item.headers]) == 1
    assert len([item for item in caplog.records if "If-None-Match" in item.message]) == 1


def test_a_lost_answer_of_a_server_without_preconditions(server: S3Server, storage: S3Storage) -> None:
    server.twist(Twist("PUT", times=99, status=501, code="NotImplemented", needs="if-none-match"))
    server.twist(Twist("PUT", lost=True))
    assert storage.put("a", [b"x"], create_only=True) == 1
    assert read(storage, "a") == b"x"


def test_refusal_for_another_reason_is_no_lack_of_preconditions(server: S3Server, storage: S3Storage) -> None:
    server.twist(Twist("PUT", times=99, status=400, code="InvalidRequest"))
    with pytest.raises(StorageError, match="InvalidRequest"):
        storage.put("a", [b"x"], create_only=True)
    server.calm()
    storage.put("a", [b"x"], create_only=True)
    assert server.requests[0].headers["if-none-match"] == "*"


def test_complete_may_fail_with_status_200(server: S3Server, storage: S3Storage) -> None:
    server.twist(Twist("POST ?uploadId", status=200, code="InternalError"))
    data = content(PART_SIZE + 1)
    assert storage.put("a", [data]) == len(data)
    assert len(server.seen("POST ?uploadId")) == 2
    assert read(storage, "a") == data


def test_complete_may_find_the_object_with_status_200(server: S3Server, storage: S3Storage) -> None:
    server.twist(Twist("POST ?uploadId", status=200, code="PreconditionFailed"))
    with pytest.raises(ObjectExists):
        storage.put("a", [content(PART_SIZE + 1)], create_only=True)
    assert storage.discard_unfinished("") == 0


@pytest.mark.parametrize("size", [10, PART_SIZE + 1])
def test_content_md5_is_sent_to_a_bucket_that_asks_for_it(server: S3Server, storage: S3Storage, size: int) -> None:
    message = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock"
    for operation in ("PUT", "PUT ?partNumber"):
        twist = Twist(operation, 99, status=400, code="InvalidRequest", message=message, lacks="content-md5")
        server.twist(twist)
    data = content(size)
    storage.put("a", [data], create_only=True)
    assert read(storage, "a") == data
    server.requests.clear()
    storage.put("b", [b"x"], create_only=True)
    assert operations(server) == ["PUT"]
    assert server.requests[0].headers["content-md5"] == b64encode(hashlib.md5(b"x").digest()).decode()


# stat, list


def test_stat_many_is_one_listing(server: S3Server, storage: S3Storage) -> None:
    put_all(storage, ["wal_005/1.lz4", "wal_005/1", "wal_005/2"])
    server.requests.clear()
    wanted = ["wal_005/1.zst", "wal_005/1.lz4", "wal_005/1"]
    assert [item.name for item in storage.stat_many(wanted)] == ["wal_005/1.lz4", "wal_005/1"]
    assert operations(server) == ["GET ?list-type"]
    assert "prefix=cluster%2Fwal_005%2F1" in server.requests[0].path


def test_stat_many_does_not_page_through_everything(
    server: S3Server, storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_all(storage, [f"w/{number:03}" for number in range(30)])
    limit_pages(storage, monkeypatch, 2)
    server.requests.clear()
    assert [item.name for item in storage.stat_many(["w/003", "w/gone", "w/029"])] == ["w/003", "w/029"]
    assert len(server.seen("GET ?list-type")) == 3
    assert len(server.seen("HEAD")) == 2


def limit_pages(storage: S3Storage, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Let a listing have at most size entries a page."""
    for name in ("list_objects_v2", "list_objects"):
        request = getattr(storage._client, name)
        monkeypatch.setattr(storage._client, name, lambda request=request, **more: request(MaxKeys=size, **more))


@pytest.mark.parametrize("v1", ["", "true"])
def test_pages_of_listings(server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, v1: str) -> None:
    with open_s3(server.url, bucket, S3_USE_LIST_OBJECTS_V1=v1) as storage:
        limit_pages(storage, monkeypatch, 3)
        wanted = sorted([f"f/{number}/x y+%" for number in range(8)] + [f"f/{number}.é" for number in range(5)])
        put_all(storage, wanted)
        server.requests.clear()
        assert names(storage, "f") == wanted
        folder = storage.list_folder("f")
        assert [item.name for item in folder.objects] == [name for name in wanted if name.endswith("é")]
        assert folder.folders == tuple(f"f/{number}" for number in range(8))
        assert bool(server.seen("GET ?list-type")) != bool(v1)


def test_placeholders_of_folders_are_no_objects(bucket: str, storage: S3Storage) -> None:
    for key in ("cluster/", "cluster/wal_005/", "cluster/wal_005/a", "outside"):
        storage._client.put_object(Bucket=bucket, Key=key, Body=b"")
    assert names(storage) == ["wal_005/a"]
    assert names(storage, "wal_005") == ["wal_005/a"]
    assert storage.list_folder().folders == ("wal_005",)


# reading


def test_a_broken_download_goes_on_where_it_stopped(server: S3Server, storage: S3Storage) -> None:
    data = content(3 * MIB)
    storage.put("a", [data])
    server.requests.clear()
    server.twist(Twist("GET", times=2, cut_after=MIB + 17))
    assert read(storage, "a") == data
    ranges = [item.headers.get("range") for item in server.requests]
    assert ranges[0] is None
    assert len(ranges) == 3
    assert all(item.headers["if-match"] for item in server.requests[1:])


def test_a_broken_ranged_download_goes_on_where_it_stopped(server: S3Server, storage: S3Storage) -> None:
    data = content(3 * MIB)
    storage.put("a", [data])
    server.twist(Twist("GET", cut_after=MIB + 17))
    assert read(storage, "a", offset=1000, size=2 * MIB) == data[1000 : 1000 + 2 * MIB]


# delete


def test_delete_is_sent_in_batches_with_md5(server: S3Server, bucket: str) -> None:
    with open_s3(server.url, bucket, S3_DELETE_BATCH_SIZE="10") as storage:
        put_all(storage, [f"a/{number}" for number in range(25)])
        server.requests.clear()
        storage.delete(item.name for item in list(storage.list()))
        assert names(storage) == []
        requests = server.seen("POST ?delete")
        assert len(requests) == 3
        for request in requests:
            assert "content-md5" in request.headers
            assert not any(name.startswith(("x-amz-checksum", "x-amz-sdk")) for name in request.headers)


def test_delete_takes_every_version(server: S3Server, bucket: str, storage: S3Storage) -> None:
    client = storage._client
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for name in ("a/b", "a/b", "a/bc", "d"):
        storage.put(name, [b"x"])
    storage.delete(["a/b", "d", "a/gone"])
    left = client.list_object_versions(Bucket=bucket)
    assert [item["Key"] for item in left["Versions"]] == ["cluster/a/bc"]
    assert "DeleteMarkers" not in left
    assert len(server.seen("GET ?versioning")) == 1


def test_delete_asks_nothing_when_versioning_is_configured(server: S3Server, bucket: str) -> None:
    with open_s3(server.url, bucket, S3_ENABLE_VERSIONING="disabled") as storage:
        storage.put("a", [b"x"])
        storage.delete(["a"])
    assert operations(server) == ["PUT", "POST ?delete"]


# how objects are stored


@pytest.mark.parametrize("size", [10, PART_SIZE + 1])
def test_storage_class_and_encryption_arrive(server: S3Server, bucket: str, size: int) -> None:
    more = {"WALG_S3_STORAGE_CLASS": "STANDARD_IA", "S3_SSE": "aws:kms", "S3_SSE_KMS_ID": "my-key"}
    with open_s3(server.url, bucket, **more) as storage:
        storage.put("a", [content(size)])
        head = storage._client.head_object(Bucket=bucket, Key="cluster/a")
    assert head["StorageClass"] == "STANDARD_IA"
    assert head["ServerSideEncryption"] == "aws:kms"
    first = server.requests[0].headers
    assert first["x-amz-server-side-encryption-aws-kms-key-id"] == "my-key"


def test_sse_s3_arrives(server: S3Server, bucket: str) -> None:
    with open_s3(server.url, bucket, S3_SSE="AES256") as storage:
        storage.put("a", [b"x"])
    assert server.requests[0].headers["x-amz-server-side-encryption"] == "AES256"


@pytest.mark.parametrize("size", [10, PART_SIZE + 1])
def test_retention_arrives(server: S3Server, size: int) -> None:
    bucket = server.new_bucket(object_lock=True)
    more = {"S3_RETENTION_PERIOD": "86400", "S3_RETENTION_MODE": "COMPLIANCE"}
    with open_s3(server.url, bucket, **more) as storage:
        storage.put("a", [content(size)])
    first = server.requests[0].headers
    assert first["x-amz-object-lock-mode"] == "COMPLIANCE"
    until = datetime.fromisoformat(first["x-amz-object-lock-retain-until-date"].replace("Z", "+00:00"))
    assert abs(until - datetime.now(UTC) - timedelta(days=1)) < timedelta(minutes=1)
    bodies = [item for item in server.requests if item.method == "PUT"]
    assert bodies
    assert all("content-md5" in item.headers for item in bodies)
