"""The contract's part about listings, delete and names."""

from typing import TYPE_CHECKING

import pytest

from tests.storage.contract_base import BAD_NAMES, Contract, content, names, put_all, read
from walpy.errors import ObjectMissing, StorageError
from walpy.storage.base import Folder, Storage

if TYPE_CHECKING:
    from collections.abc import Callable


class ListContract(Contract):
    """What listings and deletes must do, with any name."""

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

    def test_names_alone_are_those_of_the_list(self, storage: Storage) -> None:
        put_all(storage, ["a/b", "a/c/d", "a/c/e/f", "ab", "z/y"])
        assert sorted(storage.list_names()) == ["a/b", "a/c/d", "a/c/e/f", "ab", "z/y"]
        assert sorted(storage.list_names("a")) == ["a/b", "a/c/d", "a/c/e/f"]
        assert list(storage.list_names("gone")) == list(storage.list_names("ab")) == []

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

    # the rest

    def test_discard_unfinished_leaves_objects_alone(self, storage: Storage) -> None:
        put_all(storage, ["a/b", "a/c.tmp", "d"])
        assert storage.discard_unfinished("a") == 0
        assert storage.discard_unfinished("") == 0
        assert storage.discard_unfinished("gone") == 0
        assert names(storage) == ["a/b", "a/c.tmp", "d"]

    def test_url_is_for_people(self, storage: Storage) -> None:
        assert "://" in storage.url
