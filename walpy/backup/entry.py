"""What a backup tells of one of its files."""

from dataclasses import dataclass

from walpy.backup.timestamp import Timestamp


@dataclass(frozen=True, slots=True)
class CorruptBlocks:
    """Pages of one file whose checksum was wrong: how many, and the first of them, ascending."""

    count: int
    some: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file, directory or link of the cluster; mtime as the walk saw it."""

    mtime: Timestamp
    is_incremented: bool = False
    is_skipped: bool = False
    corrupt_blocks: CorruptBlocks | None = None
    updates_count: int = 0
