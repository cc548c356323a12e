"""The file system as a storage: the contract in every way of writing that a file system may force."""

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import walpy
from tests.storage.contract import MIB, StorageContract, content, names, put_all, read
from walpy.config import Config
from walpy.errors import (
    AccessDenied,
    ConfigError,
    DataCorrupt,
    ObjectExists,
    ObjectMissing,
    StorageError,
    StorageFull,
    StorageUnavailable,
)
from walpy.storage import open_storage
from walpy.storage.base import Chunk, Folder
from walpy.storage.fs import FsStorage, from_config
from walpy.storage.fs_reader import storage_error

WALG_TEMPORARY = "000000010000000000000001.lz4.tmp.20240229T235959Z-0123456789abcdef"


def files(root: Path) -> list[str]:
    """Every file below a directory, hidden and temporary ones too."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


@pytest.fixture
def storage(tmp_path: Path) -> FsStorage:
    return FsStorage(str(tmp_path))


@pytest.fixture
def no_anonymous_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on NFS."""
    real = os.open

    def open_named(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no anonymous files")
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", open_named)


@pytest.fixture
def no_hard_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on many FUSE file systems."""

    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no hard links")

    monkeypatch.setattr(os, "link", link)


class TestFsStorage(StorageContract):
    """With anonymous files, where the machine's temporary directory has them."""

    many = 1100

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[FsStorage]:
        yield FsStorage(str(tmp_path))
        assert files(tmp_path) == names(FsStorage(str(tmp_path)))  # nothing else is left behind


@pytest.mark.usefixtures("no_anonymous_files")
class TestWithTemporaryNames(TestFsStorage):
    """On file systems without anonymous files."""

    many = 0


@pytest.mark.usefixtures("no_hard_links")
class TestWithoutHardLinks(TestFsStorage):
    """Anonymous files can be made but not named, so their bytes are copied; create-only goes by a lock."""

    many = 0


@pytest.mark.usefixtures("no_anonymous_files", "no_hard_links")
class TestWithRenameAlone(TestFsStorage):
    """On file systems with neither."""

    many = 0


class TestBelowLinkAndPrefix(StorageContract):
    """A root that is a symbolic link, and WALG_STORAGE_PREFIX."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> FsStorage:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        values = {"WALG_FILE_PREFIX": str(tmp_path / "link"), "WALG_STORAGE_PREFIX": "/cluster/one/"}
        return from_config(Config.from_mapping(values))


# configuration


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({"WALG_FILE_PREFIX": "/var/archive"}, "file:///var/archive"),
        ({"WALE_FILE_PREFIX": "file://localhost/var/archive/"}, "file:///var/archive"),
        ({"WALG_FILE_PREFIX": "/a", "WALE_FILE_PREFIX": "/b"}, "file:///a"),
        ({"WALG_FILE_PREFIX": "file://localhost/a%20b"}, "file:///a%20b"),
        ({"WALG_FILE_PREFIX": "/a", "WALG_STORAGE_PREFIX": "/c1/x/"}, "file:///a/c1/x"),
    ],
)
def test_storage_of_a_configuration(values: dict[str, str], url: str) -> None:
    storage = open_storage(Config.from_mapping(values))
    assert isinstance(storage, FsStorage)
    assert storage.url == url


@pytest.mark.parametrize("value", ["file:///var/archive", "file://other/var/archive", "file://localhost"])
def test_prefixes_that_are_no_directory_are_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="WALG_FILE_PREFIX"):
        from_config(Config.from_mapping({"WALG_FILE_PREFIX": value}))


# the root


def test_a_missing_root_is_never_proof_of_absence(tmp_path: Path) -> None:
    storage = FsStorage(str(tmp_path / "unmounted"), "cluster")
    calls: list[Callable[[], object]] = [
        lambda: storage.stat("wal_005/a"),
        lambda: storage.stat_many(["wal_005/a"]),
        lambda: storage.open("wal_005/a"),
        lambda: list(storage.list("")),
        lambda: storage.list_folder("wal_005"),
        lambda: storage.put("wal_005/a", [b"x"]),
        lambda: storage.delete(["wal_005/a"]),
        lambda: storage.discard_unfinished(""),
    ]
    for call in calls:
        with pytest.raises(StorageError, match=r"root directory .*unmounted.* does not exist") as caught:
            call()
        assert type(caught.value) is StorageError
    assert not (tmp_path / "unmounted").exists()


def test_a_root_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError) as caught:
        FsStorage(str(tmp_path / "file")).stat("a")
    assert type(caught.value) is StorageError


def test_a_missing_prefix_is_an_empty_archive(tmp_path: Path) -> None:
    storage = FsStorage(str(tmp_path), "new/cluster")
    with pytest.raises(ObjectMissing):
        storage.stat("a")
    assert names(storage) == []
    assert files(tmp_path) == []
    assert not (tmp_path / "new").exists()  # looking makes no directories
    storage.put("a", [b"x"])
    assert files(tmp_path) == ["new/cluster/a"]
    storage.delete(["a"])
    assert (tmp_path / "new" / "cluster").is_dir()


# what is on disk


def test_modes_follow_the_umask(tmp_path: Path, storage: FsStorage) -> None:
    before = os.umask(0o027)
    try:
        storage.put("a/b", [b"x"])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o750


def test_temporary_files_are_hidden_and_discarded(tmp_path: Path, storage: FsStorage) -> None:
    storage.put("wal_005/a", [b"x"])
    (tmp_path / "wal_005" / WALG_TEMPORARY).write_bytes(b"half")
    (tmp_path / "wal_005" / f"{WALG_TEMPORARY}.kept").write_bytes(b"an object")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / WALG_TEMPORARY).write_bytes(b"half")
    expected = ["wal_005/" + f"{WALG_TEMPORARY}.kept", "wal_005/a"]
    assert names(storage) == sorted(storage.list_names()) == expected
    assert [found.name for found in storage.list_folder("wal_005").objects] == expected
    assert storage.discard_unfinished("wal_005") == 1
    assert storage.discard_unfinished("") == 1
    assert files(tmp_path) == expected
    assert not (tmp_path / "other").exists()


def test_a_temporary_name_is_no_object_name(storage: FsStorage) -> None:
    with pytest.raises(StorageError, match="not an object name"):
        storage.put(f"wal_005/{WALG_TEMPORARY}", [b"x"])


def test_links_are_followed(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    (root / "wal_005").symlink_to(elsewhere)
    (root / "dangling").symlink_to("nowhere")
    storage = FsStorage(str(root))
    storage.put("wal_005/a", [b"x"])
    assert files(elsewhere) == ["a"]
    assert names(storage) == ["wal_005/a"]
    storage.delete(["wal_005/a"])
    assert files(elsewhere) == []
    assert (root / "wal_005").is_symlink()  # an emptied link is somebody's decision, not a leftover


@pytest.mark.parametrize("create_only", [False, True])
def test_an_object_cannot_take_a_folders_place(tmp_path: Path, storage: FsStorage, create_only: bool) -> None:
    storage.put("a/b", [b"x"])
    for name in ("a", "a/b/c"):
        with pytest.raises(StorageError) as caught:
            storage.put(name, [b"y"], create_only=create_only)
        assert type(caught.value) is StorageError
    assert files(tmp_path) == ["a/b"]


@pytest.mark.parametrize("named", [False, True])
def test_a_put_survives_a_delete_that_empties_its_folder(
    tmp_path: Path, storage: FsStorage, request: pytest.FixtureRequest, named: bool
) -> None:
    if named:
        request.getfixturevalue("no_anonymous_files")
    storage.put("wal_005/old", [b"x"])

    def chunks() -> Iterator[Chunk]:
        storage.delete(["wal_005/old"])
        assert (tmp_path / "wal_005").exists() == named  # a temporary name keeps its directory
        yield b"new"

    storage.put("wal_005/new", chunks(), create_only=True)
    assert read(storage, "wal_005/new") == b"new"


def test_a_repeated_link_of_nfs_is_a_success(
    storage: FsStorage, no_anonymous_files: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server linked, its answer got lost, and the client's second call found the name taken."""
    real = os.link

    def link(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        raise FileExistsError(errno.EEXIST, "exists")

    monkeypatch.setattr(os, "link", link)
    storage.put("a", [b"x"], create_only=True)
    assert read(storage, "a") == b"x"
    with pytest.raises(ObjectExists):
        storage.put("a", [b"y"], create_only=True)


# the order of what makes it durable


class Recorder:
    """Notes calls that make files durable or visible, by the path behind their descriptors."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self._root = root
        for name in ("fsync", "link", "rename", "mkdir", "rmdir", "unlink"):
            monkeypatch.setattr(os, name, self._recorded(name, getattr(os, name)))

    def _recorded(self, name: str, real: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append(f"{name} {self._path(arguments[0])}" if name == "fsync" else name)
            return real(*arguments, **options)

        return call

    def _path(self, descriptor: int) -> str:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return "file"
        return str(path.relative_to(self._root))


def test_a_new_object_is_synced_named_and_synced(
    tmp_path: Path, storage: FsStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.put("wal_005/other", [b"x"])
    recorder = Recorder(tmp_path, monkeypatch)
    storage.put("wal_005/a", [b"x"], create_only=True)
    assert recorder.calls == ["fsync file", "link", "fsync wal_005"]


def test_new_folders_are_synced_before_anything_is_put_into_them(
    tmp_path: Path, storage: FsStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path, monkeypatch)
    storage.put("a/b/c", [b"x"])
    assert recorder.calls == ["mkdir", "fsync .", "mkdir", "fsync a", "fsync file", "link", "fsync a/b"]


def test_a_replacement_is_synced_renamed_and_synced(
    tmp_path: Path, storage: FsStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.put("a/b", [b"x"])
    recorder = Recorder(tmp_path, monkeypatch)
    storage.put("a/b", [b"y"])
    assert recorder.calls == ["fsync file", "link", "link", "rename", "fsync a"]


def test_an_object_that_exists_is_durable_before_it_is_reported(
    tmp_path: Path, storage: FsStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its put may have been killed between the link and the sync, and the caller will take it for archived."""
    storage.put("a/b", [b"x"])
    recorder = Recorder(tmp_path, monkeypatch)
    with pytest.raises(ObjectExists):
        storage.put("a/b", [b"x"], create_only=True)
    assert recorder.calls[-1] == "fsync a"


def test_a_deletion_is_durable(tmp_path: Path, storage: FsStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    put_all(storage, ["a/b/c", "a/b/d", "e"])
    recorder = Recorder(tmp_path, monkeypatch)
    storage.delete(["a/b/c", "a/b/d"])
    assert recorder.calls == ["unlink", "unlink", "rmdir", "rmdir", "fsync ."]


@pytest.mark.parametrize("named", [False, True])
def test_a_failing_sync_stores_nothing(
    tmp_path: Path, storage: FsStorage, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, named: bool
) -> None:
    if named:
        request.getfixturevalue("no_anonymous_files")

    def fsync(descriptor: int) -> None:
        raise OSError(errno.EIO, "the disk")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match=r"cannot store 'a' in file://.*: the disk") as caught:
        storage.put("a", [b"x"])
    assert type(caught.value) is StorageError
    assert files(tmp_path) == []


def test_file_systems_that_cannot_sync_folders_are_usable(storage: FsStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not for directories")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    storage.put("a/b", [b"x"])
    assert read(storage, "a/b") == b"x"


# reading


def test_a_reader_keeps_the_version_it_opened(storage: FsStorage) -> None:
    data = content(3 * MIB)
    storage.put("a", [data])
    with storage.open("a") as reader:
        chunks = iter(reader)
        got = bytes(next(chunks))
        storage.put("a", [b"other"])
        got += b"".join(bytes(chunk) for chunk in chunks)
    assert got == data


@pytest.mark.parametrize("length", [0, 2 * MIB, 3 * MIB - 1, 3 * MIB + 1])
def test_a_file_that_is_changed_in_place_is_found_out(tmp_path: Path, storage: FsStorage, length: int) -> None:
    storage.put("a", [content(3 * MIB)])

    def consume() -> None:
        with storage.open("a") as reader:
            for number, _ in enumerate(reader):
                if number == 0:
                    os.truncate(tmp_path / "a", length)

    with pytest.raises(DataCorrupt, match=r"a' (became shorter|changed) while it was read"):
        consume()


def test_a_failing_disk_is_a_storage_error(storage: FsStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def preadv(*_: object) -> int:
        raise OSError(errno.EIO, "the disk")

    storage.put("a", [b"x"])
    monkeypatch.setattr(os, "preadv", preadv)
    with pytest.raises(StorageError, match=r"cannot read 'file://.*/a': the disk"):
        read(storage, "a")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EACCES, AccessDenied),
        (errno.EPERM, AccessDenied),
        (errno.EROFS, AccessDenied),
        (errno.ESTALE, StorageUnavailable),
        (errno.ETIMEDOUT, StorageUnavailable),
        (errno.EIO, StorageError),
        (errno.ENAMETOOLONG, StorageError),
    ],
)
def test_meanings_of_errors(number: int, kind: type[StorageError]) -> None:
    error = storage_error(OSError(number, os.strerror(number)), "cannot store 'a' in file:///b")
    assert type(error) is kind
    assert str(error) == f"cannot store 'a' in file:///b: {os.strerror(number)}"


def test_a_name_that_is_too_long_is_an_error(storage: FsStorage) -> None:
    with pytest.raises(StorageError, match="too long") as caught:
        storage.put("x" * 300, [b"x"])
    assert type(caught.value) is StorageError
    assert storage.list_folder() == Folder((), ())


def test_descriptors_are_given_back(storage: FsStorage) -> None:
    def use() -> None:
        storage.put("a/b", [b"x"])
        storage.put("a/b", [b"y"])
        with pytest.raises(ObjectExists):
            storage.put("a/b", [b"z"], create_only=True)
        with pytest.raises(ObjectMissing):
            storage.open("gone")
        with pytest.raises(ObjectMissing):
            storage.open("a")
        read(storage, "a/b")
        next(storage.list(""))
        storage.delete(["a/b"])

    use()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        use()
    assert len(os.listdir("/proc/self/fd")) == before


def test_importing_it_is_cheap() -> None:
    heavy = "typer boto3 google psycopg asyncio multiprocessing numpy tempfile urllib subprocess pathlib random shutil"
    code = (
        "import sys; before = set(sys.modules)\n"
        "import walpy.storage.fs, walpy.storage.retry, walpy.storage.limit\n"
        f"print(*(set(sys.modules) - before) & set({heavy.split()!r}))"
    )
    root = Path(walpy.__file__).parent.parent
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(root)}, capture_output=True, check=True, text=True
    )
    assert loaded.stdout.split() == []
