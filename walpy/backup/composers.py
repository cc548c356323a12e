"""WAL-G's composers: which files of a backup lie together in its tars. Pure.

Any grouping restores; a composer helps what comes later. "database" keeps the files of each database together, so that
a partial restore reads few tars. "rating" keeps files together that change equally often, so that tars of a chain
become redundant as a whole.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from walpy.postgres.relation_file import Relation, relation_file

if TYPE_CHECKING:
    from walpy.backup.files_metadata import FileEntry
    from walpy.postgres.datadir import Entry

REGULAR, RATING, DATABASE, COPY = "regular", "rating", "database", "copy"


def by_database(entries: "Iterable[Entry]") -> "list[list[Entry]]":
    """Groups: directories and what belongs to no database, then each database's files, of each tablespace apart."""
    shared: list[Entry] = []
    databases: dict[str, list[Entry]] = {}
    for entry in entries:
        folder = entry.name.rpartition("/")[0]
        is_in_database = entry.is_file and relation_file(f"{folder}/1") is not None
        (databases.setdefault(folder, []) if is_in_database else shared).append(entry)
    return [shared, *databases.values()]


def rated(entries: "Iterable[Entry]", updates: Mapping[Relation, int]) -> "list[Entry]":
    """The entries, those of tables with how often their rows changed."""
    return [_rated(entry, updates) for entry in entries]


def _rated(entry: "Entry", updates: Mapping[Relation, int]) -> "Entry":
    file = relation_file(entry.name) if entry.is_file else None
    count = updates.get(file.relation, 0) if file else 0
    return replace(entry, updates=count) if count else entry


def by_rating(entries: "Iterable[Entry]", base_files: "Mapping[str, FileEntry]") -> "list[list[Entry]]":
    """Groups: directories, files whose rows never changed, and the others, the most often changed ones last.

    base_files: of the backup that a delta continues, whose counts the changes are measured by.
    """
    directories: list[Entry] = []
    quiet: list[Entry] = []
    busy: list[Entry] = []
    for entry in entries:
        group = directories if not entry.is_file else busy if entry.updates else quiet
        group.append(entry)

    def rating(entry: "Entry") -> int:
        known = base_files.get(entry.name)
        before = known.updates_count if known else 0
        return entry.updates * 100 // before if before else entry.updates

    return [directories, quiet, sorted(busy, key=rating)]
