"""The contract over a storage that fails every few calls, with the retry policy in between; and the fault fixtures."""

import http.client
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import pytest

from tests.fixtures import faults
from tests.fixtures.clock import FakeTime
from tests.fixtures.faults import Answer, Fault, FaultServer, FaultyStorage
from tests.storage.contract import MIB, StorageContract, content, names, read
from walpy.errors import AccessDenied, DataCorrupt, ObjectExists, ObjectMissing, StorageThrottled, StorageUnavailable
from walpy.storage.base import Chunk, Folder, ObjectReader, Storage, StoredObject
from walpy.storage.fs import FsStorage
from walpy.storage.retry import RetryPolicy

T = TypeVar("T")

RESET = StorageUnavailable("connection reset")
SLOW_DOWN = StorageThrottled("slow down")


class RetryingStorage:
    """A storage that uses the policy as backends do: look-ups are repeated, reads go on, puts pass through."""

    def __init__(self, storage: Storage, policy: RetryPolicy) -> None:
        self._storage = storage
        self._policy = policy
        self.url = storage.url
        self.close = storage.close
        self._changes: Counter[str] = Counter()  # by name; odd while a put is under way
        self._changed = threading.Condition()

    def put(self, name: str, chunks: Iterable[Chunk], *, create_only: bool = False) -> int:
        self._note_change(name)
        try:
            return self._storage.put(name, chunks, create_only=create_only)
        finally:
            self._note_change(name)

    def _note_change(self, name: str) -> None:
        with self._changed:
            self._changes[name] += 1
            self._changed.notify_all()

    def version(self, name: str) -> tuple[StoredObject, int]:
        """Tells versions apart, which time and size alone do not: two may be written within a tick of the clock."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes[name] % 2 == 0, 1.0)
            changes = self._changes[name]
        if changes % 2:
            raise DataCorrupt("the object is being changed")
        return self.stat(name), changes

    def call(self, function: Callable[[], T]) -> T:
        return self._policy.call(function, what="call")

    def open(self, name: str, *, offset: int = 0, size: int | None = None) -> ObjectReader:
        return ResumingReader(self, self._policy, name, offset, size)

    def open_once(self, name: str, offset: int, size: int | None) -> ObjectReader:
        return self._storage.open(name, offset=offset, size=size)

    def stat(self, name: str) -> StoredObject:
        return self.call(lambda: self._storage.stat(name))

    def stat_many(self, names: Sequence[str]) -> list[StoredObject]:
        return self.call(lambda: self._storage.stat_many(names))

    def list_folder(self, folder: str = "") -> Folder:
        return self.call(lambda: self._storage.list_folder(folder))

    def list_names(self, folder: str = "") -> Iterator[str]:
        return iter(self.call(lambda: tuple(self._storage.list_names(folder))))

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        return iter(self.call(lambda: tuple(self._storage.list(folder))))

    def delete(self, names: Iterable[str]) -> None:
        wanted = tuple(names)
        self.call(lambda: self._storage.delete(wanted))

    def discard_unfinished(self, folder: str) -> int:
        return self.call(lambda: self._storage.discard_unfinished(folder))


class ResumingReader:
    """Reads one version of an object: what a look-up says after opening must be what it said before."""

    def __init__(self, storage: RetryingStorage, policy: RetryPolicy, name: str, offset: int, size: int | None) -> None:
        self._storage = storage
        self._policy = policy
        self._name = name
        self._offset = offset
        self._version = storage.version(name)
        rest = max(0, self._version[0].size - offset)
        self._size = rest if size is None else min(size, rest)

    @property
    def size(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Chunk]:
        return self._policy.resume(self._rest, what="read")

    def _rest(self, position: int) -> Generator[Chunk, None, None]:
        with self._storage.open_once(self._name, self._offset + position, self._size - position) as reader:
            if self._storage.version(self._name) != self._version:
                raise DataCorrupt("the object changed")
            yield from reader

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open between chunks."""


class TestRetriedFaults(StorageContract):
    """Failing calls and broken reads are invisible behind the policy."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> RetryingStorage:
        time = FakeTime()
        faulty = FaultyStorage(
            FsStorage(str(tmp_path)),
            Fault("stat", RESET, every=2),
            Fault("stat_many", SLOW_DOWN, every=2),
            Fault("open", RESET, every=3),
            Fault("read chunk", RESET, every=3),
            Fault("list", SLOW_DOWN, every=2),
            Fault("list_folder", RESET, every=2),
            Fault("delete", RESET, every=2),
            Fault("discard_unfinished", RESET, every=2),
        )
        return RetryingStorage(faulty, RetryPolicy(clock=time.clock, sleep=time.sleep))


@pytest.mark.parametrize("number", [1, 2, 5, 9])
@pytest.mark.parametrize("create_only", [False, True])
def test_a_put_that_fails_at_any_chunk_leaves_nothing(tmp_path: Path, number: int, create_only: bool) -> None:
    storage = FaultyStorage(FsStorage(str(tmp_path)), Fault("put chunk", RESET, number=number))
    with pytest.raises(StorageUnavailable) as caught:
        storage.put("a", [content(MIB)] * 9, create_only=create_only)
    assert caught.value is RESET
    assert names(storage) == []
    assert storage.counts["put chunk"] == number


def test_a_put_whose_answer_got_lost_is_there(tmp_path: Path) -> None:
    storage = FaultyStorage(FsStorage(str(tmp_path)), Fault("after put", RESET))
    with pytest.raises(StorageUnavailable):
        storage.put("a", [b"x"], create_only=True)
    assert read(storage, "a") == b"x"
    with pytest.raises(ObjectExists):
        storage.put("a", [b"x"], create_only=True)


def test_a_faulty_storage_without_faults_only_counts(tmp_path: Path) -> None:
    storage = FaultyStorage(FsStorage(str(tmp_path)))
    storage.put("a", [b"x", b"y"])
    assert read(storage, "a") == b"xy"
    with pytest.raises(ObjectMissing):
        storage.stat("b")
    assert storage.counts == {"put": 1, "put chunk": 2, "after put": 1, "open": 1, "read chunk": 2, "stat": 1}


def test_a_fault_without_a_remedy_comes_out(tmp_path: Path) -> None:
    storage = FaultyStorage(FsStorage(str(tmp_path)), Fault("list", AccessDenied("no"), number=2))
    assert names(storage) == []
    with pytest.raises(AccessDenied):
        names(storage)
    assert names(storage) == []


# the server


def ask(
    server: FaultServer, method: str = "GET", path: str = "/b/k?x=1", body: bytes = b"", timeout: float = 60
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=timeout)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        response.read()
        return response
    finally:
        connection.close()


def test_the_server_answers_in_turn_and_repeats_the_last() -> None:
    with FaultServer(faults.SLOW_DOWN, faults.FORBIDDEN, Answer(200, body=b"ok")) as server:
        answers = [ask(server) for _ in range(4)]
    assert [answer.status for answer in answers] == [503, 403, 200, 200]
    assert answers[0].headers["Retry-After"] == "1"
    assert [(request.method, request.path) for request in server.requests] == [("GET", "/b/k?x=1")] * 4


@pytest.mark.parametrize(
    ("answer", "status"),
    [(faults.STORAGE_FULL, 507), (faults.UNAVAILABLE, 503), (faults.INTERNAL_ERROR, 500), (faults.NOT_FOUND, 404)],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE"])
def test_the_server_answers_every_method(answer: Answer, status: int, method: str) -> None:
    with FaultServer(answer) as server:
        assert ask(server, method, body=bytes(3 * MIB) if method in ("PUT", "POST") else b"").status == status


def test_rules_of_the_server_come_first() -> None:
    with FaultServer(Answer(200), rules=[("PUT", "partNumber=2", faults.UNAVAILABLE)]) as server:
        assert ask(server, "PUT", "/b/k?partNumber=1").status == 200
        assert ask(server, "PUT", "/b/k?partNumber=2").status == 503
        assert ask(server, "GET", "/b/k?partNumber=2").status == 200


def test_the_server_cuts_connections() -> None:
    with FaultServer(faults.CUT) as server, pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        ask(server)


def test_the_server_can_keep_silent() -> None:
    with FaultServer(faults.NEVER) as server, pytest.raises(TimeoutError):
        ask(server, timeout=0.2)
    assert len(server.requests) == 1


def test_nobody_listens_on_a_closed_port() -> None:
    connection = http.client.HTTPConnection("127.0.0.1", faults.closed_port(), timeout=60)
    with pytest.raises(ConnectionRefusedError):
        connection.request("GET", "/")
