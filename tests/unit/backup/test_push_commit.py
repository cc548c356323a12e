"""The stored side of a backup: claimed, confirmed, committed last, or gone."""

from pathlib import Path

import pytest

from walpy import layout
from walpy.archive import Archive, Stored, open_archive
from walpy.backup.commit import StoredBackup
from walpy.backup.entry import FileEntry
from walpy.backup.files_metadata import FilesMetadata
from walpy.backup.model import BackupMetadata, Sentinel
from walpy.backup.timestamp import ZERO_TIME
from walpy.config import Config
from walpy.errors import AccessDenied, BackupError, StorageUnavailable

NAME = "base_000000010000000000000002"
PART = layout.tar_partition(NAME, "part_001.tar", "lz4")
DOCUMENTS = (BackupMetadata(), [FilesMetadata({"/": FileEntry(ZERO_TIME)}).to_json()], Sentinel())


class Refusing(Archive):
    """Fails to store the sentinel: before, or after the storage took it."""

    error: Exception | None = None
    takes_it_first = False

    def put_bytes(self, name: str, data: bytes, *, create_only: bool = False) -> Stored:
        if name != layout.sentinel(NAME) or self.error is None:
            return super().put_bytes(name, data, create_only=create_only)
        if self.takes_it_first:
            super().put_bytes(name, data, create_only=create_only)
        raise self.error


@pytest.fixture
def archive(tmp_path: Path) -> Refusing:
    opened = open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(tmp_path)}))
    return Refusing(opened.config, opened.storage, opened.codec)


def names(archive: Archive) -> list[str]:
    return [item.name for item in archive.storage.list("")]


def store_part(archive: Archive, backup: StoredBackup, name: str = PART) -> None:
    backup.add_part(name, archive.storage.put(name, [b"data"]))


def test_complete_writes_the_documents_and_the_sentinel(archive: Refusing) -> None:
    backup = StoredBackup(archive, NAME)
    backup.claim()
    store_part(archive, backup)
    backup.confirm()
    backup.complete(*DOCUMENTS)
    assert names(archive) == [
        layout.files_metadata(NAME),
        layout.metadata(NAME),
        PART,
        layout.sentinel(NAME),
    ]
    assert archive.get_bytes(layout.sentinel(NAME)) == Sentinel().to_json()
    assert backup.stored_size == 4
    backup.discard()
    assert len(names(archive)) == 4, "a complete backup is left alone"


def test_without_files_metadata(archive: Refusing) -> None:
    StoredBackup(archive, NAME).complete(DOCUMENTS[0], None, DOCUMENTS[2])
    assert names(archive) == [layout.metadata(NAME), layout.sentinel(NAME)]


def test_discard_leaves_nothing_of_this_backup_and_all_of_others(archive: Refusing) -> None:
    other = layout.tar_partition(f"{NAME}_D_000000010000000000000001", "part_001.tar", "lz4")
    archive.storage.put(other, [b"x"])
    backup = StoredBackup(archive, NAME)
    store_part(archive, backup)
    archive.put_bytes(layout.metadata(NAME), b"{}")
    backup.discard()
    assert names(archive) == [other]


def test_a_complete_backup_of_the_same_name_is_refused_and_kept(archive: Refusing) -> None:
    first = StoredBackup(archive, NAME)
    store_part(archive, first)
    first.complete(*DOCUMENTS)
    before = {name: archive.get_bytes(name) for name in names(archive)}
    second = StoredBackup(archive, NAME)
    with pytest.raises(BackupError, match=f"already holds a complete backup '{NAME}'"):
        second.claim()
    second.discard()
    assert {name: archive.get_bytes(name) for name in names(archive)} == before


def test_leftovers_of_the_same_name_are_removed(archive: Refusing, caplog: pytest.LogCaptureFixture) -> None:
    archive.storage.put(layout.tar_partition(NAME, "part_007.tar", "br"), [b"old"])
    archive.put_bytes(layout.metadata(NAME), b"{}")
    StoredBackup(archive, NAME).claim()
    assert names(archive) == []
    assert "Removed 2 objects that an interrupted backup" in caplog.text


def test_confirm_misses_a_part(archive: Refusing) -> None:
    backup = StoredBackup(archive, NAME)
    store_part(archive, backup)
    archive.storage.delete([PART])
    with pytest.raises(BackupError, match="not in the archive any more"):
        backup.confirm()


def test_confirm_notices_another_size(archive: Refusing) -> None:
    backup = StoredBackup(archive, NAME)
    store_part(archive, backup)
    archive.storage.put(PART, [b"longer than before"])
    with pytest.raises(BackupError, match="has 18 bytes in the archive, 4 were stored"):
        backup.confirm()


def test_confirm_notices_a_foreign_part(archive: Refusing) -> None:
    backup = StoredBackup(archive, NAME)
    store_part(archive, backup)
    archive.storage.put(layout.tar_partition(NAME, "part_002.tar", "lz4"), [b"x"])
    with pytest.raises(BackupError, match=r"part_002\.tar\.lz4' does not belong"):
        backup.confirm()


def test_a_refused_sentinel_lets_everything_be_removed(archive: Refusing) -> None:
    backup = StoredBackup(archive, NAME)
    store_part(archive, backup)
    archive.error = AccessDenied("no")
    with pytest.raises(AccessDenied):
        backup.complete(*DOCUMENTS)
    backup.discard()
    assert names(archive) == []


@pytest.mark.parametrize("takes_it_first", [True, False])
def test_a_doubtful_sentinel_keeps_the_parts(archive: Refusing, takes_it_first: bool) -> None:
    backup = StoredBackup(archive, NAME)
    store_part(archive, backup)
    archive.error, archive.takes_it_first = StorageUnavailable("timed out"), takes_it_first
    with pytest.raises(StorageUnavailable):
        backup.complete(*DOCUMENTS)
    backup.discard()
    assert PART in names(archive)
    assert (layout.sentinel(NAME) in names(archive)) is takes_it_first


def test_a_repeated_put_of_the_sentinel_meets_itself(archive: Refusing) -> None:
    archive.put_bytes(layout.sentinel(NAME), Sentinel().to_json())
    StoredBackup(archive, NAME).complete(*DOCUMENTS)


def test_a_foreign_sentinel_at_the_last_moment_is_kept(archive: Refusing) -> None:
    backup = StoredBackup(archive, NAME)
    store_part(archive, backup)
    archive.put_bytes(layout.sentinel(NAME), b"{}")
    with pytest.raises(BackupError, match="somebody else completed"):
        backup.complete(*DOCUMENTS)
    backup.discard()
    assert archive.get_bytes(layout.sentinel(NAME)) == b"{}"
    assert PART in names(archive)
