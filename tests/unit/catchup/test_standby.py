"""A stopped standby: what may be brought forward, by what, and what says that it is half-way."""

import shutil
from pathlib import Path

import pytest

from tests.unit.postgres.test_control import stored
from walpy.catchup.standby import (
    RECEIVED,
    UNFINISHED_CONTROL_FILE,
    Source,
    Standby,
    begin,
    check_fits,
    finish,
    label_start,
    read_standby,
    standby_lock,
)
from walpy.errors import BackupError, DataCorrupt, UsageError
from walpy.postgres.control import parse_control
from walpy.postgres.lsn import Lsn

CONTROL = parse_control(stored(14), "pg_control")  # a standby's
NAME = "base_000000010000000000000042"
LABEL = "START WAL LOCATION: 0/{:X} (file 000000010000000000000001)\nCHECKPOINT LOCATION: 0/2000060\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "global").mkdir()
    (tmp_path / "global" / "pg_control").write_bytes(stored(14))
    return tmp_path


def names(directory: Path) -> set[str]:
    return {path.name for path in (directory / "global").iterdir()}


def source(standby: Standby, **changes: int) -> Source:
    fitting = Source(
        standby.control.system_identifier,
        standby.timeline,
        standby.position,
        Lsn(standby.reached + 100),
        Lsn(standby.reached + 200),
    )
    return fitting._replace(**changes)  # type: ignore[arg-type]


def test_positions_are_those_of_the_redo_location(directory: Path) -> None:
    standby = read_standby(str(directory))
    assert standby.position == CONTROL.redo_lsn
    assert standby.reached == max(CONTROL.checkpoint_lsn, CONTROL.min_recovery_lsn)
    assert CONTROL.min_recovery_lsn > CONTROL.redo_lsn
    assert (standby.timeline, standby.unfinished) == (1, "")


def test_a_base_backup_that_was_never_started_is_where_its_label_says(directory: Path) -> None:
    (directory / "global" / "pg_control").write_bytes(stored(15))
    with pytest.raises(BackupError, match="its state is 'in production'"):
        read_standby(str(directory))
    (directory / "backup_label").write_text(LABEL.format(0x28))
    assert read_standby(str(directory)).position == 0x28
    (directory / "backup_label").write_text(LABEL.format(0xFF000028))
    assert read_standby(str(directory)).position == parse_control(stored(15), "").redo_lsn
    with pytest.raises(DataCorrupt, match="without START WAL LOCATION"):
        label_start("nothing")


def test_a_server_that_may_run_is_let_alone(directory: Path) -> None:
    (directory / "postmaster.pid").write_text("1\n")
    with pytest.raises(BackupError, match="a server runs"):
        read_standby(str(directory))


def test_what_is_no_data_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot open the data directory"), standby_lock(str(tmp_path / "none")):
        pass
    with pytest.raises(BackupError, match="cannot list"):
        read_standby(str(tmp_path))
    (tmp_path / "global").mkdir()
    with pytest.raises(BackupError, match="cannot read"):
        read_standby(str(tmp_path))


def test_one_catchup_at_a_time(directory: Path) -> None:
    with (
        standby_lock(str(directory)),
        pytest.raises(BackupError, match="another catchup"),
        standby_lock(str(directory)),
    ):
        pass


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"system_identifier": 5}, "the changes are those of 5"),
        ({"timeline": 2}, "the standby is on timeline 1, the changes are those of timeline 2"),
        ({"since": CONTROL.redo_lsn + 1}, "the changes are those since"),
        ({"finish": CONTROL.redo_lsn}, "the standby has reached"),
        ({"start": CONTROL.redo_lsn}, "the standby has reached"),
    ],
)
def test_what_does_not_fit(changes: dict[str, int], message: str, directory: Path) -> None:
    standby = read_standby(str(directory))
    check_fits(standby, source(standby))
    with pytest.raises(BackupError, match=message):
        check_fits(standby, source(standby, **changes))


def test_whole_files_fit_wherever_the_standby_is(directory: Path) -> None:
    standby = read_standby(str(directory))
    check_fits(standby, source(standby, since=standby.position + 1), has_increments=False)


def test_a_catchup_from_begin_to_end(directory: Path) -> None:
    (directory / "backup_label").write_text(LABEL.format(0x28))
    before = read_standby(str(directory))
    begin(before, NAME)
    assert names(directory) == {f"pg_control.catchup.0000000000000028.{NAME}"}
    (directory / "backup_label").write_text(LABEL.format(0xFF000028))  # the catchup's own
    after = read_standby(str(directory))
    assert after == before._replace(unfinished=NAME)
    begin(after, NAME)
    for other in ("base_000000010000000000000043", RECEIVED):
        with pytest.raises(BackupError, match=f"a catchup-fetch of {NAME} into .* did not end"):
            begin(after, other)
    (directory / UNFINISHED_CONTROL_FILE).write_bytes(stored(14))
    finish(after)
    assert names(directory) == {"pg_control"}


def test_a_catchup_killed_in_its_last_moment(directory: Path) -> None:
    begin(read_standby(str(directory)), RECEIVED)
    (directory / "global" / "pg_control").write_bytes(stored(14))
    standby = read_standby(str(directory))
    assert standby.unfinished == ""
    begin(standby, NAME)
    assert names(directory) == {f"pg_control.catchup.{standby.position:016X}.{NAME}"}


def test_a_foreign_pg_control_is_not_put_in_place(directory: Path) -> None:
    standby = read_standby(str(directory))
    begin(standby, NAME)
    (directory / UNFINISHED_CONTROL_FILE).write_bytes(stored(15))
    with pytest.raises(BackupError, match="is of the cluster with system identifier"):
        finish(standby)
    assert "pg_control" not in names(directory)
    shutil.rmtree(directory / "global")
