"""What every storage backend must do: one suite, run by each of them.

    class TestMine(StorageContract):
        large_size = 3 * PART_SIZE + 7  # more than one multipart part

        @pytest.fixture
        def storage(self, tmp_path: Path) -> Iterator[Storage]:
            ...  # an empty storage, fresh for each test

Leftovers of killed processes, time-outs and the SDK's errors are each backend's own tests.
"""

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ClassVar

import pytest

from walpy.errors import DataCorrupt, ObjectExists, ObjectMissing, StorageError
from walpy.storage.base import READ_SIZE, Chunk, Folder, Storage

MIB = 1 << 20
ODD_SIZES = (1, 7, 4095, 65_537, 300_001)  # bytes; no chunk ends on a boundary that a backend would like

AWKWARD_NAMES = (
    "with space/and more.lz4",
    "ünïcode/日本語/🐘",
    "plus+plus",
    "percent%2Fslash",
    "percent%20space%",
    "hash#tag",
    "question?mark=1&and=2",
    "colon:semi;comma,at@equals=",
    "quote'double\"back\\slash",
    "star*[set]{brace}$dollar!",
    "tilde~(paren)",
    "...",
    ".hidden/.file",
)
BAD_NAMES = ("", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "./a", "a/./b", "nul\0byte")


class SourceFailed(Exception):
    """What a chunk source raises in these tests: no error of walpy's, so that nobody may translate it."""


class SourceStopped(BaseException):
    """The same for errors that are no Exception, such as KeyboardInterrupt."""


def content(size: int, seed: int = 1) -> bytes:
    """Bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def odd_chunks(data: bytes) -> Iterator[Chunk]:
    """Data in chunks of changing, odd sizes, with empty ones between them."""
    start = 0
    for size in itertools.cycle(ODD_SIZES):
        yield b""
        if start >= len(data):
            return
        yield data[start : start + size]
        start += size


def reused_chunks(data: bytes, size: int = 100_003) -> Iterator[Chunk]:
    """Data through one buffer, which is overwritten as soon as the next chunk is asked for."""
    buffer = bytearray(size)
    view = memoryview(buffer)
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        buffer[: len(piece)] = piece
        yield view[: len(piece)]
        buffer[:] = b"\xee" * size


def failing_chunks(data: bytes, error: BaseException) -> Iterator[Chunk]:
    """All of data, then error."""
    yield from odd_chunks(data)
    raise error


def read(storage: Storage, name: str, *, offset: int = 0, size: int | None = None) -> bytes:
    """Read an object (or a part of it); checks that the reader kept its promises."""
    with storage.open(name, offset=offset, size=size) as reader:
        promised = reader.size
        pieces = [bytes(chunk) for chunk in reader]
    assert all(0 < len(piece) <= READ_SIZE for piece in pieces)
    data = b"".join(pieces)
    assert len(data) == promised
    return data


def names(storage: Storage, folder: str = "") -> list[str]:
    """Names of all objects below a folder, in the order in which the storage lists them."""
    return [found.name for found in storage.list(folder)]


def put_all(storage: Storage, wanted: Iterable[str]) -> None:
    """Store each name, with its own name as the content."""
    with ThreadPoolExecutor(8) as threads:
        for _ in threads.map(lambda name: storage.put(name, [name.encode()]), wanted):
            pass


def together(calls: Sequence[Callable[[], object]]) -> list[object]:
    """Run calls at the same moment, each in its thread; give each one's result or StorageError, in order."""
    barrier = threading.Barrier(len(calls))

    def run(function: Callable[[], object]) -> object:
        barrier.wait(60)
        try:
            return function()
        except StorageError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


class StorageContract:
    """Subclasses provide the `storage` fixture, and may change the class attributes."""

    large_size: ClassVar[int] = 9 * MIB + 13  # bytes; must take more than one part, block or upload request
    many: ClassVar[int] = 0  # objects of the paging tests; above one page of a listing and of a batch delete; 0 skips
    racers: ClassVar[int] = 8
    awkward_names: ClassVar[tuple[str, ...]] = AWKWARD_NAMES

    # put and open

    @pytest.mark.parametrize("size", [0, 1, 4096, READ_SIZE, READ_SIZE + 1, 3 * MIB + 5])
    def test_round_trip(self, storage: Storage, size: int) -> None:
        data = content(size)
        assert storage.put("folder/object", odd_chunks(data)) == size
        assert read(storage, "folder/object") == data
        assert storage.stat("folder/object").size == size

    def test_put_of_no_chunks_at_all_stores_an_empty_object(self, storage: Storage) -> None:
        assert storage.put("empty", []) == 0
        assert storage.put("empty-too", [], create_only=True) == 0
        assert read(storage, "empty") == b""
        assert names(storage) == ["empty", "empty-too"]

    @pytest.mark.parametrize("create_only", [False, True])
    def test_round_trip_of_several_parts(self, storage: Storage, create_only: bool) -> None:
        data = content(self.large_size)
        assert storage.put("large", odd_chunks(data), create_only=create_only) == len(data)
        assert read(storage, "large") == data

    def test_put_takes_one_chunk_larger_than_a_part(self, storage: Storage) -> None:
        data = content(self.large_size)
        storage.put("large", [memoryview(data)])
        assert read(storage, "large") == data

    @pytest.mark.parametrize("create_only", [False, True])
    def test_put_keeps_no_chunk_beyond_its_turn(self, storage: Storage, create_only: bool) -> None:
        data = content(self.large_size)
        storage.put("reused", reused_chunks(data), create_only=create_only)
        assert read(storage, "reused") == data

    def test_put_consumes_chunks_lazily_and_once(self, storage: Storage) -> None:
        given: list[int] = []

        def chunks() -> Iterator[Chunk]:
            for number in range(5):
                given.append(number)
                yield bytes([number])

        assert storage.put("once", chunks()) == 5
        assert given == [0, 1, 2, 3, 4]
        assert read(storage, "once") == bytes(range(5))

    def test_object_is_visible_under_its_full_name_only(self, storage: Storage) -> None:
        storage.put("a/b/c", [b"x"])
        assert names(storage) == ["a/b/c"]
        for folder in ("a", "a/b"):
            with pytest.raises(ObjectMissing):
                storage.stat(folder)
            with pytest.raises(ObjectMissing):
                storage.open(folder)

    # replace and create only

    @pytest.mark.parametrize(("before", "after"), [(10, 20), (20, 10), (20, 0), (0, 20)])
    def test_put_replaces(self, storage: Storage, before: int, after: int) -> None:
        storage.put("a", [content(before, seed=1)])
        storage.put("a", [content(after, seed=2)])
        assert read(storage, "a") == content(after, seed=2)
        assert names(storage) == ["a"]

    def test_put_replaces_small_by_large_and_back(self, storage: Storage) -> None:
        data = content(self.large_size)
        for version in (b"small", data, b"small again"):
            storage.put("a", odd_chunks(version))
            assert read(storage, "a") == version

    def test_create_only_leaves_an_existing_object_alone(self, storage: Storage) -> None:
        storage.put("folder/a", [b"first"], create_only=True)
        before = storage.stat("folder/a")
        with pytest.raises(ObjectExists, match="folder/a"):
            storage.put("folder/a", [b"second"], create_only=True)
        assert read(storage, "folder/a") == b"first"
        assert storage.stat("folder/a") == before
        assert names(storage) == ["folder/a"]

    def test_create_only_of_several_parts_leaves_an_existing_object_alone(self, storage: Storage) -> None:
        storage.put("a", [b"first"])
        with pytest.raises(ObjectExists):
            storage.put("a", odd_chunks(content(self.large_size)), create_only=True)
        assert read(storage, "a") == b"first"
        assert names(storage) == ["a"]
        assert storage.discard_unfinished("") == 0

    def test_create_only_works_again_after_delete(self, storage: Storage) -> None:
        storage.put("a", [b"first"], create_only=True)
        storage.delete(["a"])
        storage.put("a", [b"second"], create_only=True)
        assert read(storage, "a") == b"second"

    @pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
    def test_exactly_one_of_many_create_only_puts_wins(self, storage: Storage, large: bool) -> None:
        racers = self.racers // 2 if large else self.racers
        versions = [content(self.large_size if large else 1000, seed) for seed in range(racers)]
        puts = [partial(storage.put, "race", reused_chunks(version), create_only=True) for version in versions]
        results = together(puts)
        winners = [version for version, result in zip(versions, results, strict=True) if isinstance(result, int)]
        assert len(winners) == 1
        assert sum(isinstance(result, ObjectExists) for result in results) == racers - 1
        assert read(storage, "race") == winners[0]

    # interrupted puts

    @pytest.mark.parametrize("create_only", [False, True])
    @pytest.mark.parametrize("part", ["nothing", "a byte", "half", "all"])
    def test_interrupted_put_leaves_nothing(self, storage: Storage, part: str, create_only: bool) -> None:
        size = {"nothing": 0, "a byte": 1, "half": self.large_size // 2, "all": self.large_size}[part]
        error = SourceFailed("the disk")
        with pytest.raises(SourceFailed) as caught:
            storage.put("folder/a", failing_chunks(content(size), error), create_only=create_only)
        assert caught.value is error
        assert names(storage) == []
        with pytest.raises(ObjectMissing):
            storage.stat("folder/a")
        assert storage.discard_unfinished("") == 0
        storage.put("folder/a", [b"later"], create_only=True)
        assert read(storage, "folder/a") == b"later"

    @pytest.mark.parametrize("part", ["nothing", "a byte", "all"])
    def test_interrupted_put_leaves_the_old_object(self, storage: Storage, part: str) -> None:
        size = {"nothing": 0, "a byte": 1, "all": self.large_size}[part]
        storage.put("a", [b"old"])
        with pytest.raises(SourceFailed):
            storage.put("a", failing_chunks(content(size), SourceFailed("the disk")))
        assert read(storage, "a") == b"old"
        assert names(storage) == ["a"]

    @pytest.mark.parametrize("error", [SourceStopped("stop"), OSError(13, "denied"), ObjectMissing("source", "hint")])
    def test_errors_of_the_source_come_out_untouched(self, storage: Storage, error: BaseException) -> None:
        with pytest.raises(type(error)) as caught:
            storage.put("a", failing_chunks(content(self.large_size), error))
        assert caught.value is error
        assert names(storage) == []

    def test_unfinished_put_is_not_visible(self, storage: Storage) -> None:
        seen: list[list[str]] = []

        def chunks() -> Iterator[Chunk]:
            yield from odd_chunks(content(self.large_size))
            seen.append(names(storage))
            seen.append([found.name for found in storage.list_folder("folder").objects])
            seen.append([found.name for found in storage.stat_many(["folder/a"])])

        storage.put("folder/a", chunks())
        assert seen == [[], [], []]
        assert names(storage) == ["folder/a"]

    # reading

    @pytest.mark.parametrize(
        ("offset", "size"),
        [(0, None), (0, 1), (0, 0), (1, None), (1, 10), (999_999, 2), (500_000, 400_000), (0, 10**9), (999_990, 10**9)],
    )
    def test_range(self, storage: Storage, offset: int, size: int | None) -> None:
        data = content(1_000_001)
        storage.put("a", [data])
        assert read(storage, "a", offset=offset, size=size) == data[offset : None if size is None else offset + size]

    @pytest.mark.parametrize(("offset", "size"), [(1000, None), (1000, 5), (1001, None), (10**9, 5), (5, 0)])
    def test_range_beyond_the_end_is_empty(self, storage: Storage, offset: int, size: int | None) -> None:
        storage.put("a", [content(1000)])
        assert read(storage, "a", offset=offset, size=size) == b""

    def test_range_of_an_empty_object_is_empty(self, storage: Storage) -> None:
        storage.put("a", [])
        assert read(storage, "a", offset=0, size=10) == b""
        assert read(storage, "a", offset=3) == b""

    def test_range_across_parts(self, storage: Storage) -> None:
        data = content(self.large_size)
        storage.put("a", odd_chunks(data))
        start, size = len(data) // 3, len(data) // 2
        assert read(storage, "a", offset=start, size=size) == data[start : start + size]

    def test_open_and_stat_of_a_missing_object(self, storage: Storage) -> None:
        storage.put("here/a", [b"x"])
        for name in ("gone", "gone/gone", "here/gone", "here/a/deeper", "here/ab"):
            with pytest.raises(ObjectMissing):
                storage.stat(name)
            with pytest.raises(ObjectMissing):
                storage.open(name)
            with pytest.raises(ObjectMissing):
                storage.open(name, offset=5, size=0)

    def test_closing_a_reader_early(self, storage: Storage) -> None:
        data = content(self.large_size)
        storage.put("a", odd_chunks(data))
        for _ in range(20):  # more often than a connection pool is deep
            with storage.open("a") as reader:
                first = bytes(next(iter(reader)))
                assert data.startswith(first)
            with storage.open("a"):
                pass
        assert read(storage, "a") == data

    def test_an_exception_while_reading_comes_out_untouched(self, storage: Storage) -> None:
        storage.put("a", [content(self.large_size)])
        error = SourceFailed("the consumer")

        def consume() -> None:
            with storage.open("a") as reader:
                for _ in reader:
                    raise error

        with pytest.raises(SourceFailed) as caught:
            consume()
        assert caught.value is error
        assert len(read(storage, "a")) == self.large_size

    # stat

    def test_stat(self, storage: Storage) -> None:
        storage.put("folder/a", [b"12345"])
        found = storage.stat("folder/a")
        assert (found.name, found.size) == ("folder/a", 5)
        assert abs(found.modified_ns - time.time_ns()) < 60 * 10**9
        assert list(storage.list("")) == [found]
        assert storage.list_folder("folder").objects == (found,)
        assert storage.stat_many(["folder/a"]) == [found]

    def test_stat_many_keeps_the_order_of_names(self, storage: Storage) -> None:
        put_all(storage, ["wal/a.lz4", "wal/a", "wal/b.br", "other/c", "top"])
        wanted = ["wal/b.br", "wal/gone", "top", "wal/a", "wal/a.lz4", "gone/x", "other/c", "wal", "wal/a.lz"]
        found = [item.name for item in storage.stat_many(wanted)]
        assert found == ["wal/b.br", "top", "wal/a", "wal/a.lz4", "other/c"]

    def test_stat_many_of_nothing(self, storage: Storage) -> None:
        assert storage.stat_many([]) == []
        assert storage.stat_many(["gone", "gone/gone"]) == []

    def test_stat_many_of_one_file_in_several_codings(self, storage: Storage) -> None:
        segment = "wal_005/00000001000000000000000A"
        put_all(
            storage, [f"{segment}.zst", f"{segment}.lz4.partial", f"{segment}0", "wal_005/00000001000000000000000B.lz4"]
        )
        wanted = [segment + extension for extension in (".lz4", ".zst", ".br", "")]
        assert [item.name for item in storage.stat_many(wanted)] == [f"{segment}.zst"]

    # listings

    def test_list_is_in_code_point_order(self, storage: Storage) -> None:
        wanted = [
            "B",
            "a-b",
            "a.b",
            "a/b",
            "a/b.c/d",
            "a/b-c",
            "a/z/y/x/w",
            "a0",
            "aa",
            "ab",
            "ab/c",
            "é",
            "日本",
            "🐘",
        ]
        wanted.remove("ab")  # an object and a folder of one name: not on a file system
        put_all(storage, wanted)
        assert names(storage) == sorted(wanted)

    def test_list_of_a_folder_ignores_names_that_only_start_alike(self, storage: Storage) -> None:
        put_all(storage, ["a/b", "a/c/d", "ab", "a.b", "a b", "a-b/c", "b/a/b"])
        assert names(storage, "a") == ["a/b", "a/c/d"]
        assert names(storage, "a/c") == ["a/c/d"]
        assert names(storage, "b") == ["b/a/b"]

    @pytest.mark.parametrize("folder", ["", "gone", "gone/deeper"])
    def test_listings_of_a_missing_folder_are_empty(self, storage: Storage, folder: str) -> None:
        assert names(storage, folder) == []
        assert storage.list_folder(folder) == Folder((), ())

    def test_listings_of_an_object_as_a_folder_are_empty(self, storage: Storage) -> None:
        storage.put("a/b", [b"x"])
        assert names(storage, "a/b") == []
        assert storage.list_folder("a/b") == Folder((), ())

    def test_list_folder_gives_direct_children(self, storage: Storage) -> None:
        put_all(storage, ["a/b", "a/c/d", "a/c/e/f", "a/c.x", "a/B/g", "a/b0", "top", "z/y"])
        root = storage.list_folder()
        assert ([found.name for found in root.objects], root.folders) == (["top"], ("a", "z"))
        inner = storage.list_folder("a")
        assert [found.name for found in inner.objects] == ["a/b", "a/b0", "a/c.x"]
        assert inner.folders == ("a/B", "a/c")
        assert [found.size for found in inner.objects] == [3, 4, 5]

    def test_list_gives_sizes(self, storage: Storage) -> None:
        for size in (0, 1, 70_000):
            storage.put(f"sized/{size:06}", [content(size)])
        assert [found.size for found in storage.list("sized")] == [0, 1, 70_000]

    def test_listings_of_more_than_a_page(self, storage: Storage) -> None:
        if not self.many:
            pytest.skip("this backend has no pages")
        wanted = sorted([f"many/{number:05}" for number in range(self.many)] + ["many/00500/x", "many/00500.y"])
        wanted.remove("many/00500")
        put_all(storage, [*wanted, "lots", "nany"])
        assert names(storage, "many") == wanted
        folder = storage.list_folder("many")
        assert [found.name for found in folder.objects] == [name for name in wanted if name != "many/00500/x"]
        assert folder.folders == ("many/00500",)
        last = wanted[-1]
        assert [found.name for found in storage.stat_many([last, "many/gone", wanted[0]])] == [last, wanted[0]]
        storage.delete(wanted)
        assert names(storage) == ["lots", "nany"]

    # delete

    def test_delete(self, storage: Storage) -> None:
        put_all(storage, ["a/b", "a/bc", "a/c/d", "e"])
        storage.delete(["a/b"])
        assert names(storage) == ["a/bc", "a/c/d", "e"]
        storage.delete(["e", "a/bc"])
        assert names(storage) == ["a/c/d"]
        with pytest.raises(ObjectMissing):
            storage.stat("a/b")

    def test_delete_ignores_missing_objects(self, storage: Storage) -> None:
        put_all(storage, ["a/b", "c"])
        storage.delete([])
        storage.delete(["gone", "a/gone", "gone/gone", "c", "c/below"])
        assert names(storage) == ["a/b"]
        storage.delete(["a/b", "c"])
        assert names(storage) == []

    def test_delete_takes_any_iterable(self, storage: Storage) -> None:
        wanted = [f"d/{number:02}" for number in range(25)]
        put_all(storage, wanted)
        storage.delete(name for name in wanted if not name.endswith("7"))
        assert names(storage) == ["d/07", "d/17"]

    def test_delete_of_a_folder_deletes_nothing(self, storage: Storage) -> None:
        storage.put("a/b/c", [b"x"])
        storage.delete(["a", "a/b"])
        assert names(storage) == ["a/b/c"]

    def test_a_deleted_folder_is_gone(self, storage: Storage) -> None:
        put_all(storage, ["a/b/c", "d"])
        storage.delete(["a/b/c"])
        assert storage.list_folder() == Folder((storage.stat("d"),), ())
        storage.put("a/b/c", [b"again"])
        assert names(storage) == ["a/b/c", "d"]

    # names

    def test_awkward_names(self, storage: Storage) -> None:
        put_all(storage, self.awkward_names)
        for name in self.awkward_names:
            assert storage.stat(name).name == name
            assert read(storage, name) == name.encode()
        assert names(storage) == sorted(self.awkward_names)
        assert {item.name for item in storage.stat_many(self.awkward_names)} == set(self.awkward_names)
        for name in self.awkward_names:
            folder = name.rpartition("/")[0]
            if folder:
                assert name in names(storage, folder)
        storage.delete(self.awkward_names)
        assert names(storage) == []

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_bad_names_are_refused(self, storage: Storage, name: str) -> None:
        storage.put("a", [b"x"])
        calls: list[Callable[[], object]] = [
            lambda: storage.put(name, [b"y"]),
            lambda: storage.put(name, [b"y"], create_only=True),
            lambda: storage.open(name),
            lambda: storage.stat(name),
            lambda: storage.stat_many(["a", name]),
            lambda: storage.delete([name]),
        ]
        for call in calls:
            with pytest.raises(StorageError) as caught:
                call()
            assert type(caught.value) is StorageError
        assert names(storage) == ["a"]

    # many at once

    def test_threads_put_and_read_their_own_objects(self, storage: Storage) -> None:
        def work(number: int) -> bool:
            data = content(300_000 + number, seed=number)
            storage.put(f"threads/{number}", reused_chunks(data))
            return read(storage, f"threads/{number}") == data

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(work, range(24)))
        assert len(names(storage, "threads")) == 24

    def test_a_reader_never_sees_a_mixture_of_versions(self, storage: Storage) -> None:
        size = 2 * MIB + 1
        storage.put("a", [bytes([255]) * size])
        done = threading.Event()

        def write() -> None:
            for version in range(15):
                storage.put("a", [bytes([version]) * size])

        def watch() -> int:
            rounds = 0
            while not done.is_set() or not rounds:
                try:
                    data = read(storage, "a")
                except DataCorrupt:  # allowed: the reader says that the object changed under it
                    continue
                assert len(data) == size
                assert len(set(data)) == 1
                rounds += 1
            return rounds

        with ThreadPoolExecutor(4) as threads:
            watchers = [threads.submit(watch) for _ in range(2)]
            try:
                threads.submit(write).result()
            finally:
                done.set()
            assert all(watcher.result() for watcher in watchers)

    # the rest

    def test_discard_unfinished_leaves_objects_alone(self, storage: Storage) -> None:
        put_all(storage, ["a/b", "a/c.tmp", "d"])
        assert storage.discard_unfinished("a") == 0
        assert storage.discard_unfinished("") == 0
        assert storage.discard_unfinished("gone") == 0
        assert names(storage) == ["a/b", "a/c.tmp", "d"]

    def test_url_is_for_people(self, storage: Storage) -> None:
        assert "://" in storage.url
