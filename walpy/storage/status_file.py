"""The files in which WAL-G and walpy keep what they know of storages: one for reading, one for writing.

JSON, name#digest → status; under a lock, and merged: the newer status of a key wins, keys of others stay. A file that
is damaged, or cannot be read or written, is as good as none: it never fails a command.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from walpy.storage.aliveness import Status

NAMES = {"ro": ".walg_storage_ro_status_cache", "rw": ".walg_storage_rw_status_cache"}
_MODE = 0o644
_LARGEST = 1 << 20  # bytes; a larger file is not ours

logger = logging.getLogger(__name__)


def status_path(check: str) -> str:
    """Where the statuses of a kind of check, `ro` or `rw`, are kept: in the home directory, else in /tmp, as WAL-G."""
    home = os.path.expanduser("~")
    return os.path.join(home if os.path.isdir(home) else "/tmp", NAMES[check])


def read_statuses(path: str) -> dict[str, Status]:
    """What a file tells; nothing when it cannot."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            return _parse(file.read(_LARGEST))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logger.warning("the cache of storage statuses %s cannot be used: %s", path, error)
        return {}


def merge_statuses(path: str, statuses: Mapping[str, Status]) -> None:
    """Add statuses to a file, or only warn that it cannot be done."""
    try:
        with _locked(path) as descriptor:
            found = _content(path, descriptor)
            _write(descriptor, {**found, **dict(_newer(statuses, found))})
    except OSError as error:
        logger.warning("the cache of storage statuses %s cannot be written: %s", path, error.strerror or error)


@contextmanager
def _locked(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _content(path: str, descriptor: int) -> "dict[str, object]":
    """Entries as they are, also those of others; none of a damaged file, which is replaced.

    A key without # goes: WAL-G crashes on it.
    """
    try:
        document = json.loads(os.pread(descriptor, _LARGEST, 0) or b"{}")
        if isinstance(document, dict):
            return {key: entry for key, entry in document.items() if "#" in key}
    except ValueError:
        pass
    logger.warning("the cache of storage statuses %s is damaged, and begun anew", path)
    return {}


def _newer(statuses: Mapping[str, Status], found: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for key, status in statuses.items():
        known = _status(found.get(key))
        if known is None or known.updated_ns <= status.updated_ns:
            yield key, _document(status)


def _write(descriptor: int, document: object) -> None:
    data = json.dumps(document, separators=(",", ":")).encode()
    os.pwrite(descriptor, data, 0)  # a cut-off write leaves a damaged file: as good as none
    os.ftruncate(descriptor, len(data))


def _parse(data: bytes) -> dict[str, Status]:
    document = json.loads(data or b"{}")
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    found = ((str(key), _status(entry)) for key, entry in document.items())
    return {key: status for key, status in found if status is not None}


def _status(entry: object) -> Status | None:
    """An entry of the file; None for one that makes no sense."""
    try:
        return Status(
            float(entry["potential_aliveness"]),  # type: ignore[index]
            float(entry["actual_aliveness"]),  # type: ignore[index]
            entry["previous_aliveness"] is True,  # type: ignore[index]
            _nanoseconds(str(entry["updated"])),  # type: ignore[index]
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _document(status: Status) -> dict[str, object]:
    seconds, fraction = divmod(status.updated_ns, 10**9)
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return {
        "potential_aliveness": status.potential,
        "actual_aliveness": status.actual,
        "previous_aliveness": status.was_alive,
        "updated": f"{moment}.{fraction:09d}Z",
    }


def _nanoseconds(text: str) -> int:
    """A time in RFC 3339, as Go writes it: up to nine decimals. Raises ValueError."""
    head, dot, rest = text.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    zone = rest[digits:] if dot else ""
    moment = datetime.fromisoformat(head + zone)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return int(moment.timestamp()) * 10**9 + int((rest[:digits] if dot else "").ljust(9, "0")[:9])
