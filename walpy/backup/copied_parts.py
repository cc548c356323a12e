"""The copy composer: parts of an earlier full backup whose files have all stayed as they were, copied by the storage.

A part is copied when each of its members is there, unchanged as a delta backup understands it, when the keys in hand
read it, and when the storage can copy it without its bytes passing through here (folders: by this machine). All other
files are packed. Copies come first, so that what cannot be copied after all is packed too.

Memory: the entries of unchanged files, about 400 bytes each; what the storage holds for PARALLEL copies.
"""

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from walpy import layout
from walpy.backup.delta_base import Base, is_unchanged
from walpy.backup.files_metadata import TarListing
from walpy.backup.partition import PartitionResult
from walpy.copying import in_order
from walpy.errors import WalpyError
from walpy.postgres.entry import table_of
from walpy.storage.base import CopiesItself, StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from walpy.archive import Archive
    from walpy.backup.commit import StoredBackup
    from walpy.postgres.entry import Entry

PARALLEL: Final = 8  # parts copied at the same time

logger = logging.getLogger(__name__)


class _Part(NamedTuple):
    """A part that may be copied. item: as it is stored."""

    item: StoredObject
    members: "tuple[Entry, ...]"


class Copied(NamedTuple):
    """results: of the parts that were copied, numbered from 0. rest: what has to be packed, in its order."""

    results: list[PartitionResult]
    rest: "Sequence[Entry]"


def copy_parts(archive: "Archive", base: Base, entries: "Sequence[Entry]", stored: "StoredBackup") -> Copied:
    """Copy what can be copied of the full backup base, and note it in stored. Raises StorageError."""
    parts = _unchanged_parts(archive, base, entries)
    results: list[PartitionResult] = []
    covered: set[str] = set()
    for part, future in in_order(lambda part: _is_readable(archive, part.item), parts, PARALLEL):
        if future.result() and (result := _copy(archive, base, part, stored.name, len(results))):
            results.append(result)
            stored.add_part(result.object_name, result.stored_size)
            covered.update(entry.name for entry in part.members)
    logger.info("Copied %d of %d tars of %s", len(results), len(parts), base.name)
    return Copied(results, table_of(entry for entry in entries if entry.name not in covered))


def _unchanged_parts(archive: "Archive", base: Base, entries: "Iterable[Entry]") -> list[_Part]:
    """Parts of the base all of whose members are there unchanged."""
    unchanged = {entry.name: entry for entry in entries if entry.is_file and is_unchanged(entry, base)}
    listed = {item.name.rpartition("/")[2]: item for item in archive.storage.list(layout.tar_folder(base.name))}
    return [
        _Part(listed[tar], tuple(unchanged[name] for name in names))
        for tar, names in sorted((base.tars or {}).items())
        if names and tar in listed and all(name in unchanged for name in names)
    ]


def _is_readable(archive: "Archive", item: StoredObject) -> bool:
    """Whether the keys in hand, or none, read a part: a backup is restored with one set of settings."""
    try:
        with archive.open_object(item.name, _extension(item.name)) as chunks:
            next(chunks, None)
    except WalpyError as error:
        if error.transient:
            raise
        logger.warning("%s is packed anew: %s", item.name, error)
        return False
    return True


def _extension(name: str) -> str:
    """What follows `.tar` in a part's name: none for one that is not compressed."""
    return name.rpartition(".tar")[2].lstrip(".")


def _copy(archive: "Archive", base: Base, part: _Part, backup: str, number: int) -> PartitionResult | None:
    item = part.item
    tar_name = f"copy_{number}.tar"
    name = layout.tar_partition(backup, tar_name, _extension(item.name))
    if not _store_copy(archive, item, name):
        logger.info("%s is packed anew: this storage does not copy it", item.name)
        return None
    logger.info("Copied %s to %s", item.name, name)
    listing = TarListing.of([(entry.name, base.files[entry.name]) for entry in part.members])
    size = sum(entry.size for entry in part.members)
    return PartitionResult(tar_name, name, size, item.size, listing)


def _store_copy(archive: "Archive", item: StoredObject, name: str) -> bool:
    storage = archive.storage
    if isinstance(storage, CopiesItself):
        return storage.take(storage, item, name)
    if not storage.url.startswith("file:"):
        return False  # its bytes would come and go by the network
    with storage.open(item.name) as reader:
        storage.put(name, reader, create_only=True)
    return True
