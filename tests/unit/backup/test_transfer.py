"""st transfer backups: whole chains, never listed in part, and wherever it is stopped the next run completes it."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.fixtures.failover import Places
from tests.fixtures.faults import Fault, FaultyStorage
from tests.fixtures.golden import RICH, golden_archive
from tests.fixtures.killed import Death, Killed, MortalStorage
from tests.unit.wal.synthetic import archive_in
from walpy import layout
from walpy.archive import Archive
from walpy.backup.catalog import list_backups, read_sentinel
from walpy.backup.transfer import transfer_backups
from walpy.cli import main
from walpy.errors import BackupError, StorageError, StorageUnavailable
from walpy.moving import MoveOptions
from walpy.progress import SilentProgress

F1 = "base_000000010000000000000002"
D1 = "base_000000010000000000000004_D_000000010000000000000002"
D2 = "base_000000010000000000000006_D_000000010000000000000004"
F2 = "base_000000010000000000000008"
BASES = {F1: None, D1: F1, D2: D1, F2: None}
ONE = MoveOptions(concurrency=1, interval=0)


def objects_of(backup: str) -> dict[str, bytes]:
    base = BASES[backup]
    sentinel = {"DeltaFrom": base, "DeltaFullName": F1, "DeltaLSN": 1, "DeltaCount": 1} if base else {}
    return {
        layout.tar_partition(backup, "part_001.tar", "lz4"): f"part of {backup}".encode(),
        layout.metadata(backup): f'{{"is_permanent":false,"hostname":"{backup}"}}'.encode(),
        layout.sentinel(backup): json.dumps({"LSN": 1, "SystemIdentifier": 7, **sentinel}).encode(),
    }


def put(archive: Archive, backups: Sequence[str]) -> None:
    for backup in backups:
        for name, data in objects_of(backup).items():
            archive.put_bytes(name, data)


def of(backups: Sequence[str]) -> dict[str, bytes]:
    return {name: data for backup in backups for name, data in objects_of(backup).items()}


@pytest.fixture
def source(tmp_path: Path) -> Archive:
    archive = archive_in(tmp_path / "source")
    put(archive, [F1, D1, D2, F2])
    return archive


@pytest.fixture
def target(tmp_path: Path) -> Archive:
    return archive_in(tmp_path / "target")


def content(archive: Archive) -> dict[str, bytes]:
    return {name: archive.get_bytes(name) for name in archive.storage.list_names("basebackups_005")}


def listed(archive: Archive) -> set[str]:
    return {backup.name for backup in list_backups(archive)}


def move(source: Archive, target: Archive, name: str = "", max_backups: int | None = None, **options: object) -> None:
    chosen = ONE._replace(**options)  # type: ignore[arg-type]
    transfer_backups(source, target, name, chosen, SilentProgress(), max_backups=max_backups)


def check_whole(archive: Archive) -> None:
    """Every listed backup has all its objects, and its base, beside it."""
    found = content(archive)
    for backup in listed(archive):
        assert objects_of(backup).items() <= found.items(), backup
        assert BASES[backup] is None or BASES[backup] in listed(archive), backup


# ---- what moves


def test_all_backups_move(source: Archive, target: Archive) -> None:
    source.put_bytes("basebackups_005/other", b"of no backup")
    move(source, target, concurrency=4)
    assert content(target) == of(BASES)
    assert content(source) == {"basebackups_005/other": b"of no backup"}


def test_the_log_is_wal_gs(source: Archive, target: Archive, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        move(source, target, F2)
    part, metadata, sentinel = objects_of(F2)
    assert caplog.messages == [
        "Total files in the source storage: 12",
        "Files missing in the target storage: 12",
        "Backups missing in the target storage: 1",
        "Backups will be transferred: 1",
        "Files will be transferred: 3",
        f'File is transferred (2 left): "{sentinel}"',
        f'File is transferred (1 left): "{part}"',
        f'File is transferred (0 left): "{metadata}"',
    ]


def test_preserved_backups_stay(source: Archive, target: Archive, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        move(source, target, preserve=True)
        assert content(source) == content(target) == of(BASES)
        assert "(0 left)" in caplog.text
        caplog.clear()
        move(source, target, preserve=True)
    assert "Backups will be transferred: 0" in caplog.text
    assert "File is transferred" not in caplog.text


def test_a_base_that_others_need_is_copied_and_stays(
    source: Archive, target: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    move(source, target, D1)
    assert f"backup {D1} stays in the source, too: {D2} is made on it" in caplog.text
    assert content(target) == of([F1, D1])
    assert content(source) == of(BASES)
    move(source, target, D2)
    assert content(source) == of([F1, D1, F2])
    move(source, target)
    assert content(source) == {}
    assert content(target) == of(BASES)


def test_at_most_so_many(source: Archive, target: Archive) -> None:
    move(source, target, max_files=5)  # F1 alone, as a whole
    assert listed(target) == {F1}
    check_whole(target)
    for count, names in ((1, {F1, D1}), (0, {F1, D1}), (1, {F1, D1, D2}), (1, set(BASES))):
        move(source, target, max_backups=count)
        assert listed(target) == names
        check_whole(source)
        check_whole(target)
    assert content(source) == {}


def test_latest_and_what_was_moved_already(source: Archive, target: Archive) -> None:
    newest = list_backups(source)[-1].name
    move(source, target, "LATEST")
    assert listed(target) == {newest}
    move(source, target, newest)
    with pytest.raises(BackupError, match="Backup 'base_0' does not exist"):
        move(source, target, "base_0")


def test_incomplete_backups_stay(source: Archive, target: Archive, caplog: pytest.LogCaptureFixture) -> None:
    source.storage.delete([layout.sentinel(F2)])
    source.storage.delete(list(source.storage.list_names(layout.backup_folder(D2))))
    with caplog.at_level(logging.INFO):
        move(source, target)
    assert f"Skip incomplete backup without sentinel file: {F2}" in caplog.text
    assert f"Backup doesn't have any data: {D2}" in caplog.text
    assert listed(target) == {F1, D1}
    assert listed(source) == {F1, D1, D2}  # D2's sentinel says that it needs them


# ---- what is compared


def test_another_backup_of_that_name_keeps_all_that_is_made_on_it(
    source: Archive, target: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    put(target, [F1])
    target.put_bytes(layout.sentinel(F1), b'{"LSN":2}')
    with pytest.raises(StorageError, match="finished with 3 errors"):
        move(source, target)
    assert content(source) == of([F1, D1, D2])
    assert f"backup {F1}, which it is made on, is not in the target" in caplog.text  # but another one
    assert listed(target) == {F1, F2}
    move(source, target, overwrite=True)
    assert content(source) == {}
    assert content(target) == of(BASES)


def test_another_mark_is_an_error(source: Archive, target: Archive) -> None:
    put(target, [F1])
    target.put_bytes(layout.metadata(F1), b'{"is_permanent":true}')
    with pytest.raises(StorageError, match="finished with 1 errors"):
        move(source, target)
    assert content(source) == of([F1])
    assert listed(target) == set(BASES)


def test_a_backup_that_is_written_to_meanwhile_stays(
    source: Archive, target: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    class Marked(FaultyStorage):
        """The backup is marked when its sentinel arrives in the target."""

        def put(self, name, chunks, *, create_only=False):  # type: ignore[no-untyped-def]
            if name == layout.sentinel(F2):
                source.put_bytes(layout.metadata(F2), b'{"is_permanent":true}')
            return super().put(name, chunks, create_only=create_only)

    target.storage = Marked(target.storage)
    with pytest.raises(StorageError, match="finished with 1 errors"):
        move(source, target, F2)
    assert "the backup was written to since it was copied" in caplog.text
    assert listed(source) == set(BASES)


def test_a_backup_that_is_made_meanwhile_keeps_its_base(
    source: Archive, target: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    class Busy(FaultyStorage):
        def put(self, name, chunks, *, create_only=False):  # type: ignore[no-untyped-def]
            if name == layout.sentinel(F2):
                sentinel = {"LSN": 2, "DeltaFrom": F2, "DeltaFullName": F2, "DeltaLSN": 1, "DeltaCount": 1}
                source.put_bytes(layout.sentinel("base_new"), json.dumps(sentinel).encode())
            return super().put(name, chunks, create_only=create_only)

    target.storage = Busy(target.storage)
    move(source, target, F2)
    assert f"backup {F2} stays in the source, too: base_new is made on it" in caplog.text
    assert F2 in listed(source)


# ---- failures and stops


def test_a_failure_keeps_the_chain_and_lets_others_move(source: Archive, target: Archive) -> None:
    target.storage = FaultyStorage(
        target.storage, Fault("put", StorageUnavailable("gone"), 5)
    )  # the part of D1; the first is the identity
    with pytest.raises(StorageError, match="finished with"):
        move(source, target)
    assert listed(target) == {F1, F2}
    assert listed(source) == {F1, D1, D2}
    check_whole(source)
    check_whole(target)
    move(source, target)
    assert content(source) == {}
    assert content(target) == of(BASES)


def test_fail_fast_ends_it(source: Archive, target: Archive) -> None:
    target.storage = FaultyStorage(target.storage, Fault("put", StorageUnavailable("gone"), 5))
    with pytest.raises(StorageUnavailable, match=r"error with file .*part_001.*: copy failed: gone"):
        move(source, target, fail_fast=True)
    assert listed(target) == {F1}
    check_whole(source)


@pytest.mark.parametrize("overwrite", [False, True])
def test_wherever_it_is_killed_no_storage_lists_half_a_backup(
    overwrite: bool, source: Archive, target: Archive, unsynced: None
) -> None:
    """A chain; with overwrite the target has one of the same name, with another part, already."""
    chain = [F1] if overwrite else [F1, D1]
    source.storage.delete(of([backup for backup in BASES if backup not in chain]))
    number = 0
    while True:
        number += 1
        target.storage.delete(of(chain))
        put(source, chain)
        if overwrite:
            put(target, [F1])
            target.put_bytes(next(iter(objects_of(F1))), b"another part")
        death = Death(number)
        dying = [
            Archive(archive.config, MortalStorage(archive.storage, death), archive.codec)
            for archive in (source, target)
        ]
        try:
            move(*dying, overwrite=overwrite)
            break
        except Killed:
            pass
        check_whole(source)
        for backup in chain:
            assert backup in listed(source) | listed(target)
        if not overwrite:
            check_whole(target)
            assert {**content(source), **content(target)} == of(chain)
        move(source, target, overwrite=overwrite)
        assert content(source) == {}
        assert content(target) == of(chain)
    assert number > 20


def test_remains_that_differ_stay(source: Archive, target: Archive, caplog: pytest.LogCaptureFixture) -> None:
    put(target, [F2])
    source.storage.delete([layout.sentinel(F2)])
    source.put_bytes(layout.metadata(F2), b"other")
    with caplog.at_level(logging.INFO):
        move(source, target, F2)
    assert f"Skip incomplete backup without sentinel file: {F2}" in caplog.text
    assert layout.metadata(F2) in content(source)
    source.put_bytes(layout.metadata(F2), objects_of(F2)[layout.metadata(F2)])
    move(source, target, F2, preserve=True)
    assert layout.metadata(F2) in content(source)
    move(source, target, F2)
    assert content(source) == of([F1, D1, D2])


# ---- the command, on backups of WAL-G


def test_backups_of_wal_g(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    golden = golden_archive(RICH).copy(tmp_path / "copy") / "archive"
    (places.base / "b").rmdir()
    golden.rename(places.base / "b")
    for key, value in places.settings().items():
        monkeypatch.setenv(key, value)
    before = places.objects("b")
    chain = read_sentinel(archive_in(places.base / "b"), "base_000000010000000000000019_D_000000010000000000000016")
    assert main(["st", "transfer", "backups", "--source", "b", "--target", "default", "--max-backups", "1"]) == 0
    assert listed(archive_in(places.base / "default")) == {chain.delta_from}
    assert main(["st", "transfer", "backups", "-s", "b"]) == 0
    assert places.objects("b") == [name for name in before if not name.startswith("basebackups_005/")]
    assert main(["backup-list"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert {row.split()[-1] for row in rows} == {"default"}
    assert main(["st", "transfer", "backups", "base_nowhere", "-s", "b"]) == 1
    assert "Backup 'base_nowhere' does not exist." in capsys.readouterr().err
