"""backup-fetch --resume, in this process: what an interrupted restore finished is kept, when it is as it was left."""

import os
import shutil
from pathlib import Path

import pytest

from tests.fixtures.stored_backup import CONTROL, DIRECTORIES, FILES, StoredBackup, tar
from tests.fixtures.stored_chain import StoredChain, increment, pages
from tests.unit.backup.test_fetch import CONTROL_FILE, fetched, spec_file, with_tablespace
from walpy.backup import journal, records
from walpy.backup.fetch import FetchOptions
from walpy.errors import BackupError, DataCorrupt, WalpyError

RESUME = FetchOptions(resume=True)
CHANGED, WHOLE = "/base/1/16384", "/base/1/2000"


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def backup(tmp_path: Path, destination: Path) -> StoredBackup:
    """A backup of three parts, whose restore failed in the third, which is sound now; the others are no more."""
    (tmp_path / "archive").mkdir()
    backup = StoredBackup(tmp_path / "archive")
    backup.parts["part_002"] = tar({"/base/1/2": b"two" * 9000, "/base/1/3": b"three"})
    backup.parts["part_003"] = b"not a tar" * 100
    interrupt(backup, destination)
    backup.parts = {"part_003": tar({"/base/1/4": b"four"})}
    backup.store()
    for name in ("part_001", "part_002"):
        backup.object(name).write_bytes(b"damaged")
    return backup


def interrupt(backup: StoredBackup, destination: Path) -> None:
    with pytest.raises(DataCorrupt):
        fetched(backup.store(), destination, name=backup.name, WALG_DOWNLOAD_CONCURRENCY="1")
    assert journal.exists(str(destination))
    assert not (destination / CONTROL_FILE).exists()


def check_whole(destination: Path) -> None:
    for name, data in {**FILES, "/base/1/2": b"two" * 9000, "/base/1/4": b"four"}.items():
        assert (destination / name.strip("/")).read_bytes() == data
    assert (destination / CONTROL_FILE).read_bytes() == CONTROL
    assert not (destination / journal.FOLDER).exists()


def test_finished_parts_are_kept_and_not_read(
    backup: StoredBackup, destination: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    order = os.listdir(destination / journal.FOLDER / backup.name)
    assert order
    restore_objects(backup, keep_damaged=order)
    summary = fetched(backup, destination, RESUME)
    check_whole(destination)
    assert summary.files == len(FILES) + 3 + 3
    for name in order:
        assert f"All of {name} is there already" in caplog.messages


def restore_objects(backup: StoredBackup, keep_damaged: list[str]) -> None:
    """Make the objects sound again that the first try did not finish: workers take the largest parts first."""
    sound = {"part_001": tar(FILES, DIRECTORIES), "part_002": tar({"/base/1/2": b"two" * 9000, "/base/1/3": b"three"})}
    backup.parts.update({name: data for name, data in sound.items() if f"{name}.tar.lz4" not in keep_damaged})
    backup.store()


def all_sound(backup: StoredBackup) -> StoredBackup:
    restore_objects(backup, keep_damaged=[])
    return backup


@pytest.mark.parametrize("change", ["append", "overwrite", "remove", "link"])
def test_a_file_that_is_not_as_it_was_left_is_done_again(
    change: str, backup: StoredBackup, destination: Path, tmp_path: Path
) -> None:
    path = destination / "base/1/1259"
    data = path.read_bytes()
    if change == "append":
        path.write_bytes(data + b"x")
    elif change == "overwrite":
        path.write_bytes(b"x" + data[1:])
    else:
        path.unlink()
    if change == "link":
        path.symlink_to(tmp_path / "nowhere")
        with pytest.raises(BackupError, match="cannot write"):
            fetched(all_sound(backup), destination, RESUME)
        path.unlink()
    fetched(all_sound(backup), destination, RESUME)
    check_whole(destination)


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, None, b'{"a": 1}\n'])
def test_a_record_that_was_cut_counts_for_nothing(
    content: bytes | None, backup: StoredBackup, destination: Path
) -> None:
    for record in (destination / journal.FOLDER / backup.name).iterdir():
        whole = record.read_bytes()
        record.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1] if content is None else content)
        assert records.read_record(str(record)) is None
    fetched(all_sound(backup), destination, RESUME)
    check_whole(destination)


def test_without_resume_a_hint_leads_to_it(backup: StoredBackup, destination: Path) -> None:
    with pytest.raises(BackupError, match="must be empty") as raised:
        fetched(all_sound(backup), destination)
    assert "--resume" in raised.value.hint
    assert journal.exists(str(destination))


def test_resume_without_a_journal_is_a_restore(backup: StoredBackup, destination: Path) -> None:
    shutil.rmtree(destination)
    fetched(all_sound(backup), destination, RESUME)
    check_whole(destination)
    with pytest.raises(BackupError, match="must be empty"):
        fetched(backup, destination, RESUME)


def test_a_restore_that_was_killed_before_it_had_a_header(backup: StoredBackup, destination: Path) -> None:
    shutil.rmtree(destination)
    (destination / journal.FOLDER).mkdir(parents=True)
    (destination / journal.FOLDER / "header.new").touch()
    fetched(all_sound(backup), destination, RESUME)
    check_whole(destination)


def test_another_backup_is_refused(backup: StoredBackup, destination: Path) -> None:
    backup.sentinel = backup.sentinel._replace(lsn=99)
    with pytest.raises(BackupError, match=f"unfinished restore of {backup.name}, not of"):
        fetched(all_sound(backup), destination, RESUME)


def test_other_options_are_refused(backup: StoredBackup, destination: Path) -> None:
    with pytest.raises(BackupError, match=r"other options: --mask was '', and is 'base/\*'"):
        fetched(all_sound(backup), destination, FetchOptions(mask="base/*", resume=True))


def test_a_damaged_header_is_told(backup: StoredBackup, destination: Path) -> None:
    (destination / journal.FOLDER / "header").write_text("{")
    with pytest.raises(DataCorrupt, match="journal of the unfinished restore is damaged"):
        fetched(all_sound(backup), destination, RESUME)
    (destination / journal.FOLDER / "header").write_text('{"version": 9}')
    with pytest.raises(DataCorrupt, match="not of this version"):
        fetched(all_sound(backup), destination, RESUME)


def test_a_second_restore_has_to_wait(backup: StoredBackup, destination: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_LOCK_SECONDS", 0.0)
    descriptor = os.open(destination / journal.FOLDER / "lock", os.O_RDWR)
    assert journal._lock(descriptor, journal.fcntl.LOCK_SH)
    with pytest.raises(BackupError, match="another backup-fetch restores into"):
        fetched(all_sound(backup), destination, RESUME)
    os.close(descriptor)
    fetched(all_sound(backup), destination, RESUME)
    check_whole(destination)


def journal_that_stays(monkeypatch: pytest.MonkeyPatch, destination: Path, backup: StoredBackup) -> None:
    """Restore, and end as if killed between the last two steps."""
    shutil.rmtree(destination)
    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "remove", lambda self: None)
        fetched(all_sound(backup), destination)
    assert (destination / CONTROL_FILE).exists()


def test_a_restore_that_was_killed_at_its_very_end(
    backup: StoredBackup, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal_that_stays(monkeypatch, destination, backup)
    backup.object("part_001").write_bytes(b"damaged")
    assert fetched(backup, destination, RESUME).files == 0
    check_whole(destination)


def test_a_directory_that_a_server_was_started_from_is_left_alone(
    backup: StoredBackup, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal_that_stays(monkeypatch, destination, backup)
    (destination / CONTROL_FILE).write_bytes(b"in production".ljust(8192))
    with pytest.raises(BackupError, match="a server was started from it"):
        fetched(backup, destination, RESUME)
    assert (destination / CONTROL_FILE).exists()


def test_tablespaces_and_links_are_there_already(
    tmp_path: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "archive").mkdir()
    backup = with_tablespace(StoredBackup(tmp_path / "archive"), tmp_path / "old")
    backup.parts["part_003"] = tar(links={"/conf": "/etc/conf"})
    options = FetchOptions(restore_spec=spec_file(tmp_path, t16384=tmp_path / "ts"))
    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "note_control_file", failing)
        with pytest.raises(WalpyError, match="interrupted"):
            fetched(backup.store(), destination, options)
    assert os.readlink(destination / "conf") == "/etc/conf"
    with pytest.raises(BackupError, match="other options"):
        fetched(backup, destination, RESUME)
    fetched(backup, destination, FetchOptions(restore_spec=options.restore_spec, resume=True))
    assert (tmp_path / "ts/PG_15/1/2").read_bytes() == b"row"
    assert (destination / CONTROL_FILE).exists()


def failing(*_: object) -> None:
    raise WalpyError("interrupted")


# ---- chains


@pytest.fixture
def chain(tmp_path: Path, destination: Path) -> StoredChain:
    """A full backup and two deltas; the restore failed in the last one, which is sound now."""
    (tmp_path / "archive").mkdir()
    chain = StoredChain(tmp_path / "archive")
    chain.add({CHANGED: pages("abc"), WHOLE: pages("x")})
    chain.add({}, {CHANGED: increment(4, {1: "B", 3: "D"})}, [WHOLE])
    newest = chain.add({}, {CHANGED: increment(3, {0: "A"})}, [WHOLE])
    sound = newest.parts
    newest.parts = {"part_001": sound["part_001"][:-2000]}
    chain.store()
    interrupt(newest, destination)
    newest.parts = sound
    chain.store()
    return chain


def resume_chain(chain: StoredChain, destination: Path) -> None:
    fetched(chain.newest, destination, RESUME, chain.newest.name)
    assert (destination / CHANGED[1:]).read_bytes() == pages("ABc")
    assert (destination / WHOLE[1:]).read_bytes() == pages("x")
    assert (destination / CONTROL_FILE).read_bytes() == bytes([2]) * 8192
    assert not (destination / journal.FOLDER).exists()


def damage(chain: StoredChain, *numbers: int) -> None:
    for number in numbers:
        chain.members[number].object("part_001").write_bytes(b"damaged")


def test_finished_members_of_a_chain_are_not_read(chain: StoredChain, destination: Path) -> None:
    damage(chain, 0, 1)
    resume_chain(chain, destination)


def test_an_increment_that_was_applied_in_part_is_applied_again(chain: StoredChain, destination: Path) -> None:
    damage(chain, 0, 1)
    (destination / CHANGED[1:]).write_bytes(pages("ABcDE"))
    resume_chain(chain, destination)


def test_what_no_later_backup_changed_is_compared(chain: StoredChain, destination: Path) -> None:
    (destination / WHOLE[1:]).write_bytes(pages("y"))
    resume_chain(chain, destination)


def test_after_a_boot_what_later_backups_changed_is_done_again(
    chain: StoredChain, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_boot", lambda: "another")
    (destination / CHANGED[1:]).write_bytes(pages("lost"))
    resume_chain(chain, destination)


def test_after_a_boot_what_a_resumed_restore_has_done_again_is_kept(
    chain: StoredChain, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_boot", lambda: "another")
    damage(chain, 2)
    with pytest.raises(DataCorrupt):
        fetched(chain.newest, destination, RESUME, chain.newest.name)
    chain.store()
    damage(chain, 0, 1)
    resume_chain(chain, destination)


def test_a_changed_file_that_is_gone_ends_it(chain: StoredChain, destination: Path) -> None:
    (destination / CHANGED[1:]).unlink()
    with pytest.raises(BackupError, match="'base/1/16384' is not as the unfinished restore left it"):
        resume_chain(chain, destination)


def test_a_lost_record_below_changes_ends_it(chain: StoredChain, destination: Path) -> None:
    (destination / journal.FOLDER / chain.members[0].name / "part_001.tar.lz4").unlink()
    with pytest.raises(BackupError, match=r"journal has lost part part_001\.tar\.lz4"):
        resume_chain(chain, destination)


def test_the_size_of_an_applied_increment_is_compared(chain: StoredChain, destination: Path) -> None:
    (destination / journal.FOLDER / chain.newest.name).rmdir()  # killed between the two deltas
    (destination / CHANGED[1:]).write_bytes(pages("aBc"))
    with pytest.raises(BackupError, match="is not as the unfinished restore left it"):
        resume_chain(chain, destination)
