"""backup-list prints what WAL-G printed, byte for byte."""

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.golden import GOLDEN, RICH, golden_archive
from walpy.archive import Archive, open_archive
from walpy.backup.listing import backup_list
from walpy.backup.model import BackupMetadata
from walpy.config import Config
from walpy.errors import BackupError

CASES = {
    case["file"].removesuffix(".txt"): case
    for case in json.loads((GOLDEN / "cli-output/backup-cases.json").read_text())
    if case["args"][0] == "backup-list"
}
MARKED = ("000000010000000000000016", "000000010000000000000019_D_", "00000001000000000000001D_D_")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """The archive of the captures, its data directories renamed as there."""
    folder = golden_archive(RICH).copy(tmp_path / "copy") / "archive"
    for path in folder.glob("basebackups_005/*/metadata.json"):
        path.write_bytes(path.read_bytes().replace(b"/tmp/fx/", b"/srv/fx/"))
    return open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(folder)}))


@pytest.fixture
def empty_archive(tmp_path: Path) -> Archive:
    (tmp_path / "empty").mkdir()
    return open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(tmp_path / "empty")}))


@pytest.fixture
def time_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process in the zone of the case."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def folder_of(archive: Archive) -> Path:
    return Path(archive.config.text("WALG_FILE_PREFIX")) / "basebackups_005"


def printed(archive: Archive, case: dict[str, Any]) -> str:
    flags = case["args"][1:]
    return backup_list(archive, detail="--detail" in flags, pretty="--pretty" in flags, json="--json" in flags)


@pytest.mark.parametrize("time_zone", ["UTC"], indirect=True)
@pytest.mark.parametrize("name", [name for name in CASES if not re.search("empty|after|tz", name)])
def test_output_is_wal_g_s(name: str, archive: Archive, time_zone: None) -> None:
    assert printed(archive, CASES[name]) == CASES[name]["stdout"]


@pytest.mark.parametrize("time_zone", ["Asia/Tokyo"], indirect=True)
def test_file_times_are_local(archive: Archive, time_zone: None) -> None:
    assert printed(archive, CASES["backup-list-detail-tz"]) == CASES["backup-list-detail-tz"]["stdout"]
    assert "Sunday, 22-Nov-26 11:46:09 JST" in backup_list(archive, pretty=True)
    assert '"time":"2026-11-22T11:46:09.874362408+09:00"' in backup_list(archive, json=True)


@pytest.mark.parametrize("name", [name for name in CASES if "empty" in name])
def test_nothing_to_list(name: str, empty_archive: Archive) -> None:
    assert printed(empty_archive, CASES[name]) == CASES[name]["stdout"]


@pytest.mark.parametrize("time_zone", ["UTC"], indirect=True)
def test_marks_show(archive: Archive, time_zone: None) -> None:
    for path in folder_of(archive).glob("*/metadata.json"):
        if path.parent.name.startswith(tuple(f"base_{name}" for name in MARKED)):
            metadata = BackupMetadata.from_json(path.read_bytes())
            path.write_bytes(metadata._replace(is_permanent=True).to_json())
    assert printed(archive, CASES["backup-list-after-mark"]) == CASES["backup-list-after-mark"]["stdout"]


@pytest.mark.parametrize("time_zone", ["UTC"], indirect=True)
def test_a_backup_without_sentinel_is_none(archive: Archive, time_zone: None) -> None:
    (folder_of(archive) / "base_000000020000000000000021_backup_stop_sentinel.json").unlink()
    assert (
        printed(archive, CASES["backup-list-after-lost-sentinel"])
        == (CASES["backup-list-after-lost-sentinel"]["stdout"])
    )


def test_plain_order_is_that_of_the_sentinels_and_detail_that_of_the_starts(archive: Archive) -> None:
    oldest = folder_of(archive) / "base_000000010000000000000016_backup_stop_sentinel.json"
    os.utime(oldest, ns=(2_000_000_000 * 10**9,) * 2)
    assert backup_list(archive).splitlines()[-1].startswith("base_000000010000000000000016 ")
    assert backup_list(archive, detail=True).splitlines()[1].startswith("base_000000010000000000000016 ")


def test_detail_follows_the_sentinels_when_a_start_is_unknown(archive: Archive) -> None:
    oldest = folder_of(archive) / "base_000000010000000000000016_backup_stop_sentinel.json"
    os.utime(oldest, ns=(2_000_000_000 * 10**9,) * 2)
    (folder_of(archive) / "base_00000001000000000000001F/metadata.json").write_text("{}")
    lines = backup_list(archive, detail=True).splitlines()
    assert lines[-1].startswith("base_000000010000000000000016 ")
    assert any(line.split()[4] == "-" for line in lines[1:])


def test_detail_needs_every_metadata_object(archive: Archive) -> None:
    (folder_of(archive) / "base_00000001000000000000001F/metadata.json").unlink()
    with pytest.raises(BackupError, match="base_00000001000000000000001F has no metadata"):
        backup_list(archive, detail=True)
    assert backup_list(archive).count("\n") == 7


def test_the_name_of_a_backup_without_wal_name_is_listed(empty_archive: Archive) -> None:
    folder_of(empty_archive).mkdir()
    (folder_of(empty_archive) / "base_new_backup_stop_sentinel.json").write_text("{}")
    assert backup_list(empty_archive).splitlines()[1].split()[::2] == ["base_new", "Z" * 24]
