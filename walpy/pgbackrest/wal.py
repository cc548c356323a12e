"""The WAL of a pgBackRest repository: one file fetched, and the timelines shown."""

import re
from collections.abc import Iterable, Iterator
from hashlib import sha1
from typing import Final

from walpy.archive import Archive
from walpy.errors import DataCorrupt, ObjectMissing
from walpy.pgbackrest.repository import Repository
from walpy.storage.base import Chunk
from walpy.wal.history import Switch, history_name, parse_history
from walpy.wal.inventory import Inventory
from walpy.wal.segment import WalKind, configured_segment_size, wal_kind
from walpy.wal.show import show
from walpy.wal.target import FetchTarget

_STORED: Final = re.compile(
    r"(?P<name>[0-9A-F]{24}(?:\.partial)?)-(?P<sha1>[0-9a-f]{40})(?:\.(?P<extension>[a-z0-9]+))?"
)
FOLDER_SIZE: Final = 16  # digits of a segment's name that its folder has


def wal_fetch(archive: Archive, name: str, destination: str) -> None:
    """Restore a WAL file. Raises ObjectMissing when the repository does not have it, DataCorrupt, and as wal_fetch."""
    repository = Repository(archive)
    target = FetchTarget(name, destination, archive.config.text("PGDATA"))
    folder = repository.wal_folder()
    if wal_kind(name) in (WalKind.SEGMENT, WalKind.PARTIAL):
        _fetch_segment(archive, f"{folder}/{name[:FOLDER_SIZE]}", name, target)
        return
    place = folder if wal_kind(name) is WalKind.HISTORY else f"{folder}/{name[:FOLDER_SIZE]}"
    try:
        with archive.open_object(f"{place}/{name}", "") as chunks:
            target.receive(chunks)
    except ObjectMissing:
        raise _absent(name) from None


def _fetch_segment(archive: Archive, folder: str, name: str, target: FetchTarget) -> None:
    for item in archive.storage.list_folder(folder).objects:
        stored = _STORED.fullmatch(item.name.rpartition("/")[2])
        if stored and stored["name"] == name:
            with archive.open_object(item.name, stored["extension"] or "") as chunks:
                target.receive(_verified(item.name, chunks, stored["sha1"]))
            return
    raise _absent(name)


def _verified(name: str, chunks: Iterable[Chunk], expected: str) -> Iterator[Chunk]:
    """The chunks, when all of them together have the checksum in the object's name. Raises DataCorrupt."""
    content = sha1(usedforsecurity=False)
    for chunk in chunks:
        content.update(chunk)
        yield chunk
    if content.hexdigest() != expected:
        raise DataCorrupt(f"object {name!r} is damaged: it has another checksum than its name tells")


def _absent(name: str) -> ObjectMissing:
    return ObjectMissing(f"Archive '{name}' does not exist.")


def wal_show(archive: Archive, *, json: bool = False) -> str:
    """The timelines, as wal-show prints them without backups."""
    repository = Repository(archive)
    folder = repository.wal_folder()
    names = (_plain(name.rpartition("/")[2]) for name in archive.storage.list_names(folder))
    inventory = Inventory(names, configured_segment_size(archive.config))

    def history(timeline: int) -> list[Switch]:
        if timeline <= 1:
            return []
        name = history_name(timeline)
        return parse_history(archive.get_bytes(f"{folder}/{name}").decode("utf-8", "replace"), name)

    return show(inventory, history, [], json=json, with_backups=False)


def _plain(name: str) -> str:
    """Name of the WAL file of an object."""
    stored = _STORED.fullmatch(name)
    return stored["name"] if stored else name
