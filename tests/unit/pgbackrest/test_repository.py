"""Info files and manifests of pgBackRest, and what is none."""

from pathlib import Path

import pytest

from tests.unit.wal.synthetic import archive_in
from walpy.archive import Archive
from walpy.backup.model import Tablespace
from walpy.errors import BackupError, ConfigError, DataCorrupt, ObjectMissing
from walpy.pgbackrest.repository import Repository, RestFile

HEAD = '[backrest]\nbackrest-format=5\nbackrest-version="2.45"\n\n'
ENTRY = (
    '"backup-archive-start":"000000010000000000000009","backup-lsn-start":"0/900028","backup-lsn-stop":"0/900100",'
    '"backup-timestamp-start":1,"backup-timestamp-stop":2'
)
INFO = f"""{HEAD}[backup:current]
20261125-203042F={{{ENTRY},"backup-type":"full"}}
20261125-203042F_20261125-203045I={{{ENTRY.replace(":2", ":3")},"backup-type":"incr"}}
"""
MANIFEST = f"""{HEAD}[backup:db]
db-system-id=7712209228451273884
db-version="15"

[backup:option]
option-compress-type="lz4"

[target:file]
pg_data/PG_VERSION={{"checksum":"aa","reference":"20261125-203042F","repo-size":22,"size":3,"timestamp":1}}
pg_data/a=b[c]={{"bni":2,"bno":7,"checksum":"bb","mode":"0640","repo-size":9,"size":30,"timestamp":1}}
pg_data/empty={{"size":0,"timestamp":1}}

[target:file:default]
mode="0600"

[target:link]
pg_data/pg_tblspc/16384={{"destination":"/space"}}
pg_data/pg_wal={{"destination":"/wal"}}

[target:path]
pg_data={{}}
pg_data/base={{"mode":"0750"}}

[target:path:default]
mode="0700"
"""
LABEL = "20261125-203042F_20261125-203045I"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    archive = archive_in(tmp_path / "repo", PGBACKREST_STANZA="main")
    archive.put_bytes("backup/main/backup.info", INFO.encode())
    archive.put_bytes(f"backup/main/{LABEL}/backup.manifest", MANIFEST.encode())
    return archive


def test_backups(archive: Archive) -> None:
    found = Repository(archive).backups()
    assert [(backup.label, backup.kind, backup.stopped) for backup in found] == [
        ("20261125-203042F", "full", 2),
        (LABEL, "incr", 3),
    ]
    assert (found[0].start_lsn, found[0].first_wal) == (0x900028, "000000010000000000000009")


def test_a_manifest(archive: Archive) -> None:
    repository = Repository(archive)
    manifest = repository.manifest(LABEL)
    assert (manifest.pg_version, manifest.system_identifier, manifest.extension) == ("15", 7712209228451273884, ".lz4")
    assert manifest.files == (
        RestFile("pg_data/PG_VERSION", 3, 0o600, "20261125-203042F", "aa", None),
        RestFile("pg_data/a=b[c]", 30, 0o640, LABEL, "bb", (2, 7, 9)),
        RestFile("pg_data/empty", 0, 0o600, LABEL, "", None),
    )
    assert manifest.directories == (("pg_data", 0o700), ("pg_data/base", 0o750))
    assert manifest.tablespaces == (Tablespace("16384", "/space", "pg_tblspc/16384"),)
    assert [repository.object_of(file, ".lz4") for file in manifest.files[:2]] == [
        "backup/main/20261125-203042F/pg_data/PG_VERSION.lz4",
        f"backup/main/{LABEL}/bundle/2",
    ]


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        ('"lz4"', '"bz2"', BackupError, "compressed with bz2"),
        ('"bni":2,', '"bims":8,', BackupError, "by blocks"),
        ('"size":30', '"size":"?"', DataCorrupt, "is not what it should be"),
        ('db-version="15"\n', "", DataCorrupt, "is not what it should be"),
        ("[target:file]", "[other]", DataCorrupt, "is not what it should be"),
        ("[backrest]", "[else]", DataCorrupt, "is no file of pgBackRest"),
        ("backrest-format=5", "backrest-format", DataCorrupt, "a line without a value"),
    ],
)
def test_manifests_that_cannot_be_read(
    old: str, new: str, error: type[Exception], words: str, archive: Archive
) -> None:
    archive.put_bytes(f"backup/main/{LABEL}/backup.manifest", MANIFEST.replace(old, new).encode())
    with pytest.raises(error, match=words):
        Repository(archive).manifest(LABEL)


def test_the_copy_of_an_info_file_serves_when_the_file_does_not(archive: Archive) -> None:
    archive.put_bytes("backup/main/backup.info", b"damaged")
    with pytest.raises(DataCorrupt, match=r"backup\.info' is no file"):
        Repository(archive).backups()
    archive.put_bytes("backup/main/backup.info.copy", INFO.encode())
    assert len(Repository(archive).backups()) == 2
    archive.put_bytes("backup/main/backup.info", b"Salted__and more")
    with pytest.raises(BackupError, match="is encrypted"):
        Repository(archive).backups()


def test_what_is_not_there(archive: Archive) -> None:
    with pytest.raises(ObjectMissing):
        Repository(archive).manifest("20200101-000000F")
    with pytest.raises(ObjectMissing):
        Repository(archive).wal_folder()
    archive.put_bytes("archive/main/archive.info", (HEAD + '[db]\ndb-id=2\ndb-version="16"\n').encode())
    assert Repository(archive).wal_folder() == "archive/main/16-2"
    archive.put_bytes("archive/main/archive.info", HEAD.encode())
    with pytest.raises(DataCorrupt, match="which cluster"):
        Repository(archive).wal_folder()


@pytest.mark.parametrize("name", ["a/b", ""])
def test_the_name_of_a_stanza(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="PGBACKREST_STANZA"):
        Repository(archive_in(tmp_path / "x", PGBACKREST_STANZA=name or "/"))
    assert Repository(archive_in(tmp_path / "y")).backups() == []
