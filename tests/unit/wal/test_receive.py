"""wal-receive without a server: how bytes become segments, and what the server is told when."""

import threading
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.unit.wal.synthetic import FIRST, segment
from walpy.archive import Archive
from walpy.errors import ConfigError, DataCorrupt, InvalidWal, StorageFull
from walpy.postgres.lsn import Lsn
from walpy.postgres.replication import NO_LSN, Data
from walpy.postgres.replication_connection import Identity
from walpy.wal import receive
from walpy.wal.receive import WalReceiver, _Incoming, _Segment, _Uploads
from walpy.wal.validate import Cluster

MIB = 1 << 20
HISTORY = b"1\t0/300000\tno recovery target specified\n"


class Stream:
    """What a receiver calls of a replication connection."""

    def __init__(self, history: bytes | None = None) -> None:
        self.told: list[tuple[int, int]] = []
        self._history = history

    def acknowledge(self, flushed: int, received: int) -> None:
        self.told.append((flushed, received))

    def history(self, timeline: int) -> bytes | None:
        return self._history


class Storing:
    """What stores segments: each when it may."""

    def __init__(self) -> None:
        self.may: dict[str, threading.Event] = {}
        self.error: Exception | None = None

    def store_segment(self, stored: _Segment) -> None:
        stored.close()
        self.may.setdefault(stored.name, threading.Event()).wait(10)
        if self.error:
            raise self.error


def data(start: int, content: bytes) -> Data:
    return Data(Lsn(start), memoryview(content))


def wait_for(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(500):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it never came")


def test_bytes_become_segments_wherever_messages_end() -> None:
    plain = [segment(FIRST), segment("000000010000000000000002"), b"rest"]
    content = b"".join(plain)
    found = []
    with closing(_Incoming(1, 1, MIB)) as incoming:
        for start in range(0, len(content), 300_001):
            for whole in incoming.add(data(MIB + start, content[start : start + 300_001])):
                whole.file.seek(0)
                found.append((whole.name, whole.file.read()))
                whole.close()
        assert found == [(FIRST, plain[0]), ("000000010000000000000002", plain[1])]
        rest = incoming.rest
        assert (rest.name, rest.size, incoming.lsn) == ("000000010000000000000003", 4, 3 * MIB + 4)


@pytest.mark.parametrize("start", [MIB - 1, MIB + 1, 0])
def test_bytes_that_do_not_follow_are_refused(start: int) -> None:
    with closing(_Incoming(1, 1, MIB)) as incoming, pytest.raises(DataCorrupt, match="instead of 0/100000"):
        list(incoming.add(data(start, b"x")))


def test_the_server_hears_of_a_segment_when_it_and_all_before_are_stored() -> None:
    storing, stream = Storing(), Stream()
    uploads = _Uploads(storing, Lsn(MIB))  # type: ignore[arg-type]  # stands in for the receiver
    names = [f"{number}" for number in range(3)]
    for name in names:
        storing.may[name] = threading.Event()
        uploads.add(_Segment(name, MIB), stream, Lsn(0))  # type: ignore[arg-type]  # stands in for the connection

    def told() -> int:
        uploads.tell(stream, Lsn(9 * MIB), is_wanted=False)  # type: ignore[arg-type]
        return max(flushed for flushed, _ in stream.told)

    assert told() == MIB
    storing.may["1"].set()
    wait_for(uploads._under_way[1][0].done)
    assert told() == MIB  # the first is not there yet
    storing.may["0"].set()
    wait_for(lambda: told() == 3 * MIB)
    assert all(received == 9 * MIB for _, received in stream.told)
    storing.may["2"].set()
    uploads.finish()
    uploads.close()
    assert told() == 4 * MIB


def test_a_server_that_asks_is_told_what_was_received_too() -> None:
    stream = Stream()
    uploads = _Uploads(Storing(), Lsn(MIB))  # type: ignore[arg-type]
    uploads.tell(stream, Lsn(MIB + 5), is_wanted=True)  # type: ignore[arg-type]
    assert stream.told == [(MIB, MIB + 5), (NO_LSN, MIB + 5)]


def test_a_storage_that_fails_ends_it() -> None:
    storing, stream = Storing(), Stream()
    storing.error = StorageFull("no room")
    storing.may["a"] = threading.Event()
    storing.may["a"].set()
    uploads = _Uploads(storing, Lsn(MIB))  # type: ignore[arg-type]
    uploads.add(_Segment("a", MIB), stream, Lsn(0))  # type: ignore[arg-type]
    with closing(uploads), pytest.raises(StorageFull):
        uploads.finish()
    assert stream.told == []


def test_no_more_than_some_segments_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "STATUS_SECONDS", 0.01)
    storing, stream = Storing(), Stream()
    uploads = _Uploads(storing, Lsn(0))  # type: ignore[arg-type]
    names = [f"{number}" for number in range(receive.MOST_UPLOADS + 1)]
    for name in names:
        storing.may[name] = threading.Event()

    def add_all() -> None:
        for name in names:
            uploads.add(_Segment(name, MIB), stream, Lsn(0))  # type: ignore[arg-type]

    adding = threading.Thread(target=add_all)
    adding.start()
    wait_for(lambda: len(stream.told) > 2)  # it waits, and the server hears so
    assert len(uploads._under_way) == receive.MOST_UPLOADS
    for event in storing.may.values():
        event.set()
    adding.join()
    uploads.finish()
    uploads.close()


@pytest.mark.parametrize(
    ("lsn", "history", "timeline"),
    [(0x2F0000, HISTORY, 1), (0x300000, HISTORY, 2), (0x400000, HISTORY, 2), (0x2F0000, None, 2)],
)
def test_the_timeline_that_a_position_is_on(lsn: int, history: bytes | None, timeline: int, archive: Archive) -> None:
    identity = Identity(1, 2, Lsn(0x500000))
    found = WalReceiver(archive)._timeline_of(Stream(history), identity, Lsn(lsn))  # type: ignore[arg-type]
    assert found == timeline
    assert archive.find_wal("00000002.history") == ("wal_005/00000002.history.lz4" if history else None)


def test_a_segment_that_is_not_what_it_should_be_is_not_archived(archive: Archive) -> None:
    receiver = WalReceiver(archive)
    receiver._cluster = Cluster(1, MIB)  # not the one of the synthetic segments
    wrong = _Segment(FIRST, MIB)
    wrong.add(memoryview(segment(FIRST)))
    with pytest.raises(InvalidWal, match="is not archived"):
        receiver.store_segment(wrong)
    assert archive.find_wal(FIRST) is None


@pytest.mark.parametrize("name", ["", "Walg", "a-b", "a" * 64])
def test_names_of_slots(name: str, archive: Archive) -> None:
    archive.config = archive.config.from_mapping({"WALG_FILE_PREFIX": "/x", "WALG_SLOTNAME": name or "_ "})
    with pytest.raises(ConfigError, match="WALG_SLOTNAME"):
        WalReceiver(archive)
