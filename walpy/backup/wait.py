"""Waits until the archive holds the WAL that a backup needs: without it no restore reaches a consistent state."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from walpy.errors import BackupError
from walpy.postgres.lsn import format_lsn
from walpy.wal.segment import segment_before_lsn, segment_name, segment_of_lsn

if TYPE_CHECKING:
    from walpy.archive import Archive
    from walpy.config import Config
    from walpy.postgres.server import ServerFacts

TIMEOUT_KEY = "WALPY_WAL_WAIT_TIMEOUT"
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 5.0  # seconds between two looks
REMINDER = 60.0  # seconds between two log lines
BY_PRIMARY = " (by the primary, when it is full or after SELECT pg_switch_wal() there)"
FAILS = "See the server's log for why archive_command fails."
SWITCH = "The primary archives a segment when it is full: run SELECT pg_switch_wal() or set archive_timeout there."

logger = logging.getLogger(__name__)


def wait_timeout(config: "Config") -> float:
    """Seconds to wait without progress; 0: do not wait. Raises ConfigError."""
    seconds = config.seconds(TIMEOUT_KEY)
    if seconds < 0:
        raise config.invalid(TIMEOUT_KEY, "must not be negative")
    return seconds


def archives_wal(facts: "ServerFacts") -> bool:
    """Whether the server archives WAL by itself: a standby does with archive_mode=always alone."""
    modes = ("always",) if facts.in_recovery else ("on", "always")
    has_way = facts.archive_command not in ("", "(disabled)") or bool(facts.archive_library)
    return facts.archive_mode in modes and has_way


class WalWait:
    """Decides who waits for which WAL.

    A server that archives to this archive has the time-out for everything up to the stop position; walpy looks into
    the archive itself, where the server's own wait only knows that archive_command succeeded. For a standby with
    archive_mode=on the primary archives, the last segment only when it is full or switched: walpy says so and waits as
    well, because a backup without that segment cannot be restored. A server with archiving off gets a warning, as with
    WAL-G: its WAL may be kept by other means.
    """

    def __init__(self, archive: "Archive", facts: "ServerFacts", timeout: float) -> None:
        """timeout: seconds without progress; 0: do not look into the archive at all."""
        self._archive = archive
        self._facts = facts
        self._timeout = timeout
        self._archives = archives_wal(facts)

    def is_left_to_server(self, stop_timeout: float) -> bool:
        """Whether the server should wait before it stops the backup; stop_timeout: seconds it has been given, or 0.

        Never when it has no way to archive: it would wait for ever.
        """
        return self._archives and (stop_timeout > 0 or self._timeout == 0)

    def wait(self, timeline: int, start_lsn: int, stop_lsn: int) -> list[str]:
        """Wait for the WAL of a stopped backup; names of all its segments. Raises BackupError after the time-out."""
        names = required_segments(timeline, start_lsn, stop_lsn, self._facts.segment_size)
        if self._timeout == 0:
            logger.warning("%s is 0: nobody looks whether the archive holds %s", TIMEOUT_KEY, _named(names))
            return names
        if self._is_archived():
            wait_for_segments(self._archive, names, self._timeout, from_primary=self._facts.in_recovery)
        elif missing := missing_segments(self._archive, names):
            logger.warning(
                "The archive does not hold %s: the backup can be restored only with WAL from elsewhere", _named(missing)
            )
        return names

    def _is_archived(self) -> bool:
        return self._archives or (self._facts.in_recovery and self._facts.archive_mode == "on")


def required_segments(timeline: int, start_lsn: int, stop_lsn: int, segment_size: int) -> list[str]:
    """Names of the segments that recovery of a backup reads: from the one of the start to that of the stop position.

    The stop position is the end of a record, so that its segment is the one of the byte before it.
    Source: PostgreSQL, src/backend/access/transam/xlog.c, do_pg_backup_stop.
    """
    if stop_lsn <= start_lsn:
        raise BackupError(f"backup stops at {format_lsn(stop_lsn)}, not after its start at {format_lsn(start_lsn)}")
    numbers = range(segment_of_lsn(start_lsn, segment_size), segment_before_lsn(stop_lsn, segment_size) + 1)
    return [segment_name(timeline, number, segment_size) for number in numbers]


def missing_segments(archive: "Archive", names: Sequence[str]) -> list[str]:
    """Those of the segments that the archive does not hold, in order; one request for many where it can list."""
    missing: list[str] = []
    for _, log in groupby(names, key=lambda name: name[:16]):  # so that what is listed has a long common prefix
        candidates = {name: archive.wal_candidates(name) for name in log}
        asked = [candidate for group in candidates.values() for candidate in group]
        found = {item.name for item in archive.storage.stat_many(asked)}
        missing += [name for name, group in candidates.items() if found.isdisjoint(group)]
    return missing


def wait_for_segments(
    archive: "Archive",
    names: Sequence[str],
    timeout: float,
    *,
    from_primary: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Return when the archive holds all segments. Raises BackupError after timeout seconds without a further one.

    from_primary: the primary of the server archives them.
    """
    pauses = _pauses()
    missing = missing_segments(archive, names)
    progress = reminded = clock()
    if missing:
        logger.info("Waiting for WAL to be archived: %s%s", _named(missing), BY_PRIMARY if from_primary else "")
    while missing:
        if clock() - progress >= timeout:
            raise BackupError(
                f"no further WAL segment was archived for {timeout:g} s; the backup needs {_named(missing)}",
                f"{SWITCH if from_primary else FAILS} If WAL is archived elsewhere, set {TIMEOUT_KEY}=0: "
                "the backup is then restorable with that WAL only.",
            )
        sleep(min(next(pauses), timeout))
        still_missing = missing_segments(archive, missing)
        if len(still_missing) < len(missing):
            progress, pauses = clock(), _pauses()
        missing = still_missing
        if missing and clock() - reminded >= REMINDER:
            reminded = clock()
            logger.info("Still waiting for WAL to be archived: %s", _named(missing))


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 2, LONGEST_PAUSE)


def _named(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} segments from {names[0]} to {names[-1]}"
