"""WAL directories, and where local state is kept."""

from pathlib import Path

import pytest

from tests.unit.wal.synthetic import FIRST, SYSTEM_IDENTIFIER, DataDirectory
from walpy.config import Config
from walpy.errors import DataCorrupt, WalpyError
from walpy.wal.local import find_wal_directory, state_directory
from walpy.wal.segment import MIB


def test_the_wal_directory_of_a_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataDirectory(tmp_path / "data")
    found = find_wal_directory(str(data.wal / FIRST))
    assert found is not None
    assert (found.path, found.data_directory) == (str(data.wal), str(data.path))
    assert found.cluster().system_identifier == SYSTEM_IDENTIFIER
    assert found.cluster().segment_size == MIB
    monkeypatch.chdir(data.path)
    assert find_wal_directory(f"pg_wal/{FIRST}") == found


def test_a_pg_control_that_has_changed_is_read_again(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    found = find_wal_directory(str(data.wal / FIRST))
    assert found is not None
    control = data.path / "global/pg_control"
    content = control.read_bytes()
    assert found.cluster().system_identifier == SYSTEM_IDENTIFIER
    control.write_bytes(bytes(len(content)))
    with pytest.raises(DataCorrupt):
        found.cluster()
    control.write_bytes(content)
    assert found.cluster().system_identifier == SYSTEM_IDENTIFIER
    control.unlink()
    with pytest.raises(WalpyError, match="cannot read"):
        found.cluster()


def test_whether_a_server_runs(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    found = find_wal_directory(str(data.wal / FIRST))
    assert found is not None
    assert not found.is_served
    data.serve()
    assert found.is_served


def test_a_linked_wal_directory(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    data.wal.rename(tmp_path / "elsewhere")
    data.wal.symlink_to(tmp_path / "elsewhere")
    through_link = find_wal_directory(str(data.wal / FIRST))
    assert through_link is not None
    assert through_link.path == str(data.wal)
    assert find_wal_directory(str(tmp_path / "elsewhere" / FIRST)) is None
    by_pgdata = find_wal_directory(str(tmp_path / "elsewhere" / FIRST), str(data.path))
    assert by_pgdata is not None
    assert by_pgdata.data_directory == str(data.path)


def test_other_directories_are_none(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    (tmp_path / "pg_wal").mkdir()
    assert find_wal_directory(str(tmp_path / "pg_wal" / FIRST)) is None
    assert find_wal_directory(str(tmp_path / FIRST), str(data.path)) is None
    assert find_wal_directory(str(tmp_path / FIRST), str(tmp_path / "absent")) is None


def test_where_state_is_kept(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    state = str(data.wal / "walg_data")
    nothing, pgdata = Config.from_mapping({}), Config.from_mapping({"PGDATA": str(data.path)})
    assert state_directory(str(data.wal / FIRST), nothing) == state
    assert state_directory(str(tmp_path / FIRST), pgdata) == state
    assert state_directory(str(tmp_path / FIRST), nothing) is None
