"""The contract's part about open and stat, and about many threads at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.storage.contract_base import (
    MIB,
    Contract,
    SourceFailed,
    content,
    names,
    odd_chunks,
    put_all,
    read,
    reused_chunks,
)
from walpy.errors import DataCorrupt, ObjectMissing
from walpy.storage.base import Storage


class ReadContract(Contract):
    """What reading and look-ups must do."""

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
                assert data.count(data[:1]) == size
                rounds += 1
            return rounds

        with ThreadPoolExecutor(4) as threads:
            watchers = [threads.submit(watch) for _ in range(2)]
            try:
                threads.submit(write).result()
            finally:
                done.set()
            assert all(watcher.result() for watcher in watchers)
