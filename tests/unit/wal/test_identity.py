"""Whose WAL an archive holds."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.wal.synthetic import OTHER_SYSTEM_IDENTIFIER, SYSTEM_IDENTIFIER, archive_in
from walpy.archive import Archive
from walpy.errors import AccessDenied, ConfigError, DataCorrupt, InvalidWal
from walpy.storage.base import ObjectReader
from walpy.storage.fs import FsStorage
from walpy.wal.identity import admit, check_identity

IDENTITY = "walpy_005/identity.json"


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "walg_data")


def test_the_first_cluster_makes_the_archive_its_own(archive: Archive, state: str) -> None:
    check_identity(archive, SYSTEM_IDENTIFIER, state)
    document = archive.get_json(IDENTITY)
    assert isinstance(document, dict)
    assert document["system_identifier"] == str(SYSTEM_IDENTIFIER)
    assert set(document) == {"system_identifier", "created", "walpy"}
    check_identity(archive, SYSTEM_IDENTIFIER, None)


def test_another_cluster_is_refused_and_told_what_to_do(archive: Archive, state: str) -> None:
    check_identity(archive, SYSTEM_IDENTIFIER, state)
    with pytest.raises(InvalidWal) as failure:
        check_identity(archive, OTHER_SYSTEM_IDENTIFIER, state)
    assert str(SYSTEM_IDENTIFIER) in str(failure.value)
    assert str(OTHER_SYSTEM_IDENTIFIER) in str(failure.value)
    assert f"walpy wal-admit {OTHER_SYSTEM_IDENTIFIER}" in failure.value.hint


def test_an_admitted_cluster_may_push(archive: Archive, state: str) -> None:
    check_identity(archive, SYSTEM_IDENTIFIER, state)
    for _ in range(2):
        admit(archive, OTHER_SYSTEM_IDENTIFIER)
    check_identity(archive, OTHER_SYSTEM_IDENTIFIER, state)
    check_identity(archive, SYSTEM_IDENTIFIER, None)


@pytest.mark.parametrize("wrong", [0, -1, 1 << 64])
def test_what_cannot_be_admitted(archive: Archive, wrong: int) -> None:
    with pytest.raises(ConfigError):
        admit(archive, wrong)


def test_what_was_found_is_remembered(archive: Archive, state: str) -> None:
    check_identity(archive, SYSTEM_IDENTIFIER, state)
    archive.storage = Unreadable(archive.storage)  # type: ignore[assignment]
    check_identity(archive, SYSTEM_IDENTIFIER, state)
    assert archive.storage.asked == []  # type: ignore[attr-defined]


def test_what_was_found_is_remembered_for_this_archive_alone(archive: Archive, state: str, tmp_path: Path) -> None:
    check_identity(archive, SYSTEM_IDENTIFIER, state)
    other = archive_in(tmp_path / "other")
    check_identity(other, OTHER_SYSTEM_IDENTIFIER, None)
    with pytest.raises(InvalidWal):
        check_identity(other, SYSTEM_IDENTIFIER, state)


def test_an_archive_of_walg_belongs_to_the_cluster_of_its_newest_backup(archive: Archive, state: str) -> None:
    sentinel = "basebackups_005/base_{}_backup_stop_sentinel.json"
    archive.put_json(sentinel.format("000000010000000000000002"), {"SystemIdentifier": OTHER_SYSTEM_IDENTIFIER})
    archive.put_json(sentinel.format("000000010000000000000003"), {"SystemIdentifier": SYSTEM_IDENTIFIER})
    with pytest.raises(InvalidWal):
        check_identity(archive, OTHER_SYSTEM_IDENTIFIER, state)
    check_identity(archive, SYSTEM_IDENTIFIER, state)


@pytest.mark.parametrize("sentinel", [{}, {"SystemIdentifier": None}, []])
def test_a_backup_without_system_identifier_decides_nothing(archive: Archive, sentinel: object) -> None:
    archive.put_json("basebackups_005/base_000000010000000000000002_backup_stop_sentinel.json", sentinel)
    check_identity(archive, SYSTEM_IDENTIFIER, None)


def test_a_damaged_identity_is_an_error(archive: Archive) -> None:
    archive.put_json(IDENTITY, {"system_identifier": None})
    with pytest.raises(DataCorrupt):
        check_identity(archive, SYSTEM_IDENTIFIER, None)


def test_warn_only_warns(tmp_path: Path, state: str, caplog: pytest.LogCaptureFixture) -> None:
    archive = archive_in(tmp_path / "archive", WALPY_SYSTEM_ID_CHECK="warn")
    check_identity(archive, SYSTEM_IDENTIFIER, state)
    check_identity(archive, OTHER_SYSTEM_IDENTIFIER, state)
    assert "belongs to the cluster" in caplog.text


def test_a_wrong_mode_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="WALPY_SYSTEM_ID_CHECK"):
        check_identity(archive_in(tmp_path / "archive", WALPY_SYSTEM_ID_CHECK="off"), SYSTEM_IDENTIFIER, None)


def test_credentials_that_cannot_read_only_warn(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    archive.storage = Unreadable(archive.storage)  # type: ignore[assignment]
    check_identity(archive, SYSTEM_IDENTIFIER, None)
    assert "cannot check" in caplog.text


def test_a_push_that_came_second_meets_the_first_ones_identity(archive: Archive, state: str) -> None:
    archive.storage = Overtaken(archive.storage)  # type: ignore[assignment]
    with pytest.raises(InvalidWal, match=str(OTHER_SYSTEM_IDENTIFIER)):
        check_identity(archive, SYSTEM_IDENTIFIER, state)


class Unreadable:
    """A storage whose credentials cannot read."""

    def __init__(self, storage: FsStorage) -> None:
        self.url = storage.url
        self.asked: list[str] = []

    def open(self, name: str) -> ObjectReader:
        self.asked.append(name)
        raise AccessDenied("denied")


class Overtaken(FsStorage):
    """A storage where another cluster stores its identity just before ours is put."""

    def __init__(self, storage: FsStorage) -> None:
        self.__dict__.update(storage.__dict__)

    def put(self, name: str, chunks: Sequence[bytes], *, create_only: bool = False) -> int:  # type: ignore[override]
        other = json.dumps({"system_identifier": str(OTHER_SYSTEM_IDENTIFIER)}).encode()
        super().put(name, [other])
        return super().put(name, chunks, create_only=create_only)
