"""wal-show and wal-verify print what WAL-G printed; their verdicts are those of a search by hand."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.golden import GOLDEN, RICH, golden_archive
from tests.unit.wal.synthetic import archive_in
from walpy.archive import Archive, open_archive
from walpy.config import Config
from walpy.errors import BackupError, UsageError
from walpy.postgres.lsn import parse_lsn
from walpy.wal.segment import MIB
from walpy.wal.show import wal_show
from walpy.wal.verify import position_of_lsn, wal_verify

CASES: dict[str, dict[str, Any]] = {
    case["file"].removesuffix(".txt"): case
    for case in json.loads((GOLDEN / "cli-output/wal-cases.json").read_text())
    if case["exit"] == 0
}


def archive_of(case: dict[str, Any], folder: Path) -> Archive:
    """The archive that WAL-G had before it, as its note says."""
    settings = {key: value for key, value in case["env"].items() if not key.endswith("_PREFIX")}
    root = folder / "copy/archive"
    if case["env"]["WALG_FILE_PREFIX"].endswith("empty"):
        root = folder / "empty"
        root.mkdir()
    else:
        golden_archive(RICH).copy(folder / "copy")
        for path in root.glob("basebackups_005/*/metadata.json"):
            path.write_bytes(path.read_bytes().replace(b"/tmp/fx/", b"/srv/fx/"))
        if "removed first" in case["note"]:
            (root / "wal_005" / case["note"].split()[0]).unlink()
    return open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(root), **settings}))


def value_of(flag: str, arguments: list[str]) -> str:
    return arguments[arguments.index(flag) + 1] if flag in arguments else ""


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("wal-show")])
def test_wal_show(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    flags = CASES[name]["args"][1:]
    archive = archive_of(CASES[name], tmp_path)
    shown = wal_show(archive, json="--detailed-json" in flags, with_backups="--without-backups" not in flags)
    assert shown == CASES[name]["stdout"]


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("wal-verify")])
def test_wal_verify(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "walpy")
    arguments = CASES[name]["args"][1:]
    checks = [word for word in arguments if word in ("integrity", "timeline")]
    expected = CASES[name]["stdout"]
    if expected.startswith("[wal-verify] timeline"):  # WAL-G's order is random
        checks.reverse()
    lsn = parse_lsn(value_of("--lsn", arguments))
    position = position_of_lsn(int(value_of("--timeline", arguments)), lsn, MIB)
    archive = archive_of(CASES[name], tmp_path)
    backup = value_of("--backup-name", arguments)
    assert wal_verify(archive, checks, position, backup_name=backup, json="--json" in arguments) == expected
    told = [record.getMessage() for record in caplog.records]
    expected_lines = [line.split(" ", 3)[3] for line in CASES[name]["stderr"].splitlines()]
    for line in expected_lines:  # but for those about .backup files, which walpy does not wonder at
        assert line in told or "Could not parse the timeline Id" in line


def test_an_unknown_backup(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match='Backup with specified name "base_1" was not found'):
        wal_verify(archive_in(tmp_path / "a"), ["integrity"], position_of_lsn(1, 10 * MIB, MIB), backup_name="base_1")


@pytest.mark.parametrize(("checks", "message"), [(["all"], "invalid check specified: all"), ([], "no check specified")])
def test_wrong_checks(checks: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        wal_verify(archive_in(tmp_path / "a"), checks, position_of_lsn(1, 10 * MIB, MIB))


def test_only_whole_segments_count(tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "a", WALG_PG_WAL_SIZE="1")
    names = ["000000010000000000000001.lz4", "000000010000000000000003.zst", "000000010000000000000004"]
    others = ["000000010000000000000002.json", "000000010000000000000002.partial", "000000010000000000000002_delta.lz4"]
    others += [
        "000000010000000000000002.partial.lz4",
        "00000001000000000000000.lz4",
        "junk",
        "0000000200000000FFFFFFFF.lz4",
    ]
    for name in [*names, *others]:
        archive.put_bytes(f"wal_005/{name}", b"x")
    (shown,) = json.loads(wal_show(archive, json=True))
    assert shown["missing_segments"] == ["000000010000000000000002"]
    assert (shown["segments_count"], shown["segment_range_size"], shown["status"]) == (3, 4, "LOST_SEGMENTS")


def test_a_promotion_is_no_loss(tmp_path: Path) -> None:
    """The old timeline's last segments were never archived whole: the new one holds what is needed."""
    archive = archive_in(tmp_path / "a", WALG_PG_WAL_SIZE="1", WALG_UPLOAD_CONCURRENCY="1")
    for name in ("000000010000000000000001", "000000010000000000000002", "000000020000000000000003"):
        archive.put_bytes(f"wal_005/{name}.lz4", b"x")
    archive.put_wal("00000002.history", [b"1\t0/345678\treason\n"])
    archive.put_bytes("wal_005/000000010000000000000003.partial.lz4", b"x")
    answer = json.loads(wal_verify(archive, ["integrity", "timeline"], position_of_lsn(2, 4 * MIB + 1, MIB), json=True))
    assert answer["integrity"]["status"] == answer["timeline"]["status"] == "OK"
    # Segments that the old primary archived after the switch change nothing either.
    archive.put_bytes("wal_005/000000010000000000000003.lz4", b"x")
    assert '"status":"OK"' in wal_verify(archive, ["integrity"], position_of_lsn(2, 4 * MIB + 1, MIB), json=True)
