"""The contract's part about put: whole or not at all, replaced or created."""

from collections.abc import Iterator
from functools import partial

import pytest

from tests.storage.contract_base import (
    MIB,
    Contract,
    SourceFailed,
    SourceStopped,
    content,
    failing_chunks,
    names,
    odd_chunks,
    read,
    reused_chunks,
    together,
)
from walpy.errors import ObjectExists, ObjectMissing
from walpy.storage.base import READ_SIZE, Chunk, Storage


class PutContract(Contract):
    """What put must do."""

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
