"""backup-fetch as a whole, in this process, on small backups that are odd on purpose."""

import json
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fixtures.stored_backup import CONTROL, DIRECTORIES, FILES, NAME, StoredBackup, tar
from walpy.backup import fetch, restore_target
from walpy.backup.catalog import BackupSelector
from walpy.backup.entry import FileEntry
from walpy.backup.fetch import FetchOptions, FetchSummary, backup_fetch
from walpy.backup.files_metadata import FilesMetadata
from walpy.backup.model import Spec, Tablespace
from walpy.backup.timestamp import ZERO_TIME
from walpy.config import Config
from walpy.errors import BackupError, ConfigError, DataCorrupt, Interrupted, UsageError
from walpy.postgres.database import Database, Table
from walpy.progress import SilentProgress

CONTROL_FILE = "global/pg_control"
NO_OPTIONS = FetchOptions()


@pytest.fixture
def backup(tmp_path: Path) -> StoredBackup:
    (tmp_path / "archive").mkdir()
    return StoredBackup(tmp_path / "archive")


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "data"


def fetched(
    backup: StoredBackup, destination: Path, options: FetchOptions = NO_OPTIONS, name: str = NAME, **settings: str
) -> FetchSummary:
    values = {key: setting.value for key, setting in backup.config.settings.items()}
    config = Config.from_mapping({**values, **settings})
    return backup_fetch(config, str(destination), BackupSelector(name), options, SilentProgress())


def with_tablespace(backup: StoredBackup, place: Path) -> StoredBackup:
    """The backup with one file in a tablespace at place."""
    backup.parts["part_002"] = tar({"/pg_tblspc/16384/PG_15/1/2": b"row"}, {"/pg_tblspc/16384/PG_15": 0o700})
    backup.sentinel = backup.sentinel._replace(
        spec=Spec("/old/data", (Tablespace("16384", str(place), "pg_tblspc/16384"),))
    )
    return backup


def spec_file(folder: Path, **places: Path | str) -> str:
    """A --restore-spec file: spec_file(tmp_path, t16384=place)."""
    tablespaces = {name[1:]: {"loc": str(place), "link": f"pg_tblspc/{name[1:]}"} for name, place in places.items()}
    path = folder / "spec.json"
    path.write_text(json.dumps({"base_prefix": "/data", "tablespaces": list(tablespaces), **tablespaces}))
    return str(path)


def test_everything_is_restored(backup: StoredBackup, destination: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    summary = fetched(backup.store(), destination)
    for name, data in FILES.items():
        assert (destination / name.strip("/")).read_bytes() == data
    for name, mode in DIRECTORIES.items():
        assert stat.S_IMODE((destination / name.strip("/")).stat().st_mode) == mode
    assert (destination / CONTROL_FILE).read_bytes() == CONTROL
    assert (destination / "backup_label").read_bytes() == b"label"
    assert (destination / "tablespace_map").exists()
    assert (summary.backup, summary.destination, summary.files) == (NAME, str(destination), len(FILES) + 3)
    assert summary.size == sum(map(len, FILES.values())) + len(CONTROL) + len(b"label")
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("walpy.backup")]
    assert messages.pop() == summary.limited_by
    assert summary.limited_by.startswith("Limited by ")
    assert messages.pop().startswith(f"Restored {NAME}: ")
    assert messages == [
        f"Selecting the backup with name {NAME}...",
        "Backup to fetch will be searched in storages: [default]",
        "Finished extraction of part_001.tar.lz4",
        "Finished extraction of backup_label.tar.lz4",
        "Finished extraction of pg_control.tar.lz4",
        "Backup extraction complete.",
    ]


def test_an_empty_destination_is_used_and_closed_to_others(backup: StoredBackup, destination: Path) -> None:
    destination.mkdir(mode=0o755)
    backup.parts["part_001"] = tar(FILES, {"/base": 0o700})  # no entry for the root, as in remote backups
    backup.files = FilesMetadata({name: FileEntry(ZERO_TIME) for name in FILES})
    fetched(backup.store(), destination)
    assert stat.S_IMODE(destination.stat().st_mode) == 0o700
    assert (destination / "pg_wal").is_dir()


def test_several_parts_go_through_worker_processes(backup: StoredBackup, destination: Path) -> None:
    for number in range(2, 8):
        backup.parts[f"part_{number:03}"] = tar({f"/base/1/{number}": b"x" * number})
    fetched(backup.store(), destination)
    assert [(destination / f"base/1/{number}").stat().st_size for number in range(2, 8)] == list(range(2, 8))


def test_workers_share_the_network_limit(backup: StoredBackup, destination: Path) -> None:
    """2 x 600 kB at 500 kB/s, of which a second's worth and 64 KiB may come at once, take over a second."""
    backup.method = "none"
    for number in (2, 3):
        backup.parts[f"part_{number:03}"] = tar({f"/base/1/{number}": b"x" * 600_000})
    summary = fetched(backup.store(), destination, WALG_NETWORK_RATE_LIMIT="500000")
    assert summary.seconds > 1.0


def test_an_error_in_a_worker_is_raised(backup: StoredBackup, destination: Path) -> None:
    backup.parts["part_002"] = b"not a tar" * 100
    with pytest.raises(DataCorrupt, match=r"part_002\.tar\.lz4"):
        fetched(backup.store(), destination)


# ---- selection


def test_an_unknown_name_in_wal_g_s_words(backup: StoredBackup, destination: Path) -> None:
    with pytest.raises(BackupError, match=r"^Failed to select backup: Backup 'base_X' does not exist\.$"):
        fetched(backup.store(), destination, name="base_X")


def test_an_empty_archive_in_wal_g_s_words(backup: StoredBackup, destination: Path) -> None:
    with pytest.raises(BackupError, match=r"^Failed to select backup: No backups found$"):
        fetched(backup, destination, name="LATEST")


# ---- where to


def test_a_used_destination_is_refused_in_wal_g_s_words(
    backup: StoredBackup, destination: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    destination.mkdir()
    (destination / "x").write_text("mine")
    with pytest.raises(BackupError) as raised:
        fetched(backup.store(), destination)
    assert str(raised.value) == f"Failed to fetch backup: Directory {destination} for delta base must be empty"
    assert f"found file '{destination}/x' in directory: '{destination}'" in caplog.messages
    assert [path.name for path in destination.iterdir()] == ["x"]


def test_a_file_as_destination_is_refused(backup: StoredBackup, destination: Path) -> None:
    destination.write_text("")
    with pytest.raises(BackupError, match="Not a directory"):
        fetched(backup.store(), destination)


@pytest.mark.parametrize("inside", ["archive/data", "archive", "archive/../archive/x/y"])
def test_the_archive_is_no_destination(inside: str, backup: StoredBackup, tmp_path: Path) -> None:
    with pytest.raises((UsageError, BackupError), match=r"inside|must be empty"):
        fetched(backup.store(), tmp_path / inside)


def test_a_full_disk_is_noticed_first(backup: StoredBackup, destination: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backup.sentinel = backup.sentinel._replace(uncompressed_size=10, data_catalog_size=2**62)
    with pytest.raises(BackupError, match=f"not enough room: the backup needs {2**62} bytes"):
        fetched(backup.store(), destination)
    assert not destination.exists()
    monkeypatch.setattr(restore_target, "_file_system_types", lambda: {"/": "zfs"})
    backup.sentinel = backup.sentinel._replace(uncompressed_size=2**62, data_catalog_size=0)
    fetched(backup.store(), destination)


# ---- tablespaces


def test_a_tablespace_goes_to_its_old_place(backup: StoredBackup, destination: Path, tmp_path: Path) -> None:
    place = tmp_path / "ts/old"
    fetched(with_tablespace(backup, place).store(), destination)
    assert (place / "PG_15/1/2").read_bytes() == b"row"
    assert os.readlink(destination / "pg_tblspc/16384") == str(place)
    assert (destination / "tablespace_map").exists()


def test_a_used_tablespace_is_never_written_to(backup: StoredBackup, destination: Path, tmp_path: Path) -> None:
    (tmp_path / "old/PG_15_202209061").mkdir(parents=True)
    with pytest.raises(BackupError, match=r"old for delta base must be empty"):
        fetched(with_tablespace(backup, tmp_path / "old").store(), destination)
    assert not destination.exists()


def test_a_restore_spec_moves_a_tablespace(backup: StoredBackup, destination: Path, tmp_path: Path) -> None:
    options = FetchOptions(restore_spec=spec_file(tmp_path, t16384=tmp_path / "new"))
    fetched(with_tablespace(backup, tmp_path / "old").store(), destination, options)
    assert (tmp_path / "new/PG_15/1/2").read_bytes() == b"row"
    assert not (tmp_path / "old").exists()
    assert not (destination / "tablespace_map").exists()  # the server would follow it to the old place


def test_a_restore_spec_must_place_every_tablespace(backup: StoredBackup, destination: Path, tmp_path: Path) -> None:
    options = FetchOptions(restore_spec=spec_file(tmp_path))
    with pytest.raises(UsageError, match="no place for tablespace 16384"):
        fetched(with_tablespace(backup, tmp_path / "old").store(), destination, options)


def test_a_restore_spec_for_a_backup_without_tablespaces(
    backup: StoredBackup, destination: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fetched(backup.store(), destination, FetchOptions(restore_spec=spec_file(tmp_path, t16384=tmp_path / "new")))
    assert not (tmp_path / "new").exists()
    assert "no tablespace 16384" in caplog.text


@pytest.mark.parametrize("text", [None, "", "{", "{}", '{"base_prefix":"/","tablespaces":["1"]}'])
def test_a_bad_restore_spec_in_wal_g_s_words(
    text: str | None, backup: StoredBackup, destination: Path, tmp_path: Path
) -> None:
    path = tmp_path / "spec.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=f"^Invalid restore specification path {path}"):
        fetched(backup.store(), destination, FetchOptions(restore_spec=str(path)))


@pytest.mark.parametrize("place", ["relative/ts", "data/ts", "data", "archive/ts", "."])
def test_places_must_be_apart(place: str, backup: StoredBackup, destination: Path, tmp_path: Path) -> None:
    location = place if place.startswith("relative") else tmp_path / place
    options = FetchOptions(restore_spec=spec_file(tmp_path, t16384=location))
    with pytest.raises(UsageError, match=r"inside|not absolute"):
        fetched(with_tablespace(backup, tmp_path / "old").store(), destination, options)


# ---- completeness


def test_a_file_that_did_not_arrive_is_named(backup: StoredBackup, destination: Path) -> None:
    files = {**backup.list_of_files().files, "/base/1/lost": FileEntry(ZERO_TIME)}
    backup.files = FilesMetadata(files)
    with pytest.raises(BackupError, match="incomplete, 1 files are missing: base/1/lost") as raised:
        fetched(backup.store(), destination)
    assert f"left in {destination}, without pg_control" in raised.value.hint
    assert not (destination / CONTROL_FILE).exists()
    assert (destination / "PG_VERSION").exists()


def test_a_lost_part_is_noticed_before_anything_is_written(backup: StoredBackup, destination: Path) -> None:
    listed = backup.list_of_files()
    backup.files = replace(listed, tar_file_sets={**listed.tar_file_sets, "part_002.tar.lz4": ("/base/1/1259",)})
    with pytest.raises(BackupError, match=r"has lost part_002\.tar\.lz4"):
        fetched(backup.store(), destination)
    assert not destination.exists()


def test_a_part_that_only_vanished_files_were_planned_for_may_be_absent(
    backup: StoredBackup, destination: Path
) -> None:
    listed = backup.list_of_files()
    backup.files = replace(listed, tar_file_sets={**listed.tar_file_sets, "part_002.tar.lz4": ("/gone",)})
    fetched(backup.store(), destination)


def test_without_a_list_of_files_sizes_must_add_up(backup: StoredBackup, destination: Path) -> None:
    size = sum(map(len, FILES.values())) + len(CONTROL) + len(b"label")
    backup.files = FilesMetadata()
    backup.sentinel = backup.sentinel._replace(
        files_metadata_disabled=True, uncompressed_size=size, data_catalog_size=size
    )
    fetched(backup.store(), destination)
    backup.sentinel = backup.sentinel._replace(uncompressed_size=size + 1)
    with pytest.raises(BackupError, match=r"1 of .* bytes are missing"):
        fetched(backup.store(), destination.with_name("data2"))


def test_without_a_list_of_files_there_must_be_a_cluster(backup: StoredBackup, destination: Path) -> None:
    backup.files = FilesMetadata()
    backup.parts["part_001"] = tar({"/global/pg_filenode.map": b""})
    with pytest.raises(BackupError, match="PG_VERSION"):
        fetched(backup.store(), destination)


def test_a_file_in_two_parts_is_refused(backup: StoredBackup, destination: Path) -> None:
    backup.parts["part_002"] = tar({"/base/1/1259": b"other"})
    with pytest.raises(BackupError, match="two parts of the backup hold the file 'base/1/1259'"):
        fetched(backup.store(), destination)


def test_a_stale_backup_label_loses_against_the_real_one(backup: StoredBackup, destination: Path) -> None:
    backup.parts["part_001"] = tar({**FILES, "/backup_label": b"stale"}, DIRECTORIES)
    fetched(backup.store(), destination)
    assert (destination / "backup_label").read_bytes() == b"label"


@pytest.mark.parametrize("control", [None, tar({"/global/other": b""})])
def test_a_backup_without_pg_control_is_refused(control: bytes | None, backup: StoredBackup, destination: Path) -> None:
    backup.control = control
    with pytest.raises(BackupError, match=r"no pg_control tar|no 'global/pg_control'"):
        fetched(backup.store(), destination)
    assert not (destination / CONTROL_FILE).exists()


def test_a_backup_without_data_is_refused(backup: StoredBackup, destination: Path) -> None:
    backup.parts.clear()
    with pytest.raises(BackupError, match="has no data"):
        fetched(backup.store(), destination)


@pytest.mark.parametrize("renamed", [False, True])
def test_parts_with_a_dot_at_their_end(renamed: bool, backup: StoredBackup, destination: Path) -> None:
    """WAL-G 3.0.8 stored them so with the codec none, and found no pg_control until somebody renamed the objects."""
    backup.method = "none"
    written = backup.list_of_files()
    backup.files = replace(written, tar_file_sets={f"{name}.": names for name, names in written.tar_file_sets.items()})
    backup.store()
    if not renamed:
        for part in ("part_001", "pg_control", "backup_label"):
            backup.object(part).rename(f"{backup.object(part)}.")
    fetched(backup, destination)
    assert (destination / CONTROL_FILE).read_bytes() == CONTROL
    assert (destination / "backup_label").read_bytes() == b"label"


def test_an_unknown_extension_is_refused_before_anything_is_written(backup: StoredBackup, destination: Path) -> None:
    backup.store().object("part_001").with_suffix(".rar").write_bytes(b"")
    with pytest.raises((ConfigError, DataCorrupt), match="rar"):
        fetched(backup, destination)
    assert not destination.exists()


def test_pg_control_comes_after_everything_else_is_durable(
    backup: StoredBackup, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = []
    real_sync = fetch.FileSystems.sync

    def sync(self: fetch.FileSystems) -> None:
        events.append(("all", (destination / CONTROL_FILE).exists(), (destination / "base/1/1259").exists()))
        real_sync(self)

    monkeypatch.setattr(fetch.FileSystems, "sync", sync)
    monkeypatch.setattr(
        fetch,
        "sync_file",
        lambda path: events.append((path, os.path.exists(path), (destination / CONTROL_FILE).exists())),
    )
    fetched(backup.store(), destination)
    path = str(destination / CONTROL_FILE)
    assert events == [("all", False, True), (f"{path}.unfinished", True, False), (path, True, True)]


def test_flushing_can_be_switched_off(backup: StoredBackup, destination: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch.FileSystems, "sync", lambda self: pytest.fail("flushed"))
    fetched(backup.store(), destination, WALG_TAR_DISABLE_FSYNC="true")


def test_a_disk_that_lost_something_fails_the_restore(
    backup: StoredBackup, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync(self: fetch.FileSystems) -> None:
        raise BackupError("cannot make the restored files durable")

    monkeypatch.setattr(fetch.FileSystems, "sync", sync)
    with pytest.raises(BackupError, match="durable"):
        fetched(backup.store(), destination)
    assert not (destination / CONTROL_FILE).exists()


def test_an_interruption_leaves_no_pg_control(
    backup: StoredBackup, destination: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def sync_file(path: str) -> None:
        raise Interrupted("interrupted by SIGTERM")

    monkeypatch.setattr(fetch, "sync_file", sync_file)
    with pytest.raises(Interrupted):
        fetched(backup.store(), destination)
    assert (destination / "PG_VERSION").exists()
    assert not (destination / CONTROL_FILE).exists()
    assert "without pg_control" in caplog.text


# ---- kinds of backups


def test_a_remote_backup(backup: StoredBackup, destination: Path) -> None:
    """Names without slash, pg_control among the data too, no end markers, no root entry, last padding cut."""
    control = tar({"global/pg_control": CONTROL}, end=b"")
    names = {name.strip("/"): data for name, data in FILES.items()}
    data = tar(
        {"backup_label": b"label", **names, "global/pg_control": CONTROL, "./last": b"12"}, {"base/": 0o700}, end=b""
    )
    backup.parts, backup.control, backup.label = {"part_001": data[:-500]}, control, None
    backup.files = FilesMetadata(
        {name: FileEntry(ZERO_TIME) for name in (*names, "backup_label", CONTROL_FILE, "last")}
    )
    fetched(backup.store(), destination)
    assert (destination / "last").read_bytes() == b"12"
    assert (destination / CONTROL_FILE).read_bytes() == CONTROL


def test_a_wale_backup_has_pg_control_among_the_data(backup: StoredBackup, destination: Path) -> None:
    backup.name = "base_000000010000000000000002_00000040"
    backup.control = backup.label = None
    backup.parts["part_001"] = tar({**FILES, "/global/pg_control": CONTROL}, DIRECTORIES)
    backup.files = FilesMetadata()
    fetched(backup.store(), destination, name=backup.name)
    assert (destination / CONTROL_FILE).read_bytes() == CONTROL
    assert not (destination / f"{CONTROL_FILE}.unfinished").exists()


def test_a_wale_backup_without_pg_control(backup: StoredBackup, destination: Path) -> None:
    backup.name = "base_000000010000000000000002_00000040"
    backup.control, backup.files = None, FilesMetadata()
    with pytest.raises(BackupError, match="holds no 'global/pg_control'"):
        fetched(backup.store(), destination, name=backup.name)


def test_links(backup: StoredBackup, destination: Path, caplog: pytest.LogCaptureFixture) -> None:
    links = {"/postgresql.conf": "postgresql.conf", "/pg_hba.conf": "/etc/pg_hba.conf", "/pg_tblspc/1": "/x"}
    backup.parts["part_001"] = tar(FILES, DIRECTORIES, links)
    fetched(backup.store(), destination)
    assert os.readlink(destination / "pg_hba.conf") == "/etc/pg_hba.conf"
    assert not os.path.lexists(destination / "postgresql.conf")  # WAL-G lost its target
    assert "'postgresql.conf' was stored without its target" in caplog.text


# ---- flags


def test_a_mask_restores_what_fits(backup: StoredBackup, destination: Path) -> None:
    summary = fetched(backup.store(), destination, FetchOptions(mask="base/1/*"))
    found = {str(path.relative_to(destination)) for path in destination.rglob("*") if path.is_file()}
    assert found == {"base/1/1259", "base/1/empty"}
    assert (destination / "empty").is_dir()
    assert summary.next_steps == ()


def test_a_mask_can_name_pg_control(backup: StoredBackup, destination: Path) -> None:
    fetched(backup.store(), destination, FetchOptions(mask="global/pg_con*"))
    assert [path.name for path in destination.rglob("*") if path.is_file()] == ["pg_control"]


def test_without_a_list_of_files_the_mask_is_ignored(
    backup: StoredBackup, destination: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backup.files = FilesMetadata()
    fetched(backup.store(), destination, FetchOptions(mask="nothing"))
    assert (destination / "PG_VERSION").exists()
    assert "mask is ignored" in caplog.text


@pytest.mark.parametrize(("reverse", "parts_read"), [(True, 1), (False, 2)])
def test_redundant_tars_are_left_out_with_both_flags(
    reverse: bool, parts_read: int, backup: StoredBackup, destination: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    listed = backup.list_of_files()
    backup.parts["part_002"] = tar({"/base/1/2": b"x"})
    backup.files = FilesMetadata(
        {**listed.files, "/base/1/2": FileEntry(ZERO_TIME)},
        {**listed.tar_file_sets, "part_002.tar.lz4": ("/base/1/2",)},
    )
    options = FetchOptions(mask="base/1/2", reverse_unpack=reverse, skip_redundant_tars=True)
    assert fetched(backup.store(), destination, options).files == 1
    assert sum("Finished extraction of part_" in message for message in caplog.messages) == parts_read


def test_flags_for_chains_change_nothing_for_a_full_backup(backup: StoredBackup, destination: Path) -> None:
    fetched(backup.store(), destination, FetchOptions(reverse_unpack=True, skip_redundant_tars=True))
    assert (destination / CONTROL_FILE).exists()


def with_databases(backup: StoredBackup) -> StoredBackup:
    """The backup with two databases, of one table each, in a part of their own."""
    listed = backup.list_of_files()
    files = {f"/base/{oid}/{name}": b"x" for oid in (16400, 16500) for name in ("1259", "17000", "PG_VERSION")}
    backup.parts["part_002"] = tar({"/base/16400/17000": b"x"})
    backup.parts["part_003"] = tar({name: data for name, data in files.items() if name != "/base/16400/17000"})
    catalog, table = Table(1259, 1259), Table(17000, 17000)
    names = {"pg_catalog.pg_class": catalog, "public.t": table}
    backup.files = FilesMetadata(
        {**listed.files, **dict.fromkeys(files, FileEntry(ZERO_TIME))},
        {
            **listed.tar_file_sets,
            "part_002.tar.lz4": ("/base/16400/17000",),
            "part_003.tar.lz4": tuple(name for name in files if name != "/base/16400/17000"),
        },
        {"app": Database(16400, names), "other": Database(16500, names)},
    )
    return backup


def test_one_database_is_restored(backup: StoredBackup, destination: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    summary = fetched(with_databases(backup).store(), destination, FetchOptions(restore_only="other"))
    assert (destination / "base/16500/17000").exists()
    assert (destination / "base/16400/1259").exists()
    assert not (destination / "base/16400/17000").exists()
    assert (destination / CONTROL_FILE).exists()
    assert (destination / "backup_label").read_bytes() == b"label"
    assert "Finished extraction of part_002" not in caplog.text
    assert summary.next_steps
    assert summary.steps_when_running == ("psql -d postgres -c 'DROP DATABASE \"app\"'",)


def test_a_partial_restore_with_a_mask_is_both(backup: StoredBackup, destination: Path) -> None:
    options = FetchOptions(restore_only="other", mask="base/*/17000")
    summary = fetched(with_databases(backup).store(), destination, options)
    found = [path.name for path in destination.rglob("*") if path.is_file()]
    assert found == ["17000"]
    assert (destination / "base/16500/17000").exists()
    assert (summary.next_steps, summary.steps_when_running) == ((), ())


def test_a_partial_restore_of_a_backup_without_names(backup: StoredBackup, destination: Path) -> None:
    with pytest.raises(BackupError, match="has no names of databases"):
        fetched(backup.store(), destination, FetchOptions(restore_only="db/table"))
    assert not destination.exists()


def test_a_concurrency_of_zero_is_refused(backup: StoredBackup, destination: Path) -> None:
    with pytest.raises(ConfigError, match="WALG_DOWNLOAD_CONCURRENCY value is expected to be positive but is: 0"):
        fetched(backup.store(), destination, WALG_DOWNLOAD_CONCURRENCY="0")
    assert not destination.exists()


def test_a_destination_that_cannot_be_made(backup: StoredBackup, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BackupError, match="Not a directory") as raised:
        fetched(backup.store(), tmp_path / "file/data")
    assert "left in" not in raised.value.hint


class CountingProgress:
    """Adds up what it is told."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.events: list[object] = []
        self.count = 0

    def start(self, total: int | None, label: str) -> None:
        self.events.append((total, label))

    def advance(self, count: int) -> None:
        with self.lock:
            self.count += count

    def finish(self) -> None:
        self.events.append("finish")


def test_progress_is_told(backup: StoredBackup, destination: Path) -> None:
    progress = CountingProgress()
    backup.sentinel = backup.sentinel._replace(uncompressed_size=1000)
    backup_fetch(backup.store().config, str(destination), BackupSelector(NAME), FetchOptions(), progress)
    assert progress.events == [(1000, f"restoring {NAME}"), "finish"]
    assert progress.count == sum(map(len, FILES.values()))
