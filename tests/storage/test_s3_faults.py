"""What the S3 backend does when servers fail, networks break and processes die."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.fixtures.faults import (
    FORBIDDEN,
    INTERNAL_ERROR,
    NEVER,
    NOT_FOUND,
    SLOW_DOWN,
    STORAGE_FULL,
    Alarm,
    Answer,
    FaultServer,
    closed_port,
)
from tests.fixtures.s3_server import PART_SIZE, S3Server, Twist, open_s3
from tests.storage.contract import content, names, read
from walpy.errors import (
    AccessDenied,
    DataCorrupt,
    Interrupted,
    ObjectExists,
    ObjectMissing,
    StorageError,
    StorageFull,
    StorageThrottled,
    StorageUnavailable,
)
from walpy.storage.base import Storage

MIB = 1 << 20
LARGE = PART_SIZE + 1  # bytes; takes two parts
IMPATIENT = {"WALPY_STORAGE_DEADLINE": "1s"}
# For servers that never answer; a server that works may need longer than that on a busy machine.
SHORT = {**IMPATIENT, "WALPY_CONNECT_TIMEOUT": "500ms", "WALPY_READ_TIMEOUT": "500ms"}

CALLS: dict[str, Callable[[Storage], object]] = {
    "put": lambda storage: storage.put("a", [b"x"]),
    "create": lambda storage: storage.put("a", [b"x"], create_only=True),
    "put parts": lambda storage: storage.put("a", [bytes(LARGE)]),
    "open": lambda storage: storage.open("a"),
    "open nothing": lambda storage: storage.open("a", offset=5, size=0),
    "stat": lambda storage: storage.stat("a"),
    "stat_many": lambda storage: storage.stat_many(["a", "b"]),
    "list": lambda storage: list(storage.list()),
    "list_folder": lambda storage: storage.list_folder("a"),
    "delete": lambda storage: storage.delete(["a"]),
    "discard_unfinished": lambda storage: storage.discard_unfinished("a"),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


def bare(status: int, code: str = "") -> Answer:
    """An answer with an error code, or with nothing but a status."""
    body = f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode() if code else b""
    return Answer(status, (), body)


# servers that fail in every call


@every_call
def test_a_server_that_never_answers(call: Callable[[Storage], object]) -> None:
    with FaultServer(NEVER) as faulty, open_s3(faulty.url, **SHORT) as storage:
        began = time.monotonic()
        with pytest.raises(StorageUnavailable, match=r"s3://bucket/.*no answer in time.*tried"):
            call(storage)
        assert time.monotonic() - began < 4


@every_call
def test_a_server_that_nobody_runs(call: Callable[[Storage], object]) -> None:
    with open_s3(f"http://127.0.0.1:{closed_port()}", **SHORT) as storage:
        began = time.monotonic()
        with pytest.raises(StorageUnavailable, match=r"s3://bucket/.*cannot be reached") as caught:
            call(storage)
        assert time.monotonic() - began < 4
    assert "AWS_ENDPOINT" in caught.value.hint


@every_call
def test_a_server_that_asks_to_slow_down(call: Callable[[Storage], object]) -> None:
    with FaultServer(SLOW_DOWN) as faulty, open_s3(faulty.url, **SHORT) as storage:
        with pytest.raises(StorageThrottled, match=r"slow down.*tried"):
            call(storage)
        assert len(faulty.requests) > 2


@every_call
def test_a_server_that_forbids(call: Callable[[Storage], object]) -> None:
    with FaultServer(FORBIDDEN) as faulty, open_s3(faulty.url) as storage:
        with pytest.raises(AccessDenied, match=r"s3://bucket/.*AccessDenied") as caught:
            call(storage)
        assert "s3:ListBucket" in caught.value.hint
        assert len(faulty.requests) <= 2


@every_call
def test_a_bucket_that_does_not_exist(server: S3Server, call: Callable[[Storage], object]) -> None:
    with open_s3(server.url, "no-such-bucket", S3_ENABLE_VERSIONING="disabled") as storage:
        with pytest.raises(StorageError, match="NoSuchBucket") as caught:
            call(storage)
        assert type(caught.value) is StorageError
        assert "WALG_S3_PREFIX" in caught.value.hint


@every_call
def test_a_server_that_speaks_no_s3(call: Callable[[Storage], object]) -> None:
    """A bare 404, as of a wrong endpoint, is no proof that an object is missing: recovery must not end there."""
    with FaultServer(bare(404)) as faulty, open_s3(faulty.url, S3_ENABLE_VERSIONING="disabled") as storage:
        with pytest.raises(StorageError, match="404") as caught:
            call(storage)
        assert type(caught.value) is StorageError


def test_a_full_storage() -> None:
    with FaultServer(STORAGE_FULL) as faulty, open_s3(faulty.url) as storage:
        with pytest.raises(StorageFull, match=r"'s3://bucket/cluster/a'.*QuotaExceeded"):
            storage.put("a", [b"x"])
        assert len(faulty.requests) == 1


def test_a_missing_object_is_proven() -> None:
    with FaultServer(NOT_FOUND) as faulty, open_s3(faulty.url) as storage:
        with pytest.raises(ObjectMissing):
            storage.stat("a")
        assert [request.method for request in faulty.requests] == ["HEAD", "GET"]


@pytest.mark.parametrize(
    ("explanation", "expected"),
    [
        (bare(400, "ExpiredToken"), AccessDenied),
        (bare(403, "InvalidAccessKeyId"), AccessDenied),
        (bare(404, "NoSuchBucket"), StorageError),
        (bare(404), StorageError),
    ],
)
def test_a_refused_look_up_is_explained(explanation: Answer, expected: type[StorageError]) -> None:
    rules = [("HEAD", "", Answer(explanation.status)), ("GET", "", explanation)]
    with FaultServer(NEVER, rules=rules) as faulty, open_s3(faulty.url) as storage:
        with pytest.raises(StorageError) as caught:
            storage.stat("a")
        assert type(caught.value) is expected


def test_a_server_that_contradicts_itself() -> None:
    rules = [("HEAD", "", Answer(404)), ("GET", "", Answer(200, (("ETag", '"x"'),), b"here"))]
    with (
        FaultServer(NEVER, rules=rules) as faulty,
        open_s3(faulty.url, **SHORT) as storage,
        pytest.raises(StorageUnavailable, match="contradicts itself"),
    ):
        storage.stat("a")


def test_a_server_that_recovers(server: S3Server, bucket: str) -> None:
    with open_s3(server.url, bucket) as storage:
        server.twist(
            Twist("PUT", status=503, code="SlowDown"),
            Twist("PUT", status=500, code="InternalError"),
            Twist("PUT", lost=True),
        )
        storage.put("a", [b"x"])
        assert len(server.seen("PUT")) == 4
        assert read(storage, "a") == b"x"


@pytest.mark.parametrize("v1", ["", "true"])
def test_listings_that_do_not_go_on(v1: str) -> None:
    body = b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"
    with (
        FaultServer(Answer(200, (), body)) as faulty,
        open_s3(faulty.url, S3_USE_LIST_OBJECTS_V1=v1) as storage,
        pytest.raises(StorageError, match="where to go on"),
    ):
        list(storage.list())


# deletes


def deleted(*failures: tuple[str, str]) -> Answer:
    """An answer to DeleteObjects: the key and error code of each failure."""
    items = "".join(
        f"<Error><Key>{key}</Key><Code>{code}</Code><Message>why</Message></Error>" for key, code in failures
    )
    return Answer(200, (), f"<DeleteResult>{items}</DeleteResult>".encode())


def test_failures_within_a_batch_are_raised() -> None:
    answer = deleted(("cluster/a", "NoSuchKey"), ("cluster/b", "AccessDenied"), ("cluster/c", "AccessDenied"))
    with (
        FaultServer(answer) as faulty,
        open_s3(faulty.url, S3_ENABLE_VERSIONING="disabled") as storage,
        pytest.raises(AccessDenied, match=r"'s3://bucket/cluster/b' and 1 others.*AccessDenied.*why"),
    ):
        storage.delete(["a", "b", "c"])


def test_passing_failures_within_a_batch_are_tried_again() -> None:
    answers = deleted(("cluster/b", "InternalError")), deleted(("cluster/a", "NoSuchKey"))
    with FaultServer(*answers) as faulty, open_s3(faulty.url, S3_ENABLE_VERSIONING="disabled") as storage:
        storage.delete(["a", "b"])
        assert len(faulty.requests) == 2


def test_a_bucket_that_does_not_tell_its_versioning(server: S3Server, bucket: str) -> None:
    with open_s3(server.url, bucket) as storage:
        storage.put("a", [b"x"])
        server.twist(Twist("GET ?versioning", status=403, code="AccessDenied"))
        storage.delete(["a"])
        assert names(storage) == []


# downloads


def test_a_download_that_makes_no_progress_ends(server: S3Server, bucket: str) -> None:
    with open_s3(server.url, bucket, **IMPATIENT) as storage:
        storage.put("a", [content(3 * MIB)])
        server.twist(Twist("GET", cut_after=MIB + 1), Twist("GET", times=10_000, lost=True))
        began = time.monotonic()
        with pytest.raises(StorageUnavailable, match=r"'s3://.*/cluster/a'"):
            read(storage, "a")
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("change", ["replace", "delete"])
def test_an_object_that_changes_while_it_is_read(server: S3Server, bucket: str, change: str) -> None:
    with open_s3(server.url, bucket) as storage:
        storage.put("a", [content(3 * MIB, seed=1)])

        def change_it() -> None:
            if change == "replace":
                storage.put("a", [content(3 * MIB, seed=2)])
            else:
                storage._client.delete_object(Bucket=bucket, Key="cluster/a")

        server.twist(Twist("GET", cut_after=MIB + 1), Twist("GET", status=500, code="InternalError", before=change_it))
        with pytest.raises(DataCorrupt, match="while it was read"):
            read(storage, "a")


def test_a_server_that_ignores_ranges() -> None:
    with FaultServer(Answer(200, (("ETag", '"x"'),), b"0123456789")) as faulty, open_s3(faulty.url) as storage:
        assert read(storage, "a") == b"0123456789"
        assert read(storage, "a", size=3) == b"012"
        with pytest.raises(StorageError, match="does not support ranges"):
            storage.open("a", offset=3)


def test_a_download_cut_short_by_an_orderly_end_is_noticed(server: S3Server, bucket: str) -> None:
    """A connection that ends without a reset looks like the end of the object; only its length tells."""
    data = content(3 * MIB)
    with open_s3(server.url, bucket) as storage:
        storage.put("a", [data])
        with storage.open("a") as reader:
            body = reader._body
            whole_read = body.read
            left = [MIB]

            def read_some(size: int) -> bytes:
                left[0] -= size
                return whole_read(size) if left[0] >= 0 else b""

            body.read = read_some
            assert b"".join(bytes(chunk) for chunk in reader) == data


# uploads


def test_only_the_part_is_sent_again(server: S3Server, bucket: str) -> None:
    data = content(3 * PART_SIZE)
    with open_s3(server.url, bucket) as storage:
        server.twist(
            Twist("PUT ?partNumber", lost=True),
            Twist("PUT ?partNumber", status=500, code="InternalError"),
            Twist("POST ?uploads", status=503, code="SlowDown"),
        )
        storage.put("a", [data], create_only=True)
        assert len(server.seen("PUT ?partNumber")) == 5
        assert read(storage, "a") == data


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (500, "InternalError", StorageUnavailable),
        (403, "AccessDenied", AccessDenied),
        (507, "XMinioStorageFull", StorageFull),
    ],
)
@pytest.mark.parametrize("skip", [0, 3])
def test_a_part_that_cannot_be_stored(
    server: S3Server, bucket: str, status: int, code: str, expected: type[StorageError], skip: int
) -> None:
    produced: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number in range(20):
            produced.append(number)
            yield bytes(PART_SIZE)

    with open_s3(server.url, bucket, **IMPATIENT) as storage:
        server.twist(Twist("PUT ?partNumber", times=10_000, skip=skip, status=status, code=code))
        with pytest.raises(expected, match=r"cannot put 's3://.*/cluster/a'.*" + code):
            storage.put("a", chunks())
        assert len(produced) < 15  # the source is not read to its end for nothing
        assert server.requests[-1].operation == "DELETE ?uploadId"
        server.calm()
        assert names(storage) == []
        assert storage.discard_unfinished("") == 0


def test_a_failed_abort_does_not_hide_the_first_error(
    server: S3Server, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    with open_s3(server.url, bucket, **IMPATIENT) as storage:
        server.twist(
            Twist("POST ?uploadId", status=403, code="AccessDenied"),
            Twist("DELETE ?uploadId", times=10_000, status=500, code="InternalError"),
        )
        with pytest.raises(AccessDenied):
            storage.put("a", [bytes(LARGE)])
        assert len(server.seen("DELETE ?uploadId")) > 1
    assert "parts of an unfinished upload stay in the storage" in caplog.text


def test_an_abort_is_tried_again(server: S3Server, bucket: str) -> None:
    with open_s3(server.url, bucket) as storage:
        storage.put("a", [b"x"])
        server.twist(Twist("DELETE ?uploadId", status=500, code="InternalError"))
        with pytest.raises(ObjectExists):
            storage.put("a", [bytes(LARGE)], create_only=True)
        assert storage.discard_unfinished("") == 0


def test_an_upload_that_the_server_has_lost(server: S3Server, bucket: str) -> None:
    with open_s3(server.url, bucket) as storage:
        server.twist(
            Twist("POST ?uploadId", status=500, code="InternalError"),
            Twist("POST ?uploadId", status=404, code="NoSuchUpload"),
        )
        with pytest.raises(StorageError, match="has lost the upload"):
            storage.put("a", [bytes(LARGE)])


def test_an_upload_that_was_completed_by_a_lost_request(server: S3Server, bucket: str) -> None:
    data = content(LARGE)
    with open_s3(server.url, bucket) as storage:
        server.twist(Twist("POST ?uploadId", lost=True), Twist("POST ?uploadId", status=404, code="NoSuchUpload"))
        assert storage.put("a", [data]) == LARGE
        assert read(storage, "a") == data


# signals and kills


@every_call
def test_a_signal_ends_a_call_within_two_seconds(call: Callable[[Storage], object]) -> None:
    with FaultServer(NEVER) as faulty, open_s3(faulty.url) as storage:
        began = time.monotonic()
        with Alarm(0.3), pytest.raises(Interrupted):
            call(storage)
        assert time.monotonic() - began < 2.3


def test_a_signal_ends_the_pause_between_attempts() -> None:
    with (
        FaultServer(INTERNAL_ERROR) as faulty,
        open_s3(faulty.url, WALPY_STORAGE_DEADLINE="5m") as storage,
        Alarm(1.0),
        pytest.raises(Interrupted),
    ):
        storage.put("a", [b"x"])


def test_a_signal_ends_an_upload_in_parts(server: S3Server, bucket: str) -> None:
    release = threading.Event()
    with open_s3(server.url, bucket) as storage:
        server.twist(Twist("PUT ?partNumber", times=99, before=lambda: release.wait(30)))
        began = time.monotonic()
        with Alarm(0.5), pytest.raises(Interrupted):
            storage.put("a", (bytes(PART_SIZE) for _ in range(20)))
        assert time.monotonic() - began < 2.5
        assert server.seen("DELETE ?uploadId")
        release.set()
        assert names(storage) == []


KILLED_PUT = """
import sys
from tests.fixtures.s3_server import PART_SIZE, open_s3

def chunks():
    for _ in range(3):
        yield bytes(PART_SIZE)
    print("half", flush=True)
    sys.stdin.read()

with open_s3(sys.argv[1], sys.argv[2]) as storage:
    storage.put("backup/a", chunks())
"""


def test_a_killed_put_leaves_nothing_visible(server: S3Server, bucket: str) -> None:
    command = [sys.executable, "-c", KILLED_PUT, server.url, bucket]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"half\n"
        process.kill()
    with open_s3(server.url, bucket) as storage:
        assert names(storage) == []
        assert storage.discard_unfinished("other") == 0
        assert storage.discard_unfinished("backup") == 1
        assert storage.discard_unfinished("") == 0
