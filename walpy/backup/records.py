"""Records of the journal: what one part brought, and whether it is still there.

A record is written as a whole, in its place by a rename. Its last line tells how many there are, so that one that a
power loss has cut is none. Memory: the names of one part's files.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

from xxhash import xxh3_128

from walpy.errors import BackupError
from walpy.stream.digest import Digest, digest_of

_READ_SIZE: Final = 1 << 20  # bytes


class FileRecord(NamedTuple):
    """A file as it was left: bytes, and xxh3-128 of them in hex, empty where newer backups of a chain have changes."""

    size: int
    checksum: str


NOT_RECORDED: Final = FileRecord(0, "")  # of a restore without a journal


@dataclass(frozen=True, slots=True)
class PartRecord:
    """What a part brought: files by name, directories with modes, links with targets.

    size: bytes of file data. boot: during which run of the machine it was written.
    """

    files: dict[str, FileRecord]
    directories: tuple[tuple[str, int], ...]
    links: tuple[tuple[str, str], ...]
    size: int
    boot: str

    def write(self, path: str) -> None:
        """Write it. Raises BackupError."""
        with writing_journal(path):
            with open(f"{path}.new", "w", encoding="utf-8", errors="surrogateescape") as file:
                file.writelines(f"{line}\n" for line in self._lines())
            os.replace(f"{path}.new", path)

    def _lines(self) -> Iterator[str]:
        yield json.dumps([self.boot, self.size, self.directories, self.links])
        for name, record in self.files.items():
            yield json.dumps([name, *record])
        yield json.dumps(len(self.files))


@contextmanager
def writing_journal(path: str) -> Iterator[None]:
    """Name the journal's file in errors of the file system."""
    try:
        yield
    except OSError as error:
        raise BackupError(f"cannot write the journal {path!r}: {error.strerror or error}") from error


def read_record(path: str) -> PartRecord | None:
    """The record at a path; None when there is none, or not all of it."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            boot, size, directories, links = json.loads(next(file))
            rows = [json.loads(line) for line in file]
        if rows.pop() != len(rows):
            return None
        return PartRecord(
            {str(name): FileRecord(int(bytes_), str(checksum)) for name, bytes_, checksum in rows},
            tuple((str(name), int(mode)) for name, mode in directories),
            tuple((str(name), str(target)) for name, target in links),
            int(size),
            str(boot),
        )
    except (OSError, ValueError, TypeError, IndexError, StopIteration):
        return None


def is_as_left(path: str, record: FileRecord) -> bool:
    """Whether a file has the size and, where it is known, the checksum that it was left with."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if os.fstat(descriptor).st_size != record.size:
            return False
        return not record.checksum or _checksum(descriptor) == record.checksum
    except OSError:
        return False
    finally:
        os.close(descriptor)


def new_checksum() -> Digest:
    """xxh3-128 of bytes in their order: tells damage, at the speed of memory."""
    return Digest(xxh3_128)


def checksum_of(data: bytes) -> str:
    """The checksum of some bytes."""
    return xxh3_128(data).hexdigest()


def checksum_of_file(path: str) -> str:
    """The checksum of a file; empty when there is none that can be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return _checksum(descriptor)
    finally:
        os.close(descriptor)


def _checksum(descriptor: int) -> str:
    return digest_of(_pieces(descriptor), xxh3_128)


def _pieces(descriptor: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(_READ_SIZE))
    while size := os.readv(descriptor, [buffer]):
        yield buffer[:size]
