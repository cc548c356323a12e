"""Waiting for WAL: which segments, until when."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from walpy.archive import Archive, open_archive
from walpy.backup.wait import (
    WalWait,
    archives_wal,
    missing_segments,
    required_segments,
    wait_for_segments,
    wait_timeout,
)
from walpy.config import Config
from walpy.errors import BackupError, ConfigError
from walpy.postgres.server import ServerFacts

MIB = 1 << 20
NAMES = ["000000010000000000000002", "000000010000000000000003"]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(tmp_path)}))


class Clock:
    """Time that passes while somebody sleeps; now and then something happens meanwhile."""

    def __init__(self, events: dict[int, Callable[[], object]] | None = None) -> None:
        self.now = 0.0
        self.sleeps = 0
        self._events = events or {}

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps += 1
        if self.sleeps in self._events:
            self._events[self.sleeps]()


@pytest.mark.parametrize(
    ("start", "stop", "names"),
    [
        (0x1600028, 0x1600100, ["000000020000000000000016"]),
        (0x1600028, 0x1700000, ["000000020000000000000016"]),  # the record ends with the segment
        (0x1600028, 0x1700001, ["000000020000000000000016", "000000020000000000000017"]),
        (0x1600000, 0x1600100, ["000000020000000000000016"]),
        (0xFFF00028, 0x100000100, ["000000020000000000000FFF", "000000020000000100000000"]),
    ],
)
def test_segments_of_a_backup(start: int, stop: int, names: list[str]) -> None:
    assert required_segments(2, start, stop, MIB) == names


def test_a_backup_that_stops_before_it_starts() -> None:
    with pytest.raises(BackupError, match="stops at 0/10"):
        required_segments(1, 0x20, 0x10, MIB)


def test_segments_of_any_codec_are_found(archive: Archive, tmp_path: Path) -> None:
    archive.put_wal(NAMES[0], [b"x"])
    assert missing_segments(archive, NAMES) == [NAMES[1]]
    (tmp_path / "wal_005" / f"{NAMES[1]}.br").write_bytes(b"x")
    assert missing_segments(archive, NAMES) == []


def test_files_named_after_a_segment_do_not_count(archive: Archive, tmp_path: Path) -> None:
    archive.put_wal(f"{NAMES[0]}.00000028.backup", [b"x"])
    archive.put_wal(f"{NAMES[0]}.partial", [b"x"])
    assert missing_segments(archive, NAMES[:1]) == NAMES[:1]


def test_no_wait_when_all_is_there(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    archive.put_wal(NAMES[0], [b"x"])
    with caplog.at_level(logging.INFO):
        wait_for_segments(archive, NAMES[:1], 10, sleep=lambda seconds: pytest.fail("slept"))
    assert not caplog.messages


def test_waits_until_the_last_one_comes(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock({3: lambda: archive.put_wal(NAMES[1], [b"x"]), 5: lambda: archive.put_wal(NAMES[0], [b"x"])})
    with caplog.at_level(logging.INFO):
        wait_for_segments(archive, NAMES, 60, clock=clock, sleep=clock.sleep)
    assert clock.sleeps == 5
    assert caplog.messages == [f"Waiting for WAL to be archived: 2 segments from {NAMES[0]} to {NAMES[1]}"]


def test_gives_up_when_nothing_comes(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with caplog.at_level(logging.INFO), pytest.raises(BackupError, match=f"for 600 s; the backup needs {NAMES[0]}$"):
        wait_for_segments(archive, NAMES[:1], 600, clock=clock, sleep=clock.sleep)
    assert 600 <= clock.now < 610
    assert 8 <= len(caplog.messages) <= 11


def test_progress_begins_the_time_anew(archive: Archive) -> None:
    clock = Clock({20: lambda: archive.put_wal(NAMES[0], [b"x"])})
    with pytest.raises(BackupError, match=f"needs {NAMES[1]}"):
        wait_for_segments(archive, NAMES, 100, clock=clock, sleep=clock.sleep)
    assert clock.now >= 160


@pytest.mark.parametrize(("text", "seconds"), [("", 3600), ("0", 0), ("90s", 90), ("2h", 7200)])
def test_timeout_setting(text: str, seconds: float) -> None:
    assert wait_timeout(Config.from_mapping({"WALPY_WAL_WAIT_TIMEOUT": text})) == seconds


@pytest.mark.parametrize("text", ["-1s", "soon"])
def test_wrong_timeout_setting(text: str) -> None:
    with pytest.raises(ConfigError, match="WALPY_WAL_WAIT_TIMEOUT"):
        wait_timeout(Config.from_mapping({"WALPY_WAL_WAIT_TIMEOUT": text}))


def facts(
    *, in_recovery: bool = False, mode: str = "on", command: str = "walpy wal-push %p", library: str = ""
) -> ServerFacts:
    return ServerFacts(
        version_num=150004,
        data_directory="/data",
        system_identifier=1,
        timeline=1,
        segment_size=MIB,
        page_size=8192,
        wal_page_size=8192,
        in_recovery=in_recovery,
        archive_mode=mode,
        archive_command=command,
        archive_library=library,
        data_checksums=True,
    )


@pytest.mark.parametrize(
    ("server", "archives"),
    [
        (facts(), True),
        (facts(mode="always"), True),
        (facts(mode="off"), False),
        (facts(command=""), False),
        (facts(command="(disabled)"), False),
        (facts(command="", library="basic_archive"), True),
        (facts(in_recovery=True), False),
        (facts(in_recovery=True, mode="always"), True),
    ],
)
def test_who_archives(server: ServerFacts, archives: bool) -> None:
    assert archives_wal(server) is archives


@pytest.mark.parametrize(
    ("server", "timeout", "stop_timeout", "left"),
    [
        (facts(), 3600, 0, False),
        (facts(), 3600, 30, True),
        (facts(), 0, 0, True),
        (facts(mode="off"), 0, 0, False),
        (facts(command=""), 0, 30, False),
        (facts(in_recovery=True), 0, 0, False),
    ],
)
def test_who_waits(archive: Archive, server: ServerFacts, timeout: float, stop_timeout: float, left: bool) -> None:
    assert WalWait(archive, server, timeout).is_left_to_server(stop_timeout) is left


START, STOP = 2 * MIB + 40, 4 * MIB + 40  # three segments
SEGMENTS = [*NAMES, "000000010000000000000004"]


def test_a_primary_waits_for_everything(archive: Archive) -> None:
    archive.put_wal(SEGMENTS[0], [b"x"])
    archive.put_wal(SEGMENTS[1], [b"x"])
    with pytest.raises(BackupError, match=f"needs {SEGMENTS[2]}"):
        WalWait(archive, facts(), 0.001).wait(1, START, STOP)
    archive.put_wal(SEGMENTS[2], [b"x"])
    assert WalWait(archive, facts(), 0.001).wait(1, START, STOP) == SEGMENTS


def test_a_standby_waits_for_what_the_primary_archives(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for name in SEGMENTS[:-1]:
        archive.put_wal(name, [b"x"])
    with pytest.raises(BackupError, match=f"needs {SEGMENTS[2]}") as raised:
        WalWait(archive, facts(in_recovery=True), 0.001).wait(1, START, STOP)
    assert "SELECT pg_switch_wal()" in raised.value.hint
    assert f"archived: {SEGMENTS[2]} (by the primary" in caplog.text
    archive.put_wal(SEGMENTS[2], [b"x"])
    assert WalWait(archive, facts(in_recovery=True), 0.001).wait(1, START, STOP) == SEGMENTS


def test_without_archiving_there_is_a_warning_and_no_wait(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    for server in (facts(mode="off"), facts(in_recovery=True, mode="off")):
        caplog.clear()
        assert WalWait(archive, server, 3600).wait(1, START, STOP) == SEGMENTS
        assert f"does not hold 3 segments from {SEGMENTS[0]} to {SEGMENTS[2]}" in caplog.text


def test_wal_from_elsewhere_needs_no_warning(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    for name in SEGMENTS:
        archive.put_wal(name, [b"x"])
    WalWait(archive, facts(mode="off"), 3600).wait(1, START, STOP)
    assert not caplog.messages


def test_without_a_timeout_nobody_looks(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    assert WalWait(archive, facts(), 0).wait(1, START, STOP) == SEGMENTS
    assert "WALPY_WAL_WAIT_TIMEOUT is 0" in caplog.text
