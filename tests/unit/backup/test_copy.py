"""copy: WAL-G's captures, what is copied of real archives, and that a stopped copy leaves nothing broken."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.faults import Fault, FaultyStorage
from tests.fixtures.golden import GOLDEN, RICH, golden_archive
from tests.fixtures.s3_server import S3Server, settings
from walpy.archive import Archive, open_archive, open_stored
from walpy.backup.catalog import read_metadata
from walpy.backup.copy import copy_backups
from walpy.cli import main
from walpy.config import Config
from walpy.copying import Conflict
from walpy.errors import BackupError, ConfigError, InvalidWal, StorageUnavailable
from walpy.layout import IDENTITY, admitted_identity
from walpy.progress import SilentProgress
from walpy.wal.identity import admit, check_identity

CAPTURES: dict[str, Any] = json.loads((GOLDEN / "cli-output/copy-cases.json").read_text())
F1 = "base_000000010000000000000016"
D1 = "base_000000010000000000000019_D_000000010000000000000016"
D2 = "base_00000001000000000000001D_D_000000010000000000000019"


def folder_archive(path: Path, **more: str) -> Archive:
    path.mkdir(parents=True, exist_ok=True)
    return open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(path), "WALG_PG_WAL_SIZE": "1", **more}))


@pytest.fixture
def source(tmp_path: Path) -> Archive:
    return folder_archive(golden_archive(RICH).copy(tmp_path / "copy") / "archive")


@pytest.fixture
def target(tmp_path: Path) -> Archive:
    return folder_archive(tmp_path / "target")


def contents(archive: Archive) -> dict[str, bytes]:
    return {name: archive.get_bytes(name) for name in archive.storage.list_names() if not name.startswith("walpy_005/")}


def copy(source: Archive, target: Archive, name: str = "", *, with_history: bool = False) -> tuple[int, int, int]:
    return copy_backups(source, target, name, SilentProgress(), with_history=with_history)


def wal(archive: Archive) -> list[str]:
    return sorted(name[8:] for name in archive.storage.list_names("wal_005"))


# ---- WAL-G's captures


def test_wal_gs_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as they were run: each goes on with the target of those before it."""
    for name, document in CAPTURES["objects"].items():
        path = tmp_path / "from" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name if document is None else document)
    to = tmp_path / "to"
    to.mkdir()
    for side in ("from", "to"):
        (tmp_path / f"{side}.json").write_text(json.dumps({"WALG_FILE_PREFIX": str(tmp_path / side)}))
    monkeypatch.setenv("WALG_FILE_PREFIX", "/nowhere")
    for case in CAPTURES["cases"]:
        if case["file"] == "copy-1mib-segments.txt":  # WAL-G takes no notice of the segments' size there; see below
            continue
        if case["file"] == "copy-conflict.txt":
            metadata = to / "basebackups_005/base_000000010000000000000003/metadata.json"
            metadata.write_bytes(metadata.read_bytes() + b" ")
        arguments = [word.replace("/srv/walg-cli", str(tmp_path)) for word in case["args"]]
        assert main(arguments) == case["exit"], case["file"]
        shown = capsys.readouterr()
        for words in (line.split(" ", 3)[-1] for line in case["stderr"].splitlines() if line[:5] in ("INFO:", "ERROR")):
            assert words in shown.err, case["file"]
        assert shown.err.count("Copied ") == case["stderr"].count("Copied ")
        if case["destination"]:
            found = {str(path.relative_to(to)) for path in to.rglob("*") if path.is_file()}
            assert {name for name in found if not name.startswith("walpy_005/")} == set(case["destination"])


# ---- what is copied


def test_a_chain_with_its_bases_and_its_own_wal(source: Archive, target: Archive) -> None:
    copy(source, target, D2)
    before, found = contents(source), contents(target)
    assert {name: before[name] for name in found} == found
    backups = {name.split("/")[1].split("_backup_stop")[0] for name in found if name.startswith("basebackups_005/")}
    assert backups == {F1, D1, D2}
    assert all(name in found for name in before if any(f"/{backup}/" in name for backup in backups))
    assert wal(target) == [
        "00000001000000000000001D.00000028.backup.lz4",
        "00000001000000000000001D.lz4",
        "00000002.history.lz4",
    ]


def test_everything_with_all_wal(source: Archive, target: Archive) -> None:
    before = contents(source)
    copy(source, target, with_history=True)
    earlier = "wal_005/000000010000000000000015.lz4"  # than the first backup
    assert contents(target) == {name: data for name, data in before.items() if name != earlier}


def test_latest(source: Archive, target: Archive) -> None:
    copy(source, target, "LATEST")
    expected = golden_archive(RICH).expected["backups"][-1]
    assert f"basebackups_005/{expected}_backup_stop_sentinel.json" in contents(target)


def test_a_second_run_copies_nothing(source: Archive, target: Archive, caplog: pytest.LogCaptureFixture) -> None:
    first = copy(source, target, with_history=True)
    assert first[2] == 0
    assert first[0] == len(contents(target))
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert copy(source, target, with_history=True) == (0, 0, first[0])
    assert "Copied" not in caplog.text
    assert "Success copy." in caplog.text


def test_wal_of_another_segment_size(source: Archive, target: Archive) -> None:
    """WAL-G does not look at the setting and finds the first segment missing."""
    wrong = Archive(Config.from_mapping({"WALG_FILE_PREFIX": "x"}), source.storage, source.codec)
    with pytest.raises((BackupError, InvalidWal)):
        copy(wrong, target, D1)
    assert contents(target) == {}


@pytest.mark.parametrize("with_history", [False, True])
@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("000000010000000000000019", 'first required PostgreSQL WAL segment "000000010000000000000019" is missing'),
        ("00000001000000000000001C", 'last required PostgreSQL WAL segment "00000001000000000000001C" is missing'),
        ("00000001000000000000001A", "gap .* on timeline 00000001 between segments 25 and 27"),
        ("000000020000000000000023", "gap .* on timeline 00000002 between segments 34 and 36"),
    ],
)
def test_a_missing_segment_is_told_before_anything_is_written(
    missing: str, words: str, with_history: bool, source: Archive, target: Archive
) -> None:
    metadata = read_metadata(source, D1)._replace(finish_lsn=0x1C00100)  # 19 to 1C
    source.put_bytes(f"basebackups_005/{D1}/metadata.json", metadata.to_json())
    source.storage.delete([f"wal_005/{missing}.lz4"])
    if with_history and "last" in words:
        words = "gap .* on timeline 00000001 between segments 27 and 29"
    if "00000002" in missing and not with_history:
        copy(source, target, D1)
        assert f"wal_005/{missing}.lz4" not in contents(target)
        return
    with pytest.raises(BackupError, match=words):
        copy(source, target, D1, with_history=with_history)
    assert contents(target) == {}


def test_an_unknown_backup(source: Archive, target: Archive) -> None:
    with pytest.raises(BackupError, match=r"Backup 'base_X' does not exist\."):
        copy(source, target, "base_X")
    with pytest.raises(BackupError, match="No backups found"):
        copy(target, source)


def test_a_base_that_is_gone(source: Archive, target: Archive) -> None:
    source.storage.delete([f"basebackups_005/{F1}_backup_stop_sentinel.json"])
    with pytest.raises(BackupError, match=F1):
        copy(source, target, D2)
    assert contents(target) == {}


@pytest.mark.parametrize("part", ["tar_partitions/part_001.tar.lz4", "metadata.json"])
def test_another_object_of_that_name(part: str, source: Archive, target: Archive) -> None:
    name = f"basebackups_005/{F1}/{part}"
    data = source.get_bytes(name)
    target.put_bytes(name, data[:-1])
    with pytest.raises(Conflict, match=f"{len(data)}, destination size {len(data) - 1}"):
        copy(source, target, D1)
    assert list(contents(target)) == [name]


@pytest.mark.parametrize("name", [f"{F1}/metadata.json", f"{F1}_backup_stop_sentinel.json"])
def test_a_document_of_the_same_size_and_other_content(name: str, source: Archive, target: Archive) -> None:
    target.put_bytes(f"basebackups_005/{name}", bytes(len(source.get_bytes(f"basebackups_005/{name}"))))
    with pytest.raises(Conflict, match="the contents differ"):
        copy(source, target, F1)


def test_one_archive_on_both_sides(source: Archive) -> None:
    with pytest.raises(ConfigError, match="the same archive"):
        copy(source, open_archive(source.config))


# ---- whose archive it is


def test_the_target_becomes_that_of_the_cluster(source: Archive, target: Archive) -> None:
    admit(source, 815)
    copy(source, target, F1)
    assert target.get_json(admitted_identity(815)) == source.get_json(admitted_identity(815))
    owner = target.get_json(IDENTITY)
    assert isinstance(owner, dict)
    check_identity(target, int(owner["system_identifier"]), None)
    check_identity(target, 815, None)


def test_an_archive_of_another_cluster_is_refused(source: Archive, target: Archive) -> None:
    check_identity(target, 4711, None)
    with pytest.raises(InvalidWal, match="belongs to the cluster with system identifier 4711"):
        copy(source, target, F1)
    assert contents(target) == {}


# ---- stopped anywhere


def is_whole(archive: Archive, source: Archive) -> bool:
    """Whether every listed backup has all that the source has of it, and its base."""
    found, before = contents(archive), contents(source)
    for name in found:
        if name.endswith("_backup_stop_sentinel.json"):
            backup = name.split("/")[1].removesuffix("_backup_stop_sentinel.json")
            if any(other not in found for other in before if f"/{backup}/" in other):
                return False
            base = json.loads(found[name]).get("DeltaFrom")
            if base and f"basebackups_005/{base}_backup_stop_sentinel.json" not in found:
                return False
    return True


@pytest.mark.parametrize("kind", ["put", "after put", "put chunk"])
def test_a_copy_that_stops_at_any_object_is_whole_and_goes_on(kind: str, source: Archive, tmp_path: Path) -> None:
    complete = folder_archive(tmp_path / "complete")
    copy(source, complete, D2)
    counted = FaultyStorage(folder_archive(tmp_path / "counted").storage)
    copy(source, Archive(complete.config, counted, complete.codec), D2)
    for number in range(1, counted.counts[kind] + 1):
        target = folder_archive(tmp_path / f"target-{number}")
        faulty = FaultyStorage(target.storage, Fault(kind, StorageUnavailable("gone"), number))
        with pytest.raises(StorageUnavailable):
            copy(source, Archive(target.config, faulty, target.codec), D2)
        assert is_whole(target, source)
        copy(source, target, D2)
        assert contents(target) == contents(complete)


# ---- other storages, and the command line


@pytest.fixture
def server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


def test_to_s3_and_back(source: Archive, target: Archive, server: S3Server) -> None:
    bucket = open_stored(settings(server.url, server.new_bucket(), WALG_PG_WAL_SIZE="1"))
    copy(source, bucket, D2)
    copy(bucket, target, D2)
    before, found = contents(source), contents(target)
    assert {name: before[name] for name in found} == found == contents(bucket)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], 'required flag(s) "from", "to" not set'),
        (["--from", "x.json"], 'required flag(s) "to" not set'),
        (["-f", "gone.json", "-t", "gone.json"], "gone.json"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["copy", *arguments]) == 1
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.out == ""


def test_an_encrypted_archive_is_copied_as_it_is(
    source: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WALG_LIBSODIUM_KEY", "k" * 32)
    for side, path in (("from", source.config.prefix()), ("to", str(tmp_path / "target"))):
        (tmp_path / f"{side}.json").write_text(json.dumps({"WALG_FILE_PREFIX": path, "WALG_PG_WAL_SIZE": "1"}))
    (tmp_path / "target").mkdir()
    assert main(["copy", "-f", str(tmp_path / "from.json"), "-t", str(tmp_path / "to.json"), "-b", F1]) == 0
    assert f"basebackups_005/{F1}_backup_stop_sentinel.json" in contents(folder_archive(tmp_path / "target"))
