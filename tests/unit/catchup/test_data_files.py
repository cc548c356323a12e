"""What of a standby a catchup removes, and what it leaves alone."""

from pathlib import Path

import pytest

from walpy.backup.model import Tablespace
from walpy.catchup.data_files import data_files, is_standbys_own, remove_others
from walpy.catchup.tablespaces import make_links, new_tablespaces
from walpy.errors import BackupError

FILES = (
    "PG_VERSION",
    "pg_ident.conf",
    "base/5/1259",
    "base/5/1259.1",
    "base/5/pg_internal.init",
    "base/16400/1259",
    "base/16400/pg_internal.init",
    "base/pgsql_tmp/pgsql_tmp1.1",
    "global/pg_control",
    "global/pg_control.catchup.0000000000000028.receive",
    "global/1262",
    "pg_wal/000000010000000000000001",
    "pg_xact/0000",
    "own/file",
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("15\n")
    for oid, version in (("1", "PG_15_202209061"), ("2", "PG_15_202209061"), ("3", "PG_14_202107181")):
        path = tmp_path / f"space{oid}" / version / "5" / "777"
        path.parent.mkdir(parents=True)
        path.touch()
        (tmp_path / "data" / "pg_tblspc").mkdir(exist_ok=True)
        (tmp_path / "data" / "pg_tblspc" / oid).symlink_to(tmp_path / f"space{oid}")
    return tmp_path / "data"


def present(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_what_the_server_has_no_more_goes(directory: Path) -> None:
    folders = {"base/5", "pg_tblspc/1/PG_15_202209061", "pg_tblspc/1/PG_15_202209061/5"}
    kept = {"base/5/1259", "global/1262", "pg_xact/0000", "pg_tblspc/1/PG_15_202209061/5/777", *folders}
    listed = {file.name for file in data_files(str(directory))}
    assert kept < listed
    assert not {"base/pgsql_tmp", "base/5/pg_internal.init", "global/pg_control", "own/file"} & listed
    before = present(directory)
    remove_others(str(directory), kept)
    gone = {"base/5/1259.1", "base/16400/1259", "base/16400/pg_internal.init"}
    assert before - present(directory) == gone
    assert not (directory / "base" / "16400").exists()
    assert (directory / "pg_tblspc" / "1").resolve().joinpath("PG_15_202209061", "5", "777").exists()
    assert not (directory / "pg_tblspc" / "2").is_symlink()  # dropped
    assert (directory / "pg_tblspc" / "3").is_symlink()  # another version's


@pytest.mark.parametrize(
    ("name", "is_own"),
    [
        ("PG_VERSION", False),
        ("base/5/1259", False),
        ("own/file", False),
        ("pg_ident.conf", True),
        ("postgresql.conf", True),
        ("conf.d/postgresql.auto.conf", True),
    ],
)
def test_what_is_the_standbys_own(name: str, is_own: bool) -> None:
    assert is_standbys_own(name) == is_own


def test_new_tablespaces_need_a_free_place(directory: Path, tmp_path: Path) -> None:
    known = Tablespace("1", "/elsewhere", "pg_tblspc/1")
    new = Tablespace("9", str(tmp_path / "new"), "pg_tblspc/9")
    assert new_tablespaces(str(directory), [known, new]) == [new]
    make_links(str(directory), [new])
    assert (directory / "pg_tblspc" / "9").readlink() == tmp_path / "new"
    taken = Tablespace("8", str(tmp_path / "space1"), "pg_tblspc/8")
    with pytest.raises(BackupError, match=r"the new tablespace 8 belongs into .* which is not empty"):
        new_tablespaces(str(directory), [taken])
