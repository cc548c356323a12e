"""delete on WAL-G's archive: it marks and removes what WAL-G does, and says why it does not where that is unsound."""

import json
import logging
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.golden import GOLDEN, RICH, golden_archive
from walpy.archive import Archive, open_archive
from walpy.backup import retention
from walpy.backup.catalog import list_backups, read_metadata
from walpy.backup.delete import RUNNING_NS, as_document, carry_out, explain, read_archived
from walpy.backup.mark import backup_mark
from walpy.backup.retention import Modifier
from walpy.cli import main
from walpy.config import Config
from walpy.errors import BackupError, DataCorrupt

CASES: dict[str, dict[str, Any]] = {
    case["file"].removesuffix(".txt"): case
    for case in json.loads((GOLDEN / "cli-output/delete-cases.json").read_text())
}
DIFFERENT = {"delete-target-permanent-dry-run", "delete-target-permanent-confirm", "delete-no-args-dry-run"}
F1 = "base_000000010000000000000016"
D1 = "base_000000010000000000000019_D_000000010000000000000016"
D2 = "base_00000001000000000000001D_D_000000010000000000000019"
F2 = "base_00000001000000000000001F"  # permanent
F3 = "base_000000020000000000000021"
D3 = "base_000000020000000000000023_D_000000020000000000000021"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = golden_archive(RICH).copy(tmp_path / "copy") / "archive"
    monkeypatch.setenv("WALG_FILE_PREFIX", str(folder))
    monkeypatch.setenv("WALG_PG_WAL_SIZE", "1")
    return folder


@pytest.fixture
def archive(root: Path) -> Archive:
    return open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(root), "WALG_PG_WAL_SIZE": "1"}))


def objects(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def marked(log: str) -> set[str]:
    """Objects that a log marks; WAL-G's delete target leaves the folder out."""
    names = re.findall(r"Object marked for deletion: (\S+) storage=default", log)
    return {name if name.startswith(("wal_005/", "basebackups_005/")) else f"basebackups_005/{name}" for name in names}


@pytest.mark.parametrize("name", [name for name in CASES if name not in DIFFERENT])
def test_wal_gs_cases(name: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES[name]
    before = objects(root)
    assert main(case["args"]) == case["exit"]
    shown = capsys.readouterr()
    assert before - objects(root) == set(case["removed"])
    assert marked(shown.err) == marked(case["stderr"])
    for line in case["stderr"].splitlines():
        level, _, rest = line.partition(": ")
        if level in ("INFO", "ERROR") and "marked for deletion" not in line and "LATEST backup is" not in line:
            assert rest.split(" ", 2)[2] in shown.err or "Requested backup was not found" in line
    if case["exit"] == 1 and case["stdout"]:
        assert case["stdout"].strip() in shown.err


@pytest.mark.parametrize("name", ["delete-target-permanent-dry-run", "delete-target-permanent-confirm"])
def test_a_permanent_backup_is_never_removed(name: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """WAL-G looks for it under a wrong name, and removes it."""
    before = objects(root)
    assert main(CASES[name]["args"]) == 1
    assert f"Unable to delete permanent backups: {F2}" in capsys.readouterr().err
    assert objects(root) == before


def test_the_base_of_a_permanent_delta_stays(archive: Archive, root: Path) -> None:
    backup_mark(archive, D2, permanent=True)
    path = root / f"basebackups_005/{F1}/metadata.json"  # as if somebody had lost the mark of the full backup
    path.write_text(path.read_text().replace('"is_permanent":true', '"is_permanent":false'))
    archived = read_archived(archive)
    plan = retention.older_than(archived, archived.by_name[F3])
    assert plan.kept[F1] == f"{D1} is made on it"
    carry_out(plan, archive, confirm=True)
    assert {item.name for item in list_backups(archive)} == {F1, D1, D2, F2, F3, D3}
    wal = {name[8:32] for name in objects(root) if name.startswith("wal_005/0000000100")}
    assert {f"0000000100000000000000{number}" for number in ("16", "19", "1D", "1F")} <= wal
    assert "00000001000000000000001B" not in wal


def test_the_last_usable_backup_needs_force(archive: Archive) -> None:
    archived = read_archived(archive)
    plan = retention.without(archived, archived.by_name[F1], whole_chain=False, force_last=False)
    carry_out(plan, archive, confirm=True)
    backup_mark(archive, F2, permanent=False)
    archived = read_archived(archive)
    plan = retention.without(archived, archived.by_name[F2], whole_chain=False, force_last=False)
    carry_out(plan, archive, confirm=True)
    archived = read_archived(archive)
    with pytest.raises(BackupError, match="no usable backup would be left") as caught:
        retention.without(archived, archived.by_name[D3], whole_chain=True, force_last=False)
    assert "--force-last" in caught.value.hint
    assert main(["delete", "target", "FIND_FULL", D3, "--force-last", "--confirm"]) == 0
    assert list_backups(archive) == []


def test_a_backup_that_may_still_run_stays_with_its_wal(
    archive: Archive, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It began before the target and has not ended: WAL-G removes its parts while it stores them."""
    running = "base_00000001000000000000001B"
    archive.put_bytes(f"basebackups_005/{running}/tar_partitions/part_001.tar.lz4", b"x")
    finished = "base_00000001000000000000001A"
    archive.put_bytes(f"basebackups_005/{finished}/tar_partitions/part_001.tar.lz4", b"x")
    archive.put_bytes(f"basebackups_005/{finished}/metadata.json", b"{}")
    archived = read_archived(archive)
    assert "its backup may still run, so it stays" in caplog.text
    carry_out(retention.older_than(archived, archived.by_name[F3]), archive, confirm=True)
    left = objects(root)
    assert f"basebackups_005/{running}/tar_partitions/part_001.tar.lz4" in left
    assert not [name for name in left if finished in name]
    assert "wal_005/00000001000000000000001B.lz4" in left
    assert "wal_005/00000001000000000000001A.lz4" not in left

    old = time.time_ns() - RUNNING_NS - 1
    os.utime(root / f"basebackups_005/{running}/tar_partitions/part_001.tar.lz4", ns=(old, old))
    archived = read_archived(archive)
    carry_out(retention.older_than(archived, archived.by_name[F3]), archive, confirm=True)
    assert not [name for name in objects(root) if running in name]


def test_backups_of_several_clusters_are_compared_by_time(
    archive: Archive, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After pg_upgrade the new cluster is on timeline 1 again: by position its backups would be the oldest."""
    for name in (F3, D3):
        metadata = read_metadata(archive, name)._replace(system_identifier=4711)
        (root / f"basebackups_005/{name}/metadata.json").write_bytes(metadata.to_json())
    new = "base_000000010000000000000030"
    os.rename(root / f"basebackups_005/{F3}", root / f"basebackups_005/{new}")
    os.rename(
        root / f"basebackups_005/{F3}_backup_stop_sentinel.json",
        root / f"basebackups_005/{new}_backup_stop_sentinel.json",
    )
    archive.storage.delete([f"basebackups_005/{D3}_backup_stop_sentinel.json"])
    archived = read_archived(archive)
    assert "backups of several clusters" in caplog.text
    target = retention.retain(archived, 1, Modifier.FULL)
    assert target is not None
    assert target.name == new
    plan = retention.older_than(archived, target)
    assert {item.name for item in plan.removed} == {F1, D1, D2}
    assert not plan.removes_wal(1, 0x30)


def test_unreadable_metadata_stops_it(archive: Archive, root: Path) -> None:
    (root / f"basebackups_005/{F2}/metadata.json").write_text("{")
    with pytest.raises(DataCorrupt):
        read_archived(archive)
    (root / f"basebackups_005/{F2}/metadata.json").unlink()
    assert not read_archived(archive).by_name[F2].is_permanent


def test_a_wrong_segment_size_stops_it(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "basebackups_005/base_0000000100000000000000FF0_backup_stop_sentinel.json"
    path.write_text("{}")
    os.rename(path, root / "basebackups_005/base_00000001000000000000FFFF_backup_stop_sentinel.json")
    assert main(["delete", "retain", "1"]) == 1
    assert "tells no WAL position" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (F2, "stays: it is permanent"),
        (F3, "stays: it is the oldest one to keep"),
        (D3, "stays: it is not older than the target"),
        (D1, f"goes: it is older than {F3}"),
    ],
)
def test_every_backup_can_be_explained(name: str, text: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = objects(root)
    assert main(["delete", "retain", "FULL", "1", "--confirm", "--explain", name]) == 0
    assert text in capsys.readouterr().out
    assert objects(root) == before


def test_an_unknown_backup_cannot_be_explained(archive: Archive) -> None:
    archived = read_archived(archive)
    with pytest.raises(BackupError, match="does not exist"):
        explain(retention.older_than(archived, archived.by_name[F3]), "base_x")


def test_the_plan_as_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["delete", "retain", "FULL", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["target"], document["order"], document["objects"]) == (F3, "wal_position", 35)
    assert set(document["removed_backups"]) == {F1, D1, D2}
    assert {"backup_name": F2, "reason": "it is permanent"} in document["kept_backups"]
    assert document["bytes"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["retain", "SOME", "1"], "expected to get one of modifiers: [FULL FIND_FULL] as first argument"),
        (["retain", "FULL", "1", "2"], "expected to get one of modifiers"),
        (["before", "SOME", F1], "expected to get one of modifiers: [FIND_FULL] as first argument"),
        (["everything", "NOW"], "expected to get one of modifiers: [FORCE] as first argument"),
        (["target"], "expected a backup name, or --target-user-data"),
        (["target", F1, "--target-user-data", "1"], "expected a backup name, or --target-user-data"),
        (["before", "2026-11-22T02:46:09"], "a time needs its zone"),
        (["retain", "1", "--after", "nothing"], "No backup's name begins with nothing"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = objects(root)
    assert main(["delete", *arguments, "--confirm"]) == 1
    assert message in capsys.readouterr().err
    assert objects(root) == before


def test_after_keeps_the_older_of_two_targets(archive: Archive) -> None:
    archived = read_archived(archive)

    def target(count: int, modifier: Modifier, since: str) -> str | None:
        first = archived.by_name[since]
        found = retention.retain_after(archived, count, modifier, lambda item: not archived.is_older(item, first))
        return found and found.name

    assert target(1, Modifier.FULL, F2) == F2
    assert target(3, Modifier.FULL, F2) == F1
    assert target(9, Modifier.FULL, F3) == F3
    assert target(1, Modifier.FIND_FULL, D2) == F2
    with pytest.raises(BackupError, match="incremental"):
        target(2, Modifier.NONE, D2)


def test_nothing_is_left_by_everything(root: Path, archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "walpy")
    assert main(["delete", "everything", "FORCE", "--confirm"]) == 0
    assert objects(root) == set()
    assert main(["delete", "everything", "FORCE", "--confirm"]) == 0  # also when there is nothing


def test_documents_are_of_the_plan(archive: Archive) -> None:
    archived = read_archived(archive)
    plan = retention.without(archived, archived.by_name[D1], whole_chain=False, force_last=False)
    document = as_document(plan, carry_out(plan, archive, confirm=False))
    assert document["target"] is None
    assert document["removed_backups"] == [D2, D1]
