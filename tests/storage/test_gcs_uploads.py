"""Uploads to Google Cloud Storage: requests, lost parts and answers, races, damage, kills, memory."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.fixtures.faults import NEVER, Answer, FaultServer
from tests.fixtures.gcs_server import GcsServer, Twist, open_gcs
from tests.storage.contract import SourceStopped, content, failing_chunks, names, odd_chunks, read
from walpy.errors import DataCorrupt, ObjectExists, StorageUnavailable
from walpy.storage.base import Storage

GRANULE = 256 << 10
BUFFER = 4 * GRANULE
SHORT = {"WALPY_STORAGE_DEADLINE": "0.4s"}


@pytest.fixture
def server() -> Iterator[GcsServer]:
    with GcsServer() as server:
        yield server


@pytest.fixture
def storage(server: GcsServer) -> Iterator[Storage]:
    """A storage whose buffer holds BUFFER bytes."""
    with open_gcs(server.url, GCS_MAX_CHUNK_SIZE=str(BUFFER)) as storage:
        yield storage


def test_a_small_put_is_one_request(server: GcsServer, storage: Storage) -> None:
    storage.put("wal_005/a.lz4", odd_chunks(content(BUFFER)), create_only=True)
    assert [(seen.method, seen.size > BUFFER) for seen in server.requests] == [("POST", True)]


def test_a_large_put_is_one_session_and_no_other_object(server: GcsServer, storage: Storage) -> None:
    storage.put("a", odd_chunks(content(3 * BUFFER + 1)))
    assert [(seen.method, seen.headers.get("content-range")) for seen in server.requests] == [
        ("POST", None),
        ("PUT", f"bytes 0-{BUFFER - 1}/*"),
        ("PUT", f"bytes {BUFFER}-{2 * BUFFER - 1}/*"),
        ("PUT", f"bytes {2 * BUFFER}-{3 * BUFFER - 1}/*"),
        ("PUT", f"bytes {3 * BUFFER}-{3 * BUFFER}/{3 * BUFFER + 1}"),
    ]
    assert names(storage) == ["a"]


@pytest.mark.parametrize("kept", [0, GRANULE, 3 * GRANULE])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("size", [3 * BUFFER, 3 * BUFFER + 5])
def test_what_the_server_did_not_keep_is_sent_again(
    server: GcsServer, storage: Storage, kept: int, times: int, size: int
) -> None:
    server.twist(Twist("PUT", "upload_id", times=times, keep=kept))
    data = content(size)
    assert storage.put("a", odd_chunks(data)) == size
    assert read(storage, "a") == data


@pytest.mark.parametrize(
    "twist",
    [
        Twist("PUT", "upload_id", lost=True),
        Twist("PUT", "upload_id", status=500),
        Twist("PUT", "upload_id", status=200, body=b"<html>log in first</html>"),
    ],
    ids=["lost", "500", "a proxy's page"],
)
@pytest.mark.parametrize("before", [0, 1, 2])
@pytest.mark.parametrize("create_only", [False, True])
def test_a_lost_answer_in_a_session(
    server: GcsServer, storage: Storage, twist: Twist, before: int, create_only: bool
) -> None:
    """Whether the part arrived or not, and be it the last one, which creates the object."""
    if before:
        server.twist(Twist("PUT", "upload_id", times=before))
    server.twist(twist)
    data = content(2 * BUFFER + 9)
    assert storage.put("a", odd_chunks(data), create_only=create_only) == len(data)
    assert read(storage, "a") == data
    assert len(server.seen("POST", "uploadType=resumable")) == 1


def test_a_lost_answer_to_the_start_of_a_session(server: GcsServer, storage: Storage) -> None:
    server.twist(Twist("POST", "uploadType=resumable", lost=True))
    data = content(BUFFER + 1)
    storage.put("a", odd_chunks(data), create_only=True)
    assert read(storage, "a") == data


@pytest.mark.parametrize("status", [404, 410])
def test_a_lost_session_is_said_at_once(server: GcsServer, storage: Storage, status: int) -> None:
    server.twist(Twist("PUT", "upload_id"), Twist("PUT", "upload_id", times=99, status=status))
    with pytest.raises(StorageUnavailable, match="lost the upload session"):
        storage.put("a", odd_chunks(content(3 * BUFFER)))
    assert names(storage) == []
    assert len(server.seen("PUT")) == 2


def test_a_session_that_is_gone_because_it_succeeded(server: GcsServer, storage: Storage) -> None:
    server.twist(Twist("PUT", "upload_id"), Twist("PUT", "upload_id", lost=True), Twist("PUT", "upload_id", status=410))
    data = content(BUFFER + 1)
    assert storage.put("a", odd_chunks(data), create_only=True) == len(data)
    assert read(storage, "a") == data


def test_a_server_that_keeps_nothing_ever(server: GcsServer) -> None:
    server.twist(Twist("PUT", "upload_id", times=10**6, keep=0))
    with (
        open_gcs(server.url, GCS_MAX_CHUNK_SIZE=str(BUFFER), **SHORT) as storage,
        pytest.raises(StorageUnavailable, match="kept nothing"),
    ):
        storage.put("a", odd_chunks(content(2 * BUFFER)))
    assert names(storage) == []


def test_a_lost_answer_to_a_small_create(server: GcsServer, storage: Storage) -> None:
    """The second attempt meets the first one's object."""
    server.twist(Twist("POST", "uploadType=multipart", lost=True))
    assert storage.put("a", [b"mine"], create_only=True) == 4
    assert read(storage, "a") == b"mine"
    assert len(server.seen("POST")) == 2


def test_an_unanswered_create_does_not_take_anothers_object_for_its_own(server: GcsServer, storage: Storage) -> None:
    storage.put("a", [b"same"])
    server.twist(Twist("POST", "uploadType=multipart", status=503))
    with pytest.raises(ObjectExists):
        storage.put("a", [b"same"], create_only=True)


def test_a_session_that_loses_the_race_at_its_end(server: GcsServer, storage: Storage) -> None:
    def chunks() -> Iterator[bytes]:
        yield content(BUFFER + 1)
        storage.put("a", [b"other"])

    with pytest.raises(ObjectExists):
        storage.put("a", chunks(), create_only=True)
    assert read(storage, "a") == b"other"


@pytest.mark.parametrize("size", [1000, BUFFER + 1000])
def test_a_damaged_upload_is_found_and_not_kept(server: GcsServer, storage: Storage, size: int) -> None:
    server.twist(Twist("POST", "uploadType=multipart", damage=True), Twist("PUT", "upload_id", damage=True))
    with pytest.raises(DataCorrupt, match="CRC32C"):
        storage.put("a", odd_chunks(content(size)))
    assert names(storage) == []


@pytest.mark.parametrize("error", [SourceStopped("stop"), OSError("disk")])
def test_an_interrupted_put_cancels_its_session(server: GcsServer, storage: Storage, error: BaseException) -> None:
    with pytest.raises(type(error)):
        storage.put("a", failing_chunks(content(2 * BUFFER), error))
    assert len(server.seen("DELETE", "upload_id=")) == 1
    assert names(storage) == []


def test_an_interrupted_put_does_not_wait_for_a_silent_server() -> None:
    began = Answer(200, (("Location", "unset"),))
    with FaultServer(began, rules=[("PUT", "", Answer(308, (("Range", f"bytes=0-{BUFFER - 1}"),)))]) as server:
        server._answers[0] = Answer(200, (("Location", f"{server.url}/?upload_id=1"),))
        server._rules.append(("DELETE", "", NEVER))
        with open_gcs(server.url, GCS_MAX_CHUNK_SIZE=str(BUFFER)) as storage:
            started = time.monotonic()
            with pytest.raises(SourceStopped):
                storage.put("a", failing_chunks(content(BUFFER + 1), SourceStopped()))
            assert time.monotonic() - started < 2  # what a signal leaves for cleaning up


PUT_FOR_EVER = """
import sys
from tests.fixtures.gcs_server import open_gcs
with open_gcs(sys.argv[1], GCS_MAX_CHUNK_SIZE="262144") as storage:
    storage.put("a", iter(lambda: bytes(100_000), None))
"""


def test_a_killed_put_leaves_nothing_visible(server: GcsServer, storage: Storage) -> None:
    with subprocess.Popen([sys.executable, "-c", PUT_FOR_EVER, server.url]) as process:
        limit = time.monotonic() + 30
        while len(server.seen("PUT")) < 3 and time.monotonic() < limit:
            time.sleep(0.01)
        process.kill()
    assert len(server.seen("PUT")) >= 3
    assert names(storage) == []
    assert storage.put("a", [b"later"], create_only=True) == 5


MEASURED_PUT = """
import resource, sys
from tests.fixtures.gcs_server import open_gcs
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
chunk = memoryview(bytearray(1 << 20))
with open_gcs(sys.argv[1]) as storage:
    storage.put("small", [chunk])
    before = peak()
    storage.put("large", (chunk for _ in range(200)))
    print(peak() - before)
"""


def test_memory_of_a_put_of_200_mib_is_its_buffer() -> None:
    whole = Answer(200, (), b'{"size": "209715200"}')
    with FaultServer(Answer(200), rules=[("POST", "multipart", Answer(200, (), b"{}"))]) as server:
        # Each part is taken whole, and the last one (it says the total) completes the object.
        server._answers = [Answer(200, (("Location", f"{server.url}/session"),))]
        server._answers += [Answer(308, (("Range", f"bytes=0-{(part << 23) - 1}"),)) for part in range(1, 25)]
        server._answers += [whole]
        process = subprocess.run(
            [sys.executable, "-c", MEASURED_PUT, server.url], stdout=subprocess.PIPE, text=True, check=True
        )
    assert int(process.stdout) < 12  # MiB: the buffer of 8, of which the small put touched 1
