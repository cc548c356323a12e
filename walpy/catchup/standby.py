"""A stopped standby while a catchup is applied: what it is, whether the catchup fits, what says that it is half-way.

Before the first change pg_control is renamed, so that no server starts; the new name says what is being applied, and is
where the next try learns about the standby. A new pg_control is put in place when all else is there and durable.

Positions. What was written to pages before the redo location of the last checkpoint is on disk; what came later may be
or not, so changes must be had from there on. (WAL-G takes the checkpoint's own location, which is later: changes
between the two can be lost.) Of a base backup that was never recovered the same is true from the start in its
backup_label.
"""

import fcntl
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from walpy.backup.durability import sync_file
from walpy.errors import BackupError, DataCorrupt, UsageError
from walpy.postgres.control import CONTROL_FILE, ControlFile, read_control
from walpy.postgres.lsn import Lsn, format_lsn, parse_lsn
from walpy.wal.local import SERVER_FILE

LABEL_FILE: Final = "backup_label"
UNFINISHED_CONTROL_FILE: Final = f"{CONTROL_FILE}.unfinished"
RECEIVED: Final = "receive"  # what a catchup is made from that came over the network

_SAVED: Final = re.compile(r"pg_control\.catchup\.(?P<lsn>[0-9A-F]{16})\.(?P<source>.+)")
_STOPPED: Final = ("shut down", "shut down in recovery", "in archive recovery")
_LABEL_START: Final = re.compile(r"^START WAL LOCATION: ([0-9A-F]+/[0-9A-F]+) ", re.MULTILINE)

logger = logging.getLogger(__name__)


class Standby(NamedTuple):
    """What the files of a stopped standby tell.

    position: every change before it is on disk. reached: no change behind it is. unfinished: what a catchup that did
    not end was made from: the name of a backup, or RECEIVED; empty where there was none.
    """

    directory: str
    control: ControlFile
    position: Lsn
    reached: Lsn
    timeline: int
    unfinished: str


class Source(NamedTuple):
    """What a catchup tells of where it comes from: the server, and its positions. since: of its changes."""

    system_identifier: int
    timeline: int
    since: Lsn
    start: Lsn
    finish: Lsn


@contextmanager
def standby_lock(directory: str) -> Iterator[None]:
    """Let no second catchup of a directory begin. Raises BackupError when one runs, UsageError for no directory."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(
            f"cannot open the data directory {directory!r}: {error.strerror}", "Name the standby's data directory."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BackupError(f"another catchup of {directory!r} is running") from None
    finally:
        os.close(descriptor)


def read_standby(directory: str) -> Standby:
    """Look at a standby. Raises BackupError when its server may run, or it is none that could be brought forward."""
    _check_stopped(directory)
    saved = _saved(directory)
    if saved and not os.path.lexists(os.path.join(directory, CONTROL_FILE)):
        name, match = saved
        control = _read_control(os.path.join(directory, name))
        return _standby(directory, control, Lsn(int(match["lsn"], 16)), match["source"])
    control = _read_control(os.path.join(directory, CONTROL_FILE))
    start = _label_start(directory)
    if start is None and control.state not in _STOPPED:
        raise BackupError(
            f"the server of {directory!r} was not stopped as a standby: its state is {control.state!r}",
            "Start it as a standby, and stop it again.",
        )
    position = control.redo_lsn if start is None else min(start, control.redo_lsn)
    return _standby(directory, control, Lsn(position), "")


def _standby(directory: str, control: ControlFile, position: Lsn, unfinished: str) -> Standby:
    return Standby(
        directory,
        control,
        position,
        Lsn(max(control.checkpoint_lsn, control.min_recovery_lsn)),
        max(control.timeline, control.min_recovery_timeline),
        unfinished,
    )


def check_fits(standby: Standby, source: Source, *, has_increments: bool = True) -> None:
    """Raise BackupError, with what differs, when changes from a source cannot be applied to a standby.

    has_increments: whether the standby's own pages are needed.
    """
    directory, identifier = standby.directory, standby.control.system_identifier
    if source.system_identifier != identifier:
        raise BackupError(
            f"{directory!r} belongs to the cluster with system identifier {identifier}, the changes are those of "
            f"{source.system_identifier}",
            "Is this the right standby, and the right server or backup?",
        )
    if source.timeline != standby.timeline:
        raise BackupError(
            f"the standby is on timeline {standby.timeline}, the changes are those of timeline {source.timeline}",
            "What the standby wrote may be in no history of the server; restore it from a backup.",
        )
    if has_increments and standby.position < source.since:
        raise BackupError(
            f"the standby is at {format_lsn(standby.position)}, the changes are those since {format_lsn(source.since)}",
            f"What changed in between would be lost: collect the changes with --from-lsn "
            f"{format_lsn(standby.position)}.",
        )
    if standby.reached > source.finish or standby.position >= source.start:
        raise BackupError(
            f"the standby has reached {format_lsn(standby.reached)}, the changes are those up to "
            f"{format_lsn(source.finish)}",
            "They would take it back; it needs newer ones, or none.",
        )


def begin(standby: Standby, source: str) -> None:
    """Make sure, durably, that no server starts from the standby until finish(). source: see Standby.unfinished.

    Raises BackupError when a catchup of another kind did not end: its files may be newer, or damaged.
    """
    if standby.unfinished == source:
        logger.info("Going on with the catchup that did not end")
        return
    if standby.unfinished:
        command = "catchup-receive" if standby.unfinished == RECEIVED else f"catchup-fetch of {standby.unfinished}"
        raise BackupError(
            f"a {command} into {standby.directory!r} did not end, and another catchup cannot take its place",
            "Run it again, or restore the standby from a backup.",
        )
    _remove_saved(standby.directory)  # a finished one was killed in its last moment
    path = os.path.join(standby.directory, CONTROL_FILE)
    saved = f"{path}.catchup.{standby.position:016X}.{source}"
    os.rename(path, saved)
    sync_file(saved)


def finish(standby: Standby) -> None:
    """Put the new pg_control, which waits as UNFINISHED_CONTROL_FILE, in place, durably: from here a server starts.

    Raises BackupError when it is of another cluster, DataCorrupt.
    """
    path = os.path.join(standby.directory, UNFINISHED_CONTROL_FILE)
    control = _read_control(path)
    if control.system_identifier != standby.control.system_identifier:
        raise BackupError(f"the new pg_control is of the cluster with system identifier {control.system_identifier}")
    sync_file(path)
    final = os.path.join(standby.directory, CONTROL_FILE)
    os.rename(path, final)
    sync_file(final)
    _remove_saved(standby.directory)


@contextmanager
def applying(standby: Standby, again: str) -> Iterator[None]:
    """While changes are applied: a failure says what it leaves behind. again: the command to run again."""
    try:
        yield
    except BaseException:
        if not os.path.lexists(os.path.join(standby.directory, CONTROL_FILE)):
            logger.warning(
                "%s is left half-way, without pg_control, so that no server starts from it; run %s again: it goes on",
                *(standby.directory, again),
            )
        raise


def _check_stopped(directory: str) -> None:
    path = os.path.join(directory, SERVER_FILE)
    if os.path.lexists(path):
        raise BackupError(
            f"a server runs in {directory!r}, or was killed: {SERVER_FILE} exists",
            "Stop the standby; remove the file only when no server uses the directory, on any host.",
        )


def _read_control(path: str) -> ControlFile:
    try:
        return read_control(path)
    except OSError as error:
        raise BackupError(
            f"cannot read {path!r}: {error.strerror}", "Name the data directory of a standby that was started once."
        ) from error


def _saved(directory: str) -> "tuple[str, re.Match[str]] | None":
    folder = os.path.dirname(CONTROL_FILE)
    try:
        names = os.listdir(os.path.join(directory, folder))
    except OSError as error:
        raise BackupError(f"cannot list {error.filename!r}: {error.strerror}") from error
    return next(((f"{folder}/{name}", match) for name in names if (match := _SAVED.fullmatch(name))), None)


def _remove_saved(directory: str) -> None:
    while saved := _saved(directory):
        os.unlink(os.path.join(directory, saved[0]))


def _label_start(directory: str) -> Lsn | None:
    path = os.path.join(directory, LABEL_FILE)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return label_start(file.read())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BackupError(f"cannot read {path!r}: {error.strerror}") from error


def label_start(text: str) -> Lsn:
    """Where a backup started, from its backup_label. Raises DataCorrupt."""
    match = _LABEL_START.search(text)
    if match is None:
        raise DataCorrupt("a backup_label without START WAL LOCATION")
    return parse_lsn(match[1])
