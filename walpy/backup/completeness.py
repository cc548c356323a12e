"""Is everything there: did all files of a backup arrive, in a chain from the member that had to bring each."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field

from walpy.backup.chain import ChainMember, Names
from walpy.backup.extract import PartResult
from walpy.backup.file_table import NameSet
from walpy.backup.parts import some
from walpy.backup.stage_times import StageTimes
from walpy.errors import BackupError
from walpy.postgres.control import CONTROL_FILE

_NEEDED = frozenset({"PG_VERSION", "global/pg_filenode.map"})  # every cluster has these beside pg_control
_MAY_COME_TWICE = frozenset({CONTROL_FILE, "backup_label", "tablespace_map"})  # once more in a tar of their own, last
_CONTROL_FILE_SIZE = 8192  # bytes, in every PostgreSQL version

logger = logging.getLogger(__name__)


class Arrived:
    """Names of files that came: a byte each for those that were expected, a string for others."""

    def __init__(self) -> None:
        self._expected: NameSet | None = None
        self._marks = bytearray()
        self._count = 0
        self._others: set[str] = set()

    def expect(self, names: Names) -> None:
        """Be told, before any comes, which files are expected."""
        if isinstance(names, NameSet):
            self._expected, self._marks = names, bytearray(names.highest)

    def add(self, name: str) -> bool:
        """Note a file; whether it is the first of its name."""
        number = self._number(name)
        if number is None:
            is_new = name not in self._others
            self._others.add(name)
            return is_new
        is_new = not self._marks[number]
        self._marks[number] = 1
        self._count += is_new
        return is_new

    def __contains__(self, name: str) -> bool:
        number = self._number(name)
        return name in self._others if number is None else bool(self._marks[number])

    def __len__(self) -> int:
        return self._count + len(self._others)

    def _number(self, name: str) -> int | None:
        return None if self._expected is None else self._expected.number(name)


@dataclass(slots=True)
class Restored:
    """What the parts of a backup brought, added up. size: bytes of file data in them. times: of each part.

    files_below: how many files came whole from the backups below it.
    """

    files: Arrived = field(default_factory=Arrived)
    directories: dict[str, int] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    size: int = 0
    times: list[StageTimes] = field(default_factory=list)
    files_below: int = 0

    def add(self, result: PartResult) -> None:
        """Take one part's result. Raises BackupError for a file that another part holds too: two workers wrote it."""
        for name in result.files:
            if not self.files.add(name) and name not in _MAY_COME_TWICE:
                raise BackupError(f"two parts of the backup hold the file {name!r}, the second is {result.job.part}")
        self.directories.update(result.directories)
        self.links.update(result.links)
        self.size += result.size
        self.times.append(result.times)
        if result.is_kept:
            logger.info("All of %s is there already", result.job.part)
        else:
            logger.info("Finished extraction of %s", result.job.part)

    def add_base(self, base: "Restored", increments: int) -> None:
        """Take what a base brought, of which so many files were increments. Names of files are not kept."""
        self.files_below += len(base.files) - increments
        self.directories.update(base.directories)
        self.links.update(base.links)
        self.size += base.size
        self.times += base.times


def check_complete(member: ChainMember, left_out: Collection[str], restored: Restored) -> None:
    """Raise BackupError, naming files, when something of a backup did not arrive.

    restored: what its parts brought. left_out: what nobody wants. Lists have no sizes; of a whole backup their sum must
    reach what the sentinel says, where that counts file data alone.
    """
    missing = {name for name in member.names if name not in restored.files and name not in restored.directories}
    missing -= restored.links.keys() | {CONTROL_FILE} | set(left_out)
    if member.is_everything:
        missing |= {name for name in _NEEDED if name not in restored.files}
    if missing:
        raise BackupError(
            f"restore of {member.backup} is incomplete, {len(missing)} files are missing: {some(missing)}"
        )
    if member.sentinel.data_catalog_size and member.is_everything:
        _check_size(member, restored)


def _check_size(member: ChainMember, restored: Restored) -> None:
    """Raise BackupError when less came than the backup was made of (more is fine: parts copied from an older one)."""
    promised = member.sentinel.uncompressed_size - _CONTROL_FILE_SIZE  # pg_control is not restored yet
    if restored.size < promised:
        raise BackupError(
            f"restore of {member.backup} is incomplete, {promised - restored.size} of {promised} bytes are missing"
        )
