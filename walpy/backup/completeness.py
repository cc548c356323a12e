"""Is everything there: the tars of a backup before a restore, and its files afterwards."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field

from walpy.backup.extract import ExtractPlan, PartResult, relative_name
from walpy.backup.files_metadata import FilesMetadata
from walpy.backup.model import Sentinel
from walpy.backup.stage_times import StageTimes
from walpy.errors import BackupError
from walpy.postgres.control import CONTROL_FILE

_NEEDED = frozenset({"PG_VERSION", "global/pg_filenode.map"})  # every cluster has these beside pg_control
_MAY_COME_TWICE = frozenset({CONTROL_FILE, "backup_label", "tablespace_map"})  # once more in a tar of their own, last
_CONTROL_FILE_SIZE = 8192  # bytes, in every PostgreSQL version
_NAMES_SHOWN = 5

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Restored:
    """What the parts of a restore brought, added up. size: bytes of file data in them. times: of each part."""

    files: set[str] = field(default_factory=set)
    directories: dict[str, int] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    size: int = 0
    times: list[StageTimes] = field(default_factory=list)

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
        logger.info("Finished extraction of %s", result.job.part)


def check_parts(backup: str, files: FilesMetadata, parts: Collection[str]) -> None:
    """Raise BackupError when a tar that holds files of the backup is gone, before anything is restored.

    A dot at the end is left out of account: WAL-G 3.0.8 wrote one with the codec none, and could only restore what its
    users then renamed.
    """
    present = {part.rstrip(".") for part in parts}
    lost = [
        part
        for part, names in files.tar_file_sets.items()
        if part.rstrip(".") not in present and any(name in files.files for name in names)
    ]
    if lost:
        raise BackupError(
            f"backup {backup} has lost {_some(lost)}", "The objects were deleted after the backup; use another backup."
        )


def check_complete(
    backup: str, sentinel: Sentinel, names: Collection[str], plan: ExtractPlan, restored: Restored
) -> None:
    """Raise BackupError, naming files, when something of the backup did not arrive.

    names: of everything in the backup, empty when it has no list. It has no sizes; their sum must reach what the
    sentinel says, where that counts file data alone.
    """
    missing: set[str] = set()
    if plan.wanted is None:
        missing |= _NEEDED - restored.files
    if names:
        arrived = (restored.files, restored.directories, restored.links, {CONTROL_FILE}, plan.left_out)
        wanted = map(relative_name, names) if plan.wanted is None else plan.wanted
        missing.update(name for name in wanted if not any(name in found for found in arrived))
    if missing:
        raise BackupError(f"restore of {backup} is incomplete, {len(missing)} files are missing: {_some(missing)}")
    if sentinel.data_catalog_size and plan.wanted is None:
        _check_size(backup, sentinel, restored)


def _check_size(backup: str, sentinel: Sentinel, restored: Restored) -> None:
    """Raise BackupError when less came than the backup was made of (more is fine: parts copied from an older one)."""
    promised = sentinel.uncompressed_size - _CONTROL_FILE_SIZE  # pg_control is not restored yet
    if restored.size < promised:
        raise BackupError(
            f"restore of {backup} is incomplete, {promised - restored.size} of {promised} bytes are missing"
        )


def _some(names: Collection[str]) -> str:
    shown = ", ".join(name or "/" for name in sorted(names)[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"
