"""What a restore has finished, noted in its destination, so that `backup-fetch --resume` need not do it again.

The journal is a folder in the destination: a header that tells the backups and the options of the restore, and for each
member of the chain a folder with one record for each part that was extracted: its files with their sizes and checksums
(records.py). A record is there as a whole or not at all, but nothing of it is flushed: whoever goes on reads
every file again and compares its checksum, so that neither a kill nor a power loss can make half a file count.

Files of which a newer backup of the chain has changes are not whole until the last backup is extracted, and have no
checksum that could be compared. They are trusted when the machine has not been booted since, because a kill loses
nothing that was written; else all that any backup brought of them is done again. Beside the record of a part lies which
pages it brought (newer_pages.py), which the older backups leave alone.

The folder goes when pg_control is in place. A lock, which every process of the restore shares, keeps a second one away.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from walpy.errors import BackupError, DataCorrupt

FOLDER: Final = ".walpy-restore"  # left out of backups, see postgres/exclusions.py
_HEADER: Final = "header"
_CONTROL: Final = "control"
_BEGUN: Final = "begun"
_VERSION: Final = 2
_LOCK: Final = "lock"
_LOCK_SECONDS: Final = 5.0  # the workers of a killed restore end at once; the kernel may take longer
_BOOT: Final = "/proc/sys/kernel/random/boot_id"
HINT: Final = "Empty the directory, or restore into a new one."

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a restore must have in common with the one that it continues.

    chain: names of the backups, the full one first, each with a checksum of its sentinel. options: what was chosen of
    them, and where tablespaces go.
    """

    chain: tuple[tuple[str, str], ...]
    options: tuple[tuple[str, str], ...]

    @property
    def backup(self) -> str:
        """The newest one."""
        return self.chain[-1][0]


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal of one restore, locked by this process until close()."""

    folder: str
    lock: int
    identity: Identity

    def close(self) -> None:
        """Give up the lock."""
        os.close(self.lock)

    def begin(self, backup: str) -> None:
        """Note that a member's parts are going to be extracted."""
        folder = records_folder(self.folder, backup)
        with _writing(self.folder):
            os.makedirs(folder, mode=0o700, exist_ok=True)
            with open(os.path.join(folder, _BEGUN), "w", encoding="utf-8") as file:
                file.write(this_boot())

    def has_begun(self, backup: str) -> bool:
        """Whether a restore has begun with a member since the machine was booted."""
        return _read(os.path.join(records_folder(self.folder, backup), _BEGUN)) == this_boot()

    def note_control_file(self, checksum: str) -> None:
        """Note that all is done but to put pg_control in place."""
        with _writing(self.folder):
            _write_header(self.folder, self.identity, checksum)

    def remove(self) -> None:
        """Remove it, the newest backup first and the header last: the restore is complete."""
        try:
            for backup, _ in reversed(self.identity.chain):
                if os.path.isdir(records_folder(self.folder, backup)):
                    shutil.rmtree(records_folder(self.folder, backup))
            for name in (_HEADER, _LOCK):
                os.unlink(os.path.join(self.folder, name))
            os.rmdir(self.folder)
        except OSError as error:
            logger.warning("%s could not be removed, which is harmless: %s", self.folder, error.strerror)


def exists(destination: str) -> bool:
    """Whether a restore into this directory was interrupted."""
    return os.path.isfile(os.path.join(destination, FOLDER, _HEADER))


def check_continues(destination: str, identity: Identity, control_file: str) -> bool:
    """Raise BackupError unless the journal in a directory is of this restore, and nothing has been started from it.

    control_file: the checksum of the directory's pg_control, empty when there is none. Returns whether all is done but
    to remove the journal.
    """
    folder = os.path.join(destination, FOLDER)
    document = _read_header(folder)
    if document.get("chain") != _plain(identity.chain):
        backup = _backup_of(document)
        raise BackupError(
            f"{destination!r} has an unfinished restore of {backup}, not of {identity.backup} as it is now",
            f"Go on with the name {backup}. {HINT}",
        )
    options = dict(identity.options)
    if document.get("options") != options:
        differing = _differing(document.get("options"), options)
        raise BackupError(
            f"{destination!r} has an unfinished restore with other options: {differing}",
            f"Go on with the same options. {HINT}",
        )
    if control_file and control_file != document.get(_CONTROL):
        raise BackupError(
            f"{destination!r} has a pg_control that no unfinished restore has: a server was started from it",
            f"The restore was complete; remove {folder}, which is no longer needed.",
        )
    return bool(control_file)


def open_journal(destination: str, identity: Identity, *, resumes: bool) -> Journal:
    """Lock the directory's journal, which check_continues() has found to be of this restore, or begin one.

    resumes: whether there was one. Raises BackupError when another restore works on the directory, or did meanwhile.
    """
    folder = os.path.join(destination, FOLDER)
    with _writing(folder):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        lock = os.open(os.path.join(folder, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _lock_alone(lock, destination)
            others = set(os.listdir(destination)) - {FOLDER}
            if exists(destination) != resumes or (others and not resumes):
                raise BackupError(f"{destination!r} was changed by somebody else meanwhile", HINT)
            if not resumes or _CONTROL not in _read_header(folder):
                _write_header(folder, identity)
        except BaseException:
            os.close(lock)
            raise
    return Journal(folder, lock, identity)


def share_lock(folder: str) -> None:
    """Hold the journal's lock for the rest of this process, beside the other processes of the restore."""
    with _writing(folder):
        _lock(os.open(os.path.join(folder, _LOCK), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW), fcntl.LOCK_SH)


def records_folder(folder: str, backup: str) -> str:
    """Where the records of a member's parts are."""
    return os.path.join(folder, backup)


def pages_path(folder: str, object_name: str) -> str:
    """Where it is written which pages of files a part, and those of newer backups, brought."""
    return f"{record_path(folder, object_name)}.pages"


def record_path(folder: str, object_name: str) -> str:
    """Where a part's record is: below its backup's name, by its own."""
    *_, backup, _, part = object_name.split("/")
    return os.path.join(records_folder(folder, backup), part)


def _lock_alone(descriptor: int, destination: str) -> None:
    """Wait until no other process has the lock, then share it with our own."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while not _lock(descriptor, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            raise BackupError(f"another backup-fetch restores into {destination!r}", "Wait for it to end, or end it.")
        time.sleep(0.05)
    _lock(descriptor, fcntl.LOCK_SH)


def _lock(descriptor: int, kind: int) -> bool:
    """Take the lock, unless another has it; a file system without locks does without."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        logger.warning("cannot lock the restore against a second one: %s", error.strerror)
    return True


def _read_header(folder: str) -> dict[str, object]:
    try:
        document = json.loads(_read(os.path.join(folder, _HEADER)))
    except ValueError as error:
        raise DataCorrupt(f"the journal of the unfinished restore is damaged: {error}", HINT) from error
    if not isinstance(document, dict) or document.get("version") != _VERSION:
        raise DataCorrupt(f"the journal in {folder!r} is not of this version of walpy", HINT)
    return document


def _backup_of(document: dict[str, object]) -> str:
    chain = document.get("chain")
    return str(chain[-1][0]) if isinstance(chain, list) and chain else "another backup"


def _differing(found: object, wanted: dict[str, str]) -> str:
    options = found if isinstance(found, dict) else {}
    names = [name for name in wanted if options.get(name) != wanted[name]]
    return ", ".join(f"{name} was {options.get(name, '')!r}, and is {wanted[name]!r}" for name in names)


def _plain(chain: Sequence[tuple[str, str]]) -> list[list[str]]:
    return [list(link) for link in chain]


def this_boot() -> str:
    """Tells one run of the machine from the next; never the same where the kernel does not say."""
    return _read(_BOOT).strip() or f"{os.getpid()} {time.time_ns()}"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        return ""


def _write_header(folder: str, identity: Identity, control: str = "") -> None:
    header = {"version": _VERSION, "chain": _plain(identity.chain), "options": dict(identity.options)}
    path = os.path.join(folder, _HEADER)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump({**header, _CONTROL: control} if control else header, file)
    os.replace(f"{path}.new", path)


@contextlib.contextmanager
def _writing(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupError(f"cannot write the journal in {folder!r}: {error.strerror or error}") from error
