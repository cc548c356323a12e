"""The walk over data directories made here."""

import logging
import os
import socket
import stat
from pathlib import Path

import pytest

from walpy.errors import BackupError
from walpy.postgres import datadir
from walpy.postgres.datadir import TablespaceLink, walk


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with the least that one has."""
    root = tmp_path / "data"
    for folder in ("base/5", "global", "pg_wal/archive_status", "pg_tblspc", "pg_xact"):
        (root / folder).mkdir(parents=True)
    write(root, "PG_VERSION", b"15\n")
    write(root, "global/pg_control", b"control")
    write(root, "base/5/1259", bytes(100))
    write(root, "pg_wal/000000010000000000000001", bytes(10))
    return root


def write(root: Path, name: str, content: bytes = b"x") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(root: Path) -> list[str]:
    return [entry.name for entry in walk(str(root)).entries]


def test_order_and_names(data: Path) -> None:
    write(data, "base/5/1259.1")
    write(data, "base/5/1259_vm")
    write(data, "base/10/é")
    assert names(data) == [
        "/",
        "/PG_VERSION",
        "/base",
        "/base/10",
        "/base/10/é",
        "/base/5",
        "/base/5/1259",
        "/base/5/1259.1",
        "/base/5/1259_vm",
        "/global",
        "/pg_tblspc",
        "/pg_wal",
        "/pg_xact",
    ]


def test_entries_are_as_lstat_says(data: Path) -> None:
    path = data / "base/5/1259"
    path.chmod(0o640)
    os.utime(path, ns=(1, 1_600_000_000_123_456_789))
    listing = walk(str(data))
    entry = next(entry for entry in listing.entries if entry.name == "/base/5/1259")
    status = path.lstat()
    assert (entry.path, entry.size, entry.mtime_ns) == (str(path), 100, 1_600_000_000_123_456_789)
    assert (stat.S_IMODE(entry.mode), entry.uid, entry.gid) == (0o640, status.st_uid, status.st_gid)
    assert entry.is_file
    root = listing.entries[0]
    assert (root.name, root.path, root.size, root.is_file) == ("/", str(data), 0, False)


def test_pg_control_is_apart(data: Path) -> None:
    write(data, "base/5/pg_control")
    listing = walk(str(data))
    assert (listing.control.name, listing.control.size) == ("/global/pg_control", 7)
    assert "/global/pg_control" not in [entry.name for entry in listing.entries]
    assert "/base/5/pg_control" in [entry.name for entry in listing.entries]


def test_catalog_size_counts_what_is_met(data: Path) -> None:
    met = [data, *data.glob("*"), *data.glob("base/*"), *data.glob("base/5/*"), data / "global/pg_control"]
    assert walk(str(data)).catalog_size == sum(path.lstat().st_size for path in met)


@pytest.mark.parametrize(
    "folder",
    [
        *("log", "pg_log", "pg_xlog", "pg_dynshmem", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots"),
        *("pg_stat_tmp", "pg_subtrans", "base/pgsql_tmp", "base/pgsql_tmp12.0.fileset"),
    ],
)
def test_directories_that_are_stored_empty(data: Path, folder: str) -> None:
    write(data, f"{folder}/inside")
    found = names(data)
    assert f"/{folder}" in found
    assert f"/{folder}/inside" not in found


@pytest.mark.parametrize(
    "name",
    [
        *("postmaster.pid", "postmaster.opts", "postgresql.auto.conf.tmp", "recovery.conf", "standby.signal"),
        *("current_logfiles.tmp", "backup_label", "tablespace_map", "backup_manifest"),
        *("base/5/t12_16385", "base/5/t12_16385_fsm", "base/5/t12_16385.1", "base/pgsql_tmp/x", "base/5/pgsql_tmp9.1"),
        *("base/5/pg_internal.init", "global/pg_internal.init.71"),
    ],
)
def test_files_that_are_left_out(data: Path, name: str) -> None:
    write(data, name)
    assert f"/{name}" not in names(data)


@pytest.mark.parametrize(
    "name",
    [
        *("recovery.signal", "postgresql.conf", "current_logfiles", "backup_label.old", "base/5/16385_init"),
        *("base/5/16385", "mine/backup_label", "base/5/test_1", "pg_stat/pgstat.stat"),
    ],
)
def test_files_that_are_kept(data: Path, name: str) -> None:
    write(data, name)
    assert f"/{name}" in names(data)


def tablespace(data: Path, location: Path, oid: str = "16384") -> Path:
    """A tablespace at a location; the directory that belongs to this version."""
    version = location / "PG_15_202209061"
    write(version, "5/16385", bytes(50))
    (data / "pg_tblspc" / oid).symlink_to(location)
    return version


def test_tablespaces_come_before_pg_tblspc(data: Path, tmp_path: Path) -> None:
    version = tablespace(data, tmp_path / "space")
    tablespace(data, tmp_path / "another", "16399")
    listing = walk(str(data))
    found = [entry.name for entry in listing.entries]
    start = found.index("/pg_tblspc/16384/PG_15_202209061")
    assert found[start : start + 7] == [
        "/pg_tblspc/16384/PG_15_202209061",
        "/pg_tblspc/16384/PG_15_202209061/5",
        "/pg_tblspc/16384/PG_15_202209061/5/16385",
        "/pg_tblspc/16399/PG_15_202209061",
        "/pg_tblspc/16399/PG_15_202209061/5",
        "/pg_tblspc/16399/PG_15_202209061/5/16385",
        "/pg_tblspc",
    ]
    assert "/pg_tblspc/16384" not in found
    assert listing.entries[start + 2].path == str(version / "5/16385")
    assert listing.tablespaces == (
        TablespaceLink("16384", str(tmp_path / "space")),
        TablespaceLink("16399", str(tmp_path / "another")),
    )
    assert listing.tablespaces[0].link == "pg_tblspc/16384"


def test_a_location_may_be_a_link_itself(data: Path, tmp_path: Path) -> None:
    version = tablespace(data, tmp_path / "real")
    (data / "pg_tblspc/16384").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.symlink(f"{tmp_path}/link/", data / "pg_tblspc/16384")
    listing = walk(str(data))
    paths = {entry.name: entry.path for entry in listing.entries}
    assert paths["/pg_tblspc/16384/PG_15_202209061/5/16385"] == str(version / "5/16385")
    assert listing.tablespaces == (TablespaceLink("16384", str(tmp_path / "link")),)


def test_what_else_is_at_a_location_is_not_ours(data: Path, tmp_path: Path) -> None:
    tablespace(data, tmp_path / "space")
    write(tmp_path / "space", "PG_14_202107181/5/16385")
    write(tmp_path / "space", "lost+found/x")
    assert not [name for name in names(data) if "PG_14" in name or "lost" in name]


def test_a_tablespace_inside_the_data_directory_is_listed_once(data: Path) -> None:
    tablespace(data, data / "spaces/one")
    found = names(data)
    assert "/spaces/one" in found
    assert [name for name in found if name.endswith("16385")] == ["/pg_tblspc/16384/PG_15_202209061/5/16385"]


def test_in_place_tablespaces_are_directories(data: Path) -> None:
    write(data, "pg_tblspc/16384/PG_15_202209061/5/16385")
    listing = walk(str(data))
    found = [entry.name for entry in listing.entries]
    assert (
        found.index("/pg_tblspc")
        < found.index("/pg_tblspc/16384")
        < found.index("/pg_tblspc/16384/PG_15_202209061/5/16385")
    )
    assert listing.tablespaces == ()


def test_a_missing_tablespace_is_an_error(data: Path, tmp_path: Path) -> None:
    (data / "pg_tblspc/16384").symlink_to(tmp_path / "gone")
    with pytest.raises(BackupError, match="tablespace 16384"):
        walk(str(data))


def test_a_linked_pg_wal_becomes_an_empty_directory(data: Path, tmp_path: Path) -> None:
    (data / "pg_wal").rename(tmp_path / "wal")
    (data / "pg_wal").symlink_to(tmp_path / "wal")
    entry = next(entry for entry in walk(str(data)).entries if entry.name == "/pg_wal")
    assert stat.S_ISDIR(entry.mode)
    assert not [name for name in names(data) if name.startswith("/pg_wal/")]


def test_linked_files_and_directories_are_stored_as_what_they_are(data: Path, tmp_path: Path) -> None:
    write(tmp_path, "etc/postgresql.conf", b"port = 1")
    write(tmp_path, "elsewhere/16385", bytes(8))
    (data / "postgresql.conf").symlink_to("../etc/postgresql.conf")
    (data / "base/16384").symlink_to(tmp_path / "elsewhere")
    entries = {entry.name: entry for entry in walk(str(data)).entries}
    assert (entries["/postgresql.conf"].path, entries["/postgresql.conf"].size) == (
        str(tmp_path / "etc/postgresql.conf"),
        8,
    )
    assert stat.S_ISDIR(entries["/base/16384"].mode)
    assert entries["/base/16384/16385"].path == str(tmp_path / "elsewhere/16385")


@pytest.mark.parametrize("target", [".", "..", "../data", "missing"])
def test_links_that_lead_nowhere_or_in_circles_are_left_out(
    data: Path, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    (data / "loop").symlink_to(target)
    with caplog.at_level(logging.WARNING):
        assert "/loop" not in names(data)
    assert str(data / "loop") in caplog.text


def test_links_from_one_directory_to_another_and_back_end(data: Path, tmp_path: Path) -> None:
    write(tmp_path, "shared/file")
    (tmp_path / "shared/back").symlink_to(data / "base")
    (tmp_path / "shared/again").symlink_to(tmp_path / "shared")
    (data / "base/6").symlink_to(tmp_path / "shared")
    assert [name for name in names(data) if name.startswith("/base/6")] == ["/base/6", "/base/6/file"]


def test_a_directory_moved_within_the_data_directory_is_not_lost(data: Path) -> None:
    (data / "base/5").rename(data / "moved")
    (data / "base/5").symlink_to("../moved")
    assert {"/base/5", "/base/5/1259", "/moved/1259"} <= set(names(data))


def test_a_link_to_a_directory_that_is_stored_empty(data: Path) -> None:
    write(data, "log/today")
    (data / "messages").symlink_to("log")
    assert [name for name in names(data) if name.startswith(("/log", "/messages"))] == ["/log", "/messages"]


def test_sockets_and_pipes_are_left_out(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(data / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(data / "socket"))
        with caplog.at_level(logging.WARNING):
            found = names(data)
    assert not {"/pipe", "/socket"} & set(found)
    assert str(data / "pipe") in caplog.text
    assert str(data / "socket") in caplog.text


def test_what_vanishes_is_left_out(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doomed = write(data, "base/5/16385")
    scan = datadir._scan

    def scan_then_drop(path: str) -> "list[os.DirEntry[str]]":
        found = scan(path)
        if path.endswith("base/5"):
            doomed.unlink()
        if path == str(data):
            (data / "pg_xact").rmdir()
        return found

    monkeypatch.setattr(datadir, "_scan", scan_then_drop)
    found = names(data)
    assert not {"/base/5/16385", "/pg_xact"} & set(found)
    assert "/base/5/1259" in found


@pytest.mark.parametrize("missing", ["PG_VERSION", "global/pg_control"])
def test_other_directories_are_refused(data: Path, missing: str) -> None:
    (data / missing).unlink()
    with pytest.raises(BackupError, match=missing) as refused:
        walk(str(data))
    assert "SHOW data_directory" in refused.value.hint


def test_names_that_are_not_text_survive(data: Path) -> None:
    raw = os.fsencode(data) + b"/base/5/\xff\xfe"
    with open(raw, "wb"):
        pass
    entry = next(entry for entry in walk(str(data)).entries if entry.name.startswith("/base/5/\udcff"))
    assert os.fsencode(entry.name) == b"/base/5/\xff\xfe"
    assert os.path.exists(entry.path)


def test_the_data_directory_may_be_a_link(data: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(data)
    by_link, directly = walk(str(tmp_path / "link")), walk(str(data))
    assert list(by_link.entries) == list(directly.entries)
    assert by_link.control == directly.control


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_directory_is_an_error(data: Path) -> None:
    (data / "base/5").chmod(0)
    with pytest.raises(BackupError, match="Permission denied"):
        walk(str(data))
    (data / "base/5").chmod(0o700)
