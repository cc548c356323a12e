"""backup-mark: protects a backup, and the backups it is made on, from deletion; or gives that up.

metadata.json is what counts (the sentinel keeps the value of its creation). Fields that walpy does not know stay.
"""

import logging
from collections.abc import Callable, Iterator
from typing import Final

from walpy import layout
from walpy.archive import Archive
from walpy.backup.catalog import BackupSelector, find_backup, list_backups, read_metadata, read_sentinel
from walpy.backup.model import BackupMetadata
from walpy.errors import BackupError, ObjectMissing

_WORDS: Final = {True: "permanent", False: "impermanent"}

logger = logging.getLogger(__name__)


def backup_mark(archive: Archive, name: str, *, permanent: bool) -> None:
    """Mark a backup (a name, or LATEST) as permanent, with the whole chain below it, or as impermanent, alone.

    The full backup is marked first, so that a chain is never protected above an unprotected base. Raises BackupError
    for an unknown backup, and for an impermanent mark below a permanent delta; DataCorrupt for unreadable metadata.
    """
    logger.info("Retrieving previous related backups to be marked: toPermanent=%s", str(permanent).lower())
    name = find_backup(archive, BackupSelector(name))
    metadata = {name: _metadata(archive, name)}
    if metadata[name].is_permanent == permanent:
        logger.warning("Backup %s is already marked as %s, ignoring...", name, _WORDS[permanent])
    elif not permanent:
        _refuse_below_permanent(archive, name)
    if permanent:
        metadata = {base: metadata.get(base) or read_metadata(archive, base) for base in chain(archive, name)}
    names = [marked for marked, found in metadata.items() if found.is_permanent != permanent]
    logger.info("Retrieved backups to be marked, marking: [%s]", " ".join(names))
    for marked in names:
        archive.put_bytes(layout.metadata(marked), metadata[marked]._replace(is_permanent=permanent).to_json())


def chain(archive: Archive, name: str) -> list[str]:
    """The backups that one is made on, and itself, the full one first. Raises BackupError for a missing one."""
    return chain_by(lambda backup: read_sentinel(archive, backup).delta_from, name)


def chain_by(base_of: Callable[[str], str | None], name: str) -> list[str]:
    """The same with a function that tells the backup that one is made on. Raises what it raises."""
    names = [name]
    while (base := base_of(names[0])) is not None:
        if base in names:
            raise BackupError(f"backup {name} is a delta of itself, by way of {base}")
        names.insert(0, base)
    return names


def _refuse_below_permanent(archive: Archive, name: str) -> None:
    logger.info("retrieving permanent objects")
    children: dict[str, list[str]] = {}
    for backup in list_backups(archive):
        base = read_sentinel(archive, backup.name).delta_from
        if base is not None:
            children.setdefault(base, []).append(backup.name)
    for dependent in _below(children, name):
        if read_metadata(archive, dependent).is_permanent:
            raise BackupError(
                f"Failed to get previous backups: Can't mark backup '{name}' as impermanent. There is permanent "
                "increment backup that depends on this backup.",
                f"Mark {dependent} as impermanent first.",
            )


def _below(children: dict[str, list[str]], name: str) -> Iterator[str]:
    """Every backup that depends on one, directly or not."""
    for child in children.get(name, ()):
        yield child
        yield from _below(children, child)


def _metadata(archive: Archive, name: str) -> BackupMetadata:
    try:
        return read_metadata(archive, name)
    except ObjectMissing:
        raise BackupError(
            f"backup {name} has no metadata.json, so it cannot be marked", "WAL-E writes none; take a new backup."
        ) from None
