"""backup-mark on WAL-G's archive: what WAL-G tells, and what it leaves in metadata.json."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.golden import RICH, golden_archive
from walpy.archive import Archive, open_archive
from walpy.backup.catalog import list_backups, read_metadata
from walpy.backup.mark import backup_mark, chain
from walpy.config import Config
from walpy.errors import BackupError

F1 = "base_000000010000000000000016"
D1 = "base_000000010000000000000019_D_000000010000000000000016"
D2 = "base_00000001000000000000001D_D_000000010000000000000019"
F2 = "base_00000001000000000000001F"  # permanent
D3 = "base_000000020000000000000023_D_000000020000000000000021"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    folder = golden_archive(RICH).copy(tmp_path / "copy") / "archive"
    return open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(folder)}))


def permanent(archive: Archive) -> set[str]:
    return {item.name for item in list_backups(archive) if read_metadata(archive, item.name).is_permanent}


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return found


def test_a_delta_is_marked_with_its_chain_and_again(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "walpy")
    backup_mark(archive, D2, permanent=True)
    assert permanent(archive) == {F1, D1, D2, F2}
    assert messages(caplog) == [
        "Retrieving previous related backups to be marked: toPermanent=true",
        f"Retrieved backups to be marked, marking: [{F1} {D1} {D2}]",
    ]
    backup_mark(archive, D2, permanent=True)
    assert messages(caplog)[1:] == [
        f"Backup {D2} is already marked as permanent, ignoring...",
        "Retrieved backups to be marked, marking: []",
    ]


def test_marks_are_taken_away_from_the_top(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "walpy")
    backup_mark(archive, D2, permanent=True)
    for name in (D1, F1):  # F1 only carries D2 by way of D1
        with pytest.raises(
            BackupError, match="There is permanent increment backup that depends on this backup"
        ) as caught:
            backup_mark(archive, name, permanent=False)
        assert D1 in caught.value.hint or D2 in caught.value.hint
    caplog.clear()
    for name in (D2, D1):
        backup_mark(archive, name, permanent=False)
    assert f"Retrieved backups to be marked, marking: [{D2}]" in messages(caplog)
    assert permanent(archive) == {F1, F2}
    backup_mark(archive, D1, permanent=False)
    assert f"Backup {D1} is already marked as impermanent, ignoring..." in messages(caplog)


def test_an_indirect_dependent_counts(archive: Archive) -> None:
    backup_mark(archive, D2, permanent=True)
    path = Path(archive.config.text("WALG_FILE_PREFIX")) / f"basebackups_005/{D1}/metadata.json"
    path.write_text(path.read_text().replace('"is_permanent":true', '"is_permanent":false'))
    with pytest.raises(BackupError, match="depends on this backup"):
        backup_mark(archive, F1, permanent=False)


def test_the_latest_backup_is_found(archive: Archive) -> None:
    backup_mark(archive, "LATEST", permanent=True)
    assert permanent(archive) == {F2, *chain(archive, D3)}


def test_unknown_fields_stay(archive: Archive) -> None:
    path = Path(archive.config.text("WALG_FILE_PREFIX")) / f"basebackups_005/{F1}/metadata.json"
    before: dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps({**before, "of_the_future": [1, {"a": None}]}))
    backup_mark(archive, F1, permanent=True)
    assert json.loads(path.read_text()) == {**before, "is_permanent": True, "of_the_future": [1, {"a": None}]}


def test_an_unknown_backup_and_one_without_metadata(archive: Archive) -> None:
    with pytest.raises(BackupError, match="does not exist"):
        backup_mark(archive, "base_000000010000000000000099", permanent=True)
    archive.storage.delete([f"basebackups_005/{F1}/metadata.json"])
    with pytest.raises(BackupError, match=f"{F1} has no metadata.json"):
        backup_mark(archive, F1, permanent=True)


def test_a_circle_is_an_error(archive: Archive) -> None:
    path = Path(archive.config.text("WALG_FILE_PREFIX")) / f"basebackups_005/{F1}_backup_stop_sentinel.json"
    sentinel = json.loads(path.read_text())
    path.write_text(json.dumps({**sentinel, "DeltaFrom": D1, "DeltaFullName": F1, "DeltaCount": 1}))
    with pytest.raises(BackupError, match="delta of itself"):
        chain(archive, D1)
