"""What of a backup a restore is asked for: all of it, what --mask lets through, or what --restore-only names."""

import logging
from dataclasses import dataclass, field

from walpy.backup.chain import SPECIAL_FILES, Names
from walpy.backup.extract import relative_name
from walpy.backup.files_metadata import FilesMetadata
from walpy.backup.mask import compile_mask
from walpy.backup.restore_only import PartialRestore, choose_relations, parse_items
from walpy.postgres.control import CONTROL_FILE

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Selection:
    """The choice of mask and restore_only, each empty when not given. partial: what the latter means, once chosen."""

    backup: str
    mask: str = ""
    restore_only: str = ""
    partial: PartialRestore | None = field(default=None, init=False)

    def choose(self, files: FilesMetadata) -> Names | None:
        """Files to restore of the newest backup, relative to the destination; None for all of them.

        Raises UsageError for a malformed mask or item, BackupError for names that the backup does not have.
        """
        if self.restore_only:
            items = parse_items(self.restore_only)
            self.partial = choose_relations(items, files.databases, self.backup)
        if self.mask:
            names = _masked(files, self.mask)
        elif self.partial:
            names = frozenset({*map(relative_name, files.files), *SPECIAL_FILES})
        else:
            return None
        return frozenset(filter(self.partial.brings, names)) if self.partial and names is not None else names


def _masked(files: FilesMetadata, mask: str) -> Names | None:
    if not files.files:
        logger.warning("the backup has no list of files, so the mask is ignored and everything is restored")
        return None
    pattern = compile_mask(f"/{mask}")
    names = {*files.files, f"/{CONTROL_FILE}"}
    return frozenset(name.strip("/") for name in names if pattern.fullmatch(name))
