"""pg_control.tar and backup_label.tar: byte for byte as WAL-G stored them."""

import stat
from pathlib import Path

import lz4.frame
import pytest

from walpy.archive import Archive, open_archive
from walpy.backup.special_tars import CONTROL_TAR, LABEL_TAR, control_file, label_files, put_tar
from walpy.config import Config
from walpy.postgres.entry import Entry

GOLDEN = Path(__file__).parents[2] / "golden" / "backup"
BACKUP = "base_000000010000000000000016"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(tmp_path)}))


def plain(archive: Archive, name: str) -> bytes:
    with archive.open_object(name) as chunks:
        return b"".join(bytes(chunk) for chunk in chunks)


def test_labels(archive: Archive) -> None:
    golden = lz4.frame.decompress((GOLDEN / "backup_label.tar.lz4").read_bytes())
    label, tablespace_map = golden[512 : 512 + 0o373], golden[1536 : 1536 + 0o31]
    stored = put_tar(archive, BACKUP, LABEL_TAR, label_files(label, tablespace_map))
    assert stored.name == f"basebackups_005/{BACKUP}/tar_partitions/backup_label.tar.lz4"
    assert stored.size == len(label) + len(tablespace_map)
    assert stored.stored_size == archive.storage.stat(stored.name).size
    assert plain(archive, stored.name) == golden


def test_an_empty_tablespace_map_is_a_member_too(archive: Archive) -> None:
    stored = put_tar(archive, BACKUP, LABEL_TAR, label_files(b"START", b""))
    data = plain(archive, stored.name)
    assert data[1024:1039] == b"tablespace_map\0"
    assert len(data) == 512 + 512 + 512 + 1024


def test_control(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = lz4.frame.decompress((GOLDEN / "pg_control.tar.lz4").read_bytes())
    monkeypatch.setattr("walpy.backup.members._user", lambda uid: b"postgres")
    monkeypatch.setattr("walpy.backup.members._group", lambda gid: b"postgres")
    mtime = int(golden[136:147], 8) * 10**9
    entry = Entry("/global/pg_control", "/data/global/pg_control", stat.S_IFREG | 0o600, 0, mtime, 0o145, 0o150)
    stored = put_tar(archive, BACKUP, CONTROL_TAR, [control_file(entry, golden[512 : 512 + 8192])])
    assert stored.size == 8192
    assert plain(archive, stored.name) == golden
