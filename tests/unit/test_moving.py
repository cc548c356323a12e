"""st transfer files, pg-wals: what moves, what is compared, and that no stop loses or doubles anything."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.fixtures.failover import Places
from tests.fixtures.faults import Fault, FaultyStorage
from tests.fixtures.killed import Death, Killed, MortalStorage
from tests.fixtures.s3_server import S3Server, settings
from tests.unit.wal.synthetic import SYSTEM_IDENTIFIER, archive_in
from walpy.archive import Archive, open_stored
from walpy.cli import main
from walpy.comparing import same_bytes, same_content
from walpy.copying import Conflict
from walpy.errors import ConfigError, ObjectMissing, StorageError, StorageUnavailable
from walpy.moving import REMOVED_AT_ONCE, MoveOptions, move_objects
from walpy.progress import SilentProgress
from walpy.storage.base import Chunk, StoredObject
from walpy.wal.identity import admit, check_identity

NAMES = ["a", *(f"wal_005/0000000100000000000000{number:02}.lz4" for number in range(1, 4)), "wal_005/00000002.history"]
OBJECTS = {name: f"content of {name}".encode() for name in NAMES}
ONE = MoveOptions(concurrency=1, interval=0)


@pytest.fixture
def source(tmp_path: Path) -> Archive:
    archive = archive_in(tmp_path / "source")
    for name, data in OBJECTS.items():
        archive.put_bytes(name, data)
    return archive


@pytest.fixture
def target(tmp_path: Path) -> Archive:
    return archive_in(tmp_path / "target")


def content(archive: Archive) -> dict[str, bytes]:
    return {name: archive.get_bytes(name) for name in archive.storage.list_names()}


def move(source: Archive, target: Archive, prefix: str = "", **options: object) -> None:
    move_objects(source, target, prefix, ONE._replace(**options), SilentProgress())  # type: ignore[arg-type]


def mortal(archive: Archive, death: Death) -> Archive:
    return Archive(archive.config, MortalStorage(archive.storage, death), archive.codec)


# ---- what moves


@pytest.mark.parametrize(
    ("prefix", "moved"),
    [("", NAMES), ("wal_005/", NAMES[1:]), ("wal_005", NAMES[1:]), (NAMES[1], NAMES[1:2]), ("wal_00", []), ("a/", [])],
)
def test_an_object_or_a_folder_moves(prefix: str, moved: list[str], source: Archive, target: Archive) -> None:
    move(source, target, prefix, concurrency=4)
    assert content(target) == {name: OBJECTS[name] for name in moved}
    assert content(source) == {name: OBJECTS[name] for name in NAMES if name not in moved}


def test_the_log_is_wal_gs(source: Archive, target: Archive, caplog: pytest.LogCaptureFixture) -> None:
    target.put_bytes("a", OBJECTS["a"])
    with caplog.at_level(logging.INFO):
        move(source, target)
    assert caplog.messages == [
        "Total files in the source storage: 5",
        "Files missing in the target storage: 4",
        "Files will be transferred: 5",
        *(f'File is transferred ({4 - place} left): "{name}"' for place, name in enumerate(sorted(NAMES))),
    ]


def test_preserved_objects_stay(source: Archive, target: Archive) -> None:
    target.put_bytes("a", bytes(len(OBJECTS["a"])))  # of the same size: nothing is removed, so nobody reads it
    move(source, target, preserve=True)
    assert content(source) == OBJECTS
    assert content(target) == {**OBJECTS, "a": bytes(len(OBJECTS["a"]))}


def test_at_most_so_many(source: Archive, target: Archive) -> None:
    for count in (0, 2, 4, 5):
        move(source, target, max_files=count)
        move(source, target, max_files=0)
        assert len(content(target)) == min(5, {0: 0, 2: 2, 4: 6, 5: 6}[count])
    assert content(source) == {}


def test_more_objects_than_are_removed_at_once(source: Archive, target: Archive) -> None:
    names = [f"many/{number:04}" for number in range(2 * REMOVED_AT_ONCE + 1)]
    for name in names:
        source.put_bytes(name, name.encode())
    move(source, target, "many", concurrency=4)
    assert content(target) == {name: name.encode() for name in names}
    assert content(source) == OBJECTS


def test_walpys_own_stays_unless_it_is_named(source: Archive, target: Archive) -> None:
    check_identity(source, SYSTEM_IDENTIFIER, None)
    move(source, target)
    assert list(content(source)) == ["walpy_005/identity.json"]
    move(source, target, "walpy_005/")
    assert list(content(source)) == []


def test_one_storage_is_no_move(source: Archive) -> None:
    with pytest.raises(ConfigError, match="the same archive"):
        move(source, source)


# ---- what is compared


@pytest.mark.parametrize("other", [b"other", bytes(len(OBJECTS["a"]))], ids=["size", "content"])
def test_another_object_is_an_error_and_the_rest_moves(
    other: bytes, source: Archive, target: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    target.put_bytes("a", other)
    with pytest.raises(StorageError, match="finished with 1 errors"):
        move(source, target)
    assert content(source) == {"a": OBJECTS["a"]}
    assert content(target) == {**OBJECTS, "a": other}
    assert 'error with file "a": copy failed:' in caplog.text
    assert source.storage.url in caplog.text
    assert target.storage.url in caplog.text
    with pytest.raises(Conflict, match=f"another object of that name \\({len(other)} bytes\\)"):
        move(source, target, fail_fast=True)
    move(source, target, overwrite=True)
    assert content(source) == {}
    assert content(target) == OBJECTS


def test_fail_fast_ends_at_the_first_failure(source: Archive, target: Archive) -> None:
    target.put_bytes("a", b"other")
    with pytest.raises(Conflict):
        move(source, target, fail_fast=True)
    assert content(source) == OBJECTS
    assert len(content(target)) <= 3  # what was under way


def test_a_copy_that_differs_keeps_the_source(source: Archive, target: Archive) -> None:
    class Cutting(FaultyStorage):
        def put(self, name: str, chunks: Iterable[Chunk], *, create_only: bool = False) -> int:
            return super().put(name, [b"".join(bytes(chunk) for chunk in chunks)[:-1]], create_only=create_only)

    target.storage = Cutting(target.storage)
    with pytest.raises(StorageError, match="finished with 5 errors"):
        move(source, target)
    assert content(source) == OBJECTS


class Telling(FaultyStorage):
    """Tells a digest of the same form as an MD5 that is none, and of nothing else for what is missing."""

    digest = "0" * 32

    def describe(self, name: str) -> tuple[StoredObject, str]:
        self.event("describe")
        return self._storage.stat(name), self.digest


def test_a_digest_that_is_no_md5_has_both_read(source: Archive, target: Archive) -> None:
    target.storage = Telling(target.storage)
    move(source, target, "a")
    assert content(target) == {"a": OBJECTS["a"]}
    assert content(source) == {name: OBJECTS[name] for name in NAMES[1:]}

    class Changing(Telling):
        def put(self, name: str, chunks: Iterable[Chunk], *, create_only: bool = False) -> int:
            return super().put(name, [bytes(len(chunk)) for chunk in chunks], create_only=create_only)

    target.storage = Changing(target.storage)
    with pytest.raises(StorageError, match=r"the copy in .* differs"):
        move(source, target, "wal_005/", fail_fast=True)
    assert content(source) == {name: OBJECTS[name] for name in NAMES[1:]}


def test_equal_digests_spare_the_reading(source: Archive, target: Archive) -> None:
    target.put_bytes("a", bytes(len(OBJECTS["a"])))
    source.storage, target.storage = Telling(source.storage), Telling(target.storage)
    assert same_content(source.storage, target.storage, "a")
    assert not same_bytes(source.storage, target.storage, "a")
    assert source.storage.counts["open"] == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [([b""], [b""]), ([b"a" * 5], [b"a" * 5]), ([b"a" * 3_000_000], [b"a" * 3_000_000])],
)
def test_equal_bytes(one: list[bytes], other: list[bytes], source: Archive, target: Archive) -> None:
    source.storage.put("x", one)
    target.storage.put("x", other)
    assert same_bytes(source.storage, target.storage, "x")
    source.storage.put("x", [*one, b"b"])
    assert not same_bytes(source.storage, target.storage, "x")
    target.storage.put("x", [*other, b"c"])
    assert not same_bytes(source.storage, target.storage, "x")


class Late(FaultyStorage):
    """Shows what was stored at the number-th look."""

    looks = 0
    number = 2

    def stat(self, name: str) -> StoredObject:
        self.looks += 1
        if self.looks < self.number:
            raise ObjectMissing("not yet")
        return super().stat(name)


def test_a_copy_may_appear_late(source: Archive, target: Archive, caplog: pytest.LogCaptureFixture) -> None:
    target.storage = Late(target.storage)
    move(source, target, "a")
    assert "Written file hasn't appeared in the target storage (check 1 of 3)" in caplog.text
    assert "a" not in content(source)


def test_a_copy_that_does_not_appear_keeps_the_source(source: Archive, target: Archive) -> None:
    target.storage = late = Late(target.storage)
    late.number = 9
    with pytest.raises(StorageError, match=r"couldn't wait for the file to appear in the target storage \(3 checks"):
        move(source, target, "a", fail_fast=True)
    with pytest.raises(StorageError, match=r"\(1 checks performed\)"):  # with 0 it is looked at all the same
        move(source, target, NAMES[1], fail_fast=True, checks=0)
    assert content(source) == OBJECTS


def test_who_stores_it_meanwhile_is_compared(source: Archive, target: Archive) -> None:
    class Overtaken(FaultyStorage):
        def put(self, name: str, chunks: Iterable[Chunk], *, create_only: bool = False) -> int:
            self._storage.put(name, [OBJECTS[name] if name == "a" else b"other"])
            return super().put(name, chunks, create_only=create_only)

    target.storage = Overtaken(target.storage)
    with pytest.raises(StorageError, match="finished with 4 errors"):
        move(source, target)
    assert content(source) == {name: OBJECTS[name] for name in NAMES[1:]}


# ---- failures and stops


def test_an_object_that_cannot_be_removed_is_told_of(
    source: Archive, target: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    source.storage = FaultyStorage(source.storage, Fault("delete", StorageUnavailable("gone")))
    with pytest.raises(StorageError, match="finished with 5 errors"):
        move(source, target)
    assert 'error with file "a": delete failed: gone' in caplog.text
    move(source, target)
    assert content(source) == {}
    assert content(target) == OBJECTS


@pytest.mark.parametrize("concurrency", [1, 3])
def test_wherever_it_is_killed_nothing_is_lost_and_the_next_run_completes_it(
    concurrency: int, source: Archive, target: Archive, unsynced: None
) -> None:
    number = 0
    while True:
        number += 1
        for name, data in OBJECTS.items():
            source.put_bytes(name, data)
        target.storage.delete(NAMES)
        death = Death(number)
        try:
            move(mortal(source, death), mortal(target, death), concurrency=concurrency)
            break
        except Killed:
            pass
        assert {**content(source), **content(target)} == OBJECTS
        move(source, target, concurrency=concurrency)
        assert content(source) == {}
        assert content(target) == OBJECTS
    assert number > 15  # as many requests as there are, and one


# ---- on S3


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture
def bucket(server: S3Server) -> Iterator[Archive]:
    with closing(open_stored(settings(server.url, server.new_bucket()))) as archive:
        yield archive


def test_a_server_copies_itself(server: S3Server, bucket: Archive) -> None:
    with closing(open_stored(settings(server.url, server.new_bucket()))) as target:
        for name, data in OBJECTS.items():
            bucket.put_bytes(name, data)
        server.requests.clear()
        move(bucket, target)
        assert content(target) == OBJECTS
        assert content(bucket) == {}
    copies = [request for request in server.requests if request.method == "PUT"]
    assert len(copies) == len(OBJECTS)
    assert all("x-amz-copy-source" in request.headers for request in copies)
    assert len(server.seen("POST ?delete")) == 1


def test_to_a_bucket_and_back(server: S3Server, bucket: Archive, source: Archive) -> None:
    move(source, bucket)
    assert content(bucket) == OBJECTS
    found, digest = bucket.storage.describe("a")  # type: ignore[attr-defined]
    assert (found.size, len(digest)) == (len(OBJECTS["a"]), 32)
    move(bucket, source)
    assert content(source) == OBJECTS
    assert content(bucket) == {}


def test_equal_objects_of_two_buckets_are_not_read(server: S3Server, bucket: Archive) -> None:
    with closing(open_stored(settings(server.url, server.new_bucket()))) as target:
        for archive in (bucket, target):
            archive.put_bytes("a", b"same")
            archive.put_bytes("b", archive.storage.url.encode())
        server.requests.clear()
        with pytest.raises(StorageError, match="finished with 1 errors"):
            move(bucket, target)
        reads = [
            request.path for request in server.requests if request.method == "GET" and "list-type" not in request.path
        ]
        assert [path.rpartition("/")[2] for path in reads if path.endswith("/a")] == []
        assert list(content(bucket)) == ["b"]


# ---- the command


def test_the_command(places: Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for key, value in places.settings().items():
        monkeypatch.setenv(key, value)
    for name, data in OBJECTS.items():
        path = places.base / "b" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    assert main(["st", "transfer", "pg-wals", "--source", "b", "--preserve"]) == 0
    assert places.objects("default") == NAMES[1:]
    assert main(["st", "transfer", "pg-wals", "-s", "b", "--target=c", "-c", "1", "-m", "2"]) == 0
    assert places.objects("c") == NAMES[1:3]
    assert main(["st", "transfer", "pg-wals", "-s", "b", "-t", "default"]) == 0
    assert places.objects("b") == ["a"]
    assert main(["st", "transfer", "files", "a", "-s", "b", "--appearance-checks=1", "--fail-fast"]) == 0
    assert places.objects("default") == NAMES
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "invalid flags: source storage must be specified"),
        (["-s", "all"], "invalid flags: an explicit source storage must be specified instead of 'all'"),
        (["-s", "b", "-t", "all"], "invalid flags: an explicit target storage must be specified instead of 'all'"),
        (["-s", "default"], "invalid flags: source and target storages must be different"),
        (["-s", "b", "-c", "0"], "invalid flags: concurrency level must be >= 1 (which turns it off)"),
        (["-s", "b", "-t", "nowhere"], 'unknown storage "nowhere"'),
        (["-s", "b", "--appearance-checks-interval", "1"], "expected a duration with unit"),
        (["-s", "b", "-m", "-1"], "--max-files"),
    ],
)
def test_flags_without_sense(
    flags: list[str],
    words: str,
    places: Places,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for key, value in places.settings().items():
        monkeypatch.setenv(key, value)
    for command in (["files", "a"], ["pg-wals"], ["backups"]):
        assert main(["st", "transfer", *command, *flags]) == 1
        assert words in capsys.readouterr().err


def test_wal_of_another_cluster_is_refused(
    places: Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in places.settings().items():
        monkeypatch.setenv(key, value)
    source, target = archive_in(places.base / "b"), archive_in(places.base / "default")
    source.put_bytes(NAMES[1], b"wal")
    check_identity(source, SYSTEM_IDENTIFIER, None)
    check_identity(target, SYSTEM_IDENTIFIER + 1, None)
    assert main(["st", "transfer", "pg-wals", "-s", "b"]) == 1
    assert f"belongs to the cluster with system identifier {SYSTEM_IDENTIFIER + 1}" in capsys.readouterr().err
    assert places.objects("b") == NAMES[1:2]
    admit(target, SYSTEM_IDENTIFIER)
    assert main(["st", "transfer", "pg-wals", "-s", "b"]) == 0
    assert places.objects("default") == NAMES[1:2]
