"""Is everything there: did all files of a backup arrive, in a chain from the member that had to bring each."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field

from walpy.backup.chain import ChainMember
from walpy.backup.extract import PartResult
from walpy.backup.parts import some
from walpy.backup.stage_times import StageTimes
from walpy.errors import BackupError
from walpy.postgres.control import CONTROL_FILE

_NEEDED = frozenset({"PG_VERSION", "global/pg_filenode.map"})  # every cluster has these beside pg_control
_MAY_COME_TWICE = frozenset({CONTROL_FILE, "backup_label", "tablespace_map"})  # once more in a tar of their own, last
_CONTROL_FILE_SIZE = 8192  # bytes, in every PostgreSQL version

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Restored:
    """What the parts of a backup brought, added up. size: bytes of file data in them. times: of each part.

    files_below: how many files came whole from the backups below it.
    """

    files: set[str] = field(default_factory=set)
    directories: dict[str, int] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    size: int = 0
    times: list[StageTimes] = field(default_factory=list)
    files_below: int = 0

    def add(self, result: PartResult) -> None:
        """Take one part's result. Raises BackupError for a file that another part holds too: two workers wrote it."""
        for name in result.files:
            if name in self.files and name not in _MAY_COME_TWICE:
                raise BackupError(f"two parts of the backup hold the file {name!r}, the second is {result.job.part}")
            self.files.add(name)
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
        missing |= _NEEDED - restored.files
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
