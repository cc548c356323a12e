"""All files of a backup through worker processes."""

import json
from pathlib import Path

import pytest

from walpy.archive import open_archive
from walpy.backup.packing import pack_files, packers
from walpy.backup.partition import PartitionResult
from walpy.backup.push_settings import PushOptions, PushSettings, check_settings
from walpy.backup.rate_limits import RateLimits
from walpy.backup.source_files import Pages
from walpy.config import Config
from walpy.errors import BackupError, StorageError
from walpy.postgres.entry import Entry

BACKUP = "base_000000010000000000000002"
MIB = 1 << 20


class Counted:
    """Progress that can be looked at."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.count = 0
        self.finished = 0

    def start(self, total: int | None, label: str) -> None:
        self.total = total

    def advance(self, count: int) -> None:
        self.count += count

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def entries(tmp_path: Path) -> tuple[Entry, ...]:
    folder = tmp_path / "data"
    folder.mkdir()
    found = []
    for number in range(12):
        path = folder / str(number)
        path.write_bytes(bytes([number]) * (number * 100_000))
        status = path.stat()
        found.append(Entry(f"/{number}", str(path), status.st_mode, status.st_size, 0, status.st_uid, status.st_gid))
    return tuple(found)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "archive").mkdir()
    return Config.from_mapping(
        {
            "WALG_FILE_PREFIX": str(tmp_path / "archive"),
            "WALG_TAR_SIZE_THRESHOLD": "500000",
            "WALG_UPLOAD_DISK_CONCURRENCY": "2",
            "WALG_DISK_RATE_LIMIT": str(100 * MIB),
            "WALG_NETWORK_RATE_LIMIT": str(100 * MIB),
        }
    )


def settings(config: Config) -> PushSettings:
    return check_settings(config, PushOptions())


def test_every_file_is_stored_once(config: Config, entries: tuple[Entry, ...]) -> None:
    progress, told = Counted(), list[PartitionResult]()
    limits = RateLimits.from_config(config)
    sent = list(entries)
    packed = pack_files(
        packers(config, limits),
        BACKUP,
        [sent],
        settings(config),
        pages=Pages(8192),
        kept_blocks=10,
        progress=progress,
        on_result=told.append,
        heartbeat=lambda: None,
    )
    assert [result.tar_name for result in packed] == [f"part_{number:03d}.tar" for number in range(1, len(packed) + 1)]
    names = [name for result in packed for name in json.loads(result.listing.names)]
    assert names == [entry.name for entry in entries]
    assert sorted(result.tar_name for result in told) == [result.tar_name for result in packed]
    assert sum(result.size for result in packed) == sum(entry.size for entry in entries)
    assert progress.total == progress.count == sum(entry.size for entry in entries)
    assert progress.finished == 1
    stored = {item.name: item.size for item in open_archive(config).storage.list("")}
    assert stored == {result.object_name: result.stored_size for result in packed}
    assert limits.disk is not None
    assert limits.network is not None
    assert limits.disk.value > 0, "the workers spent from the command's budget"
    assert limits.network.value > 0


def test_no_limits_need_no_shared_state() -> None:
    assert RateLimits.from_config(Config()) == RateLimits(None, None)


def test_the_first_error_of_a_worker_is_raised(config: Config, entries: tuple[Entry, ...], tmp_path: Path) -> None:
    (tmp_path / "archive").rmdir()
    progress = Counted()
    with pytest.raises(StorageError):
        pack_files(
            packers(config, RateLimits(None, None)),
            BACKUP,
            [list(entries)],
            settings(config),
            pages=Pages(8192),
            kept_blocks=10,
            progress=progress,
            on_result=lambda result: None,
            heartbeat=lambda: None,
        )
    assert progress.finished == 1


def test_a_missing_pulse_ends_it(config: Config, entries: tuple[Entry, ...]) -> None:
    def no_pulse() -> None:
        raise BackupError("the server is gone")

    with pytest.raises(BackupError, match="the server is gone"):
        pack_files(
            packers(config, RateLimits(None, None)),
            BACKUP,
            [list(entries)],
            settings(config),
            pages=Pages(8192),
            kept_blocks=10,
            progress=Counted(),
            on_result=lambda result: None,
            heartbeat=no_pulse,
        )
