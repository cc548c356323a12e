"""WAL metadata in WAL-G's shape."""

import json
import os
from pathlib import Path

import pytest

from tests.unit.wal.synthetic import DataDirectory, archive_in
from walpy.config import Config
from walpy.errors import ConfigError
from walpy.wal.metadata import WalMetadata, metadata_level

GROUP = "00000006000000000000000"
TIME_NS = 1614041474_195209900
ENTRY = {"created_time": "2021-02-23T00:51:14.1952099Z", "date_fmt": "%Y-%m-%dT%H:%M:%S.%fZ"}


def add(data: DataDirectory, name: str, time_ns: int = TIME_NS) -> str:
    path = data.add(name)
    os.utime(path, ns=(time_ns, time_ns))
    return path


@pytest.mark.parametrize("name", [f"{GROUP}D", f"{GROUP}D.partial"])
def test_individual(data: DataDirectory, tmp_path: Path, name: str) -> None:
    archive = archive_in(tmp_path / "archive")
    WalMetadata(archive, "INDIVIDUAL", str(data.wal / "walg_data")).store(add(data, name))
    assert archive.get_bytes(f"wal_005/{name}.json") == json.dumps({name: ENTRY}, separators=(",", ":")).encode()


@pytest.mark.parametrize(("time_ns", "text"), [(0, "1970-01-01T00:00:00Z"), (500_000_000, "1970-01-01T00:00:00.5Z")])
def test_times_are_cut_as_go_does(data: DataDirectory, tmp_path: Path, time_ns: int, text: str) -> None:
    archive = archive_in(tmp_path / "archive")
    WalMetadata(archive, "INDIVIDUAL", None).store(add(data, f"{GROUP}D", time_ns))
    document = archive.get_json(f"wal_005/{GROUP}D.json")
    assert document == {f"{GROUP}D": {**ENTRY, "created_time": text}}


def test_bulk_gathers_until_f(data: DataDirectory, tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "archive")
    metadata = WalMetadata(archive, "BULK", str(data.wal / "walg_data"))
    for last in "ED":
        metadata.store(add(data, GROUP + last))
    (data.markers / f"{GROUP}A.json").write_text("{ damaged")
    (data.markers / "000000060000000000000010.json").write_text("{}")
    assert list(archive.storage.list("wal_005")) == []
    assert (metadata.completes(f"{GROUP}E"), metadata.completes(f"{GROUP}F")) == (False, True)
    metadata.store(add(data, f"{GROUP}F"))
    expected = {f"{GROUP}{last}": ENTRY for last in "DEF"}
    assert archive.get_bytes(f"wal_005/{GROUP}.json") == json.dumps(expected, separators=(",", ":")).encode()
    assert os.listdir(data.markers) == ["000000060000000000000010.json"]


def test_bulk_without_a_place_to_gather_stores_each(data: DataDirectory, tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "archive")
    WalMetadata(archive, "BULK", None).store(add(data, f"{GROUP}D"))
    assert archive.get_json(f"wal_005/{GROUP}D.json") == {f"{GROUP}D": ENTRY}


def test_no_metadata(data: DataDirectory, tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "archive")
    WalMetadata(archive, "NOMETADATA", None).store("/absent")
    assert list(archive.storage.list("")) == []


def test_levels() -> None:
    assert metadata_level(Config.from_mapping({})) == "NOMETADATA"
    with pytest.raises(ConfigError, match="expected one of: '\\[BULK INDIVIDUAL NOMETADATA\\]'"):
        metadata_level(Config.from_mapping({"WALG_UPLOAD_WAL_METADATA": "bulk"}))
