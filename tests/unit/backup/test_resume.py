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
    order = sorted(path.name for path in (destination / journal.FOLDER / backup.name).glob("part_*"))
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
    for record in (destination / journal.FOLDER / backup.name).glob("part_*"):
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
    """A full backup and two deltas; the restore failed in the full one, which comes last and is sound now."""
    (tmp_path / "archive").mkdir()
    chain = StoredChain(tmp_path / "archive")
    full = chain.add({CHANGED: pages("abc"), WHOLE: pages("x")})
    chain.add({}, {CHANGED: increment(4, {1: "B", 3: "D"})}, [WHOLE])
    newest = chain.add({}, {CHANGED: increment(3, {0: "A"})}, [WHOLE])
    sound = full.parts
    full.parts = {"part_001": sound["part_001"][:-2000]}
    chain.store()
    interrupt(newest, destination)
    full.parts = sound
    chain.store()
    return chain


@pytest.fixture
def finished(chain: StoredChain, destination: Path, monkeypatch: pytest.MonkeyPatch) -> StoredChain:
    """The same chain, whose restore failed just before pg_control came."""
    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "note_control_file", failing)
        with pytest.raises(WalpyError, match="interrupted"):
            fetched(chain.newest, destination, RESUME, chain.newest.name)
    assert (destination / CHANGED[1:]).read_bytes() == pages("ABc")
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


def kept(destination: Path, chain: StoredChain, number: int, ending: str = "") -> Path:
    """Where the journal has what one member's part brought."""
    return destination / journal.FOLDER / chain.members[number].name / f"part_001.tar.lz4{ending}"


def test_finished_members_of_a_chain_are_not_read(chain: StoredChain, destination: Path) -> None:
    damage(chain, 1, 2)
    resume_chain(chain, destination)


def test_a_finished_chain_is_not_read(finished: StoredChain, destination: Path) -> None:
    damage(finished, 0, 1, 2)
    resume_chain(finished, destination)


def test_what_came_in_part_comes_again(chain: StoredChain, destination: Path) -> None:
    """Pages of newer backups stay, those of the full one are written again."""
    damage(chain, 1, 2)
    (destination / CHANGED[1:]).write_bytes(pages("ABx"))
    resume_chain(chain, destination)


def test_a_delta_that_was_killed_in_the_middle_is_extracted_again(chain: StoredChain, destination: Path) -> None:
    """Nothing older had begun: that of the newest stays."""
    shutil.rmtree(destination / journal.FOLDER / chain.members[0].name)
    kept(destination, chain, 1).unlink()
    damage(chain, 2)
    (destination / CHANGED[1:]).write_bytes(pages("A??"))
    resume_chain(chain, destination)


def test_what_no_later_backup_changed_is_compared(finished: StoredChain, destination: Path) -> None:
    (destination / WHOLE[1:]).write_bytes(pages("y"))
    resume_chain(finished, destination)


@pytest.mark.parametrize("state", ["chain", "finished"])
def test_after_a_boot_what_several_backups_bring_is_done_again(
    state: str, request: pytest.FixtureRequest, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it: a machine that stopped may have lost any page."""
    chain = request.getfixturevalue(state)
    monkeypatch.setattr(journal, "this_boot", lambda: "another")
    (destination / CHANGED[1:]).write_bytes(pages("lost"))
    resume_chain(chain, destination)


@pytest.mark.parametrize("state", ["chain", "finished"])
def test_after_a_boot_what_a_resumed_restore_has_done_again_is_kept(
    state: str, request: pytest.FixtureRequest, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = request.getfixturevalue(state)
    monkeypatch.setattr(journal, "this_boot", lambda: "another")
    damage(chain, 0)
    with pytest.raises(DataCorrupt):
        fetched(chain.newest, destination, RESUME, chain.newest.name)
    chain.store()
    damage(chain, 1, 2)
    resume_chain(chain, destination)


def test_after_a_boot_lost_records_are_no_loss(
    finished: StoredChain, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "this_boot", lambda: "another")
    for number in (1, 2):
        kept(destination, finished, number).write_bytes(b"")
        kept(destination, finished, number, ".pages").write_bytes(b"")
    resume_chain(finished, destination)


@pytest.mark.parametrize("content", [None, pages("AB"), pages("ABcd")])
def test_a_changed_file_that_is_not_as_it_was_left_ends_it(
    content: bytes | None, chain: StoredChain, destination: Path
) -> None:
    path = destination / CHANGED[1:]
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(BackupError, match="'base/1/16384' is not as the unfinished restore left it"):
        resume_chain(chain, destination)


@pytest.mark.parametrize("number", [1, 2])
def test_a_lost_record_above_what_has_begun_ends_it(number: int, chain: StoredChain, destination: Path) -> None:
    """Extracted again, it would cut what older backups have brought since."""
    kept(destination, chain, number).unlink()
    with pytest.raises(BackupError, match=r"journal has lost part part_001\.tar\.lz4"):
        resume_chain(chain, destination)


@pytest.mark.parametrize("content", [None, b"", b"\0" * 100])
def test_lost_marks_of_pages_end_it(content: bytes | None, chain: StoredChain, destination: Path) -> None:
    path = kept(destination, chain, 1, ".pages")
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(BackupError, match=r"journal of the restore has lost '.*part_001\.tar\.lz4\.pages'"):
        resume_chain(chain, destination)
