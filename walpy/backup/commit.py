"""The stored side of one backup that is being made: an empty folder, its parts, and at last the sentinel.

Until the sentinel is there, no reader sees the backup; whatever fails before, the folder is emptied. Once its writing
was tried, nothing is deleted any more unless the storage said that it took nothing: a request that seems to have failed
may still arrive, and a sentinel without parts would be worse than parts without a sentinel.

A complete backup is never touched: one of the same name refuses the new one. Objects without a sentinel are what an
interrupted backup left behind; a new backup of that name removes them first, or a restore would extract them too. Two
hosts that make a backup of the same name at the same time find each other's parts at the end, and both give up.
"""

import logging
from typing import TYPE_CHECKING

from walpy import layout
from walpy.errors import AccessDenied, BackupError, ObjectExists, ObjectMissing, StorageFull
from walpy.interrupts import committing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from walpy.archive import Archive
    from walpy.backup.model import BackupMetadata, Sentinel

logger = logging.getLogger(__name__)


class StoredBackup:
    """What the archive holds of a backup in the making. archive: its storage need not be rate limited."""

    def __init__(self, archive: "Archive", name: str) -> None:
        self.name = name
        self._archive = archive
        self._parts: dict[str, int] = {}
        self._may_be_complete = False

    @property
    def stored_size(self) -> int:
        """Bytes stored in all parts so far."""
        return sum(self._parts.values())

    @property
    def part_count(self) -> int:
        """Parts so far."""
        return len(self._parts)

    def claim(self) -> None:
        """Make sure that the name is free. Raises BackupError when a complete backup has it."""
        try:
            self._archive.storage.stat(layout.sentinel(self.name))
        except ObjectMissing:
            pass
        else:
            self._may_be_complete = True
            raise BackupError(
                f"the archive already holds a complete backup {self.name!r}, which is not overwritten",
                "A backup is named after the WAL segment in which it starts. On a standby a new name needs a new "
                "restart point; anywhere else, another cluster pushed to this archive.",
            )
        removed = self._empty_folder()
        if removed:
            logger.warning("Removed %d objects that an interrupted backup %s left behind", removed, self.name)

    def add_part(self, object_name: str, stored_size: int) -> None:
        """Note a part that was stored."""
        self._parts[object_name] = stored_size

    def confirm(self) -> None:
        """Compare the parts with what the storage lists. Raises BackupError when it is not exactly them."""
        listed = {item.name: item.size for item in self._archive.storage.list(layout.tar_folder(self.name))}
        for name, size in self._parts.items():
            if name not in listed:
                raise BackupError(f"part {name!r} is not in the archive any more")
            if listed[name] != size:
                raise BackupError(f"part {name!r} has {listed[name]} bytes in the archive, {size} were stored")
        foreign = sorted(listed.keys() - self._parts.keys())
        if foreign:
            raise BackupError(
                f"object {foreign[0]!r} does not belong to this backup",
                "Another host may be pushing a backup of the same name: push from one of them at a time.",
            )

    def complete(self, metadata: "BackupMetadata", files: "Iterable[bytes] | None", sentinel: "Sentinel") -> None:
        """Store the documents, the sentinel last: it commits the backup. files: of files_metadata, in pieces."""
        self._archive.put_bytes(layout.metadata(self.name), metadata.to_json())
        if files is not None:
            self._archive.storage.put(layout.files_metadata(self.name), files)
        self._put_sentinel(sentinel.to_json())

    def discard(self) -> None:
        """Remove everything stored so far; leaves alone what may be a complete backup."""
        if self._may_be_complete:
            return
        removed = self._empty_folder()
        logger.info("Removed %d objects of the unfinished backup %s", removed, self.name)

    def _put_sentinel(self, document: bytes) -> None:
        name = layout.sentinel(self.name)
        self._may_be_complete = True
        try:
            with committing():
                self._archive.put_bytes(name, document, create_only=True)
        except ObjectExists:
            # A put that the backend repeated meets its own first attempt.
            if self._archive.get_bytes(name) != document:
                raise BackupError(f"somebody else completed a backup {self.name!r} meanwhile") from None
        except (AccessDenied, StorageFull):
            self._may_be_complete = False  # the storage refused: nothing is under way
            raise

    def _empty_folder(self) -> int:
        storage, folder = self._archive.storage, layout.backup_folder(self.name)
        names = [item.name for item in storage.list(folder)]
        if names:
            storage.delete(names)
        return len(names) + storage.discard_unfinished(folder)
