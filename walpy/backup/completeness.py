"""Is everything there: did all files of a backup arrive, in a chain from the member that had to bring each."""

import logging
from array import array
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
    """Names of files that came, and their parts: four bytes each for those that were expected, a string for others."""

    def __init__(self) -> None:
        self._expected: NameSet | None = None
        self._parts = array("I")  # of each name that is expected: its part's number, from 1; 0 is none
        self._count = 0
        self._others: dict[str, int] = {}

    def expect(self, names: Names) -> None:
        """Be told, before any comes, which files are expected."""
        if isinstance(names, NameSet):
            self._expected, self._parts = names, array("I", bytes(4 * names.highest))

    def add(self, name: str, part: int) -> bool:
        """Note a file, and the number of its part, from 1; whether it is the first of its name."""
        is_new = not self.part(name)
        number = self._number(name)
        if number is None:
            self._others[name] = part
            return is_new
        self._parts[number] = part
        self._count += is_new
        return is_new

    def part(self, name: str) -> int:
        """The number of the part that a file came with; 0 when it did not."""
        number = self._number(name)
        return self._others.get(name, 0) if number is None else self._parts[number]

    def __contains__(self, name: str) -> bool:
        return bool(self.part(name))

    def __len__(self) -> int:
        return self._count + len(self._others)

    def _number(self, name: str) -> int | None:
        return None if self._expected is None else self._expected.number(name)


@dataclass(slots=True)
class Restored:
    """What the parts of a backup brought, added up. size: bytes of file data in them. times: of each part.

    files_below: how many files came whole from the backups below it. parts: names of objects, numbered from 1.
    """

    files: Arrived = field(default_factory=Arrived)
    directories: dict[str, int] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    size: int = 0
    times: list[StageTimes] = field(default_factory=list)
    files_below: int = 0
    parts: list[str] = field(default_factory=list)

    def add(self, result: PartResult) -> None:
        """Take one part's result. Raises BackupError for a file that another part holds too: two workers wrote it."""
        self.parts.append(result.job.object_name)
        for name in result.files:
            if not self.files.add(name, len(self.parts)) and name not in _MAY_COME_TWICE:
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
        self.directories = {**base.directories, **self.directories}
        self.links = {**base.links, **self.links}
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
