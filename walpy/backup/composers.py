"""WAL-G's composers: which files of a backup lie together in its tars. Pure.

Any grouping restores; a composer helps what comes later. "database" keeps the files of each database together, so that
a partial restore reads few tars. "rating" keeps files together that change equally often, so that tars of a chain
become redundant as a whole.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from walpy.postgres.entry import EntryTable, table_of
from walpy.postgres.relation_file import Relation, relation_file

if TYPE_CHECKING:
    from walpy.backup.entry import FileEntry
    from walpy.postgres.entry import Entry

REGULAR, RATING, DATABASE, COPY = "regular", "rating", "database", "copy"


def by_database(entries: "Iterable[Entry]") -> list[EntryTable]:
    """Groups: directories and what belongs to no database, then each database's files, of each tablespace apart."""
    shared = EntryTable()
    databases: dict[str, EntryTable] = {}
    for entry in entries:
        folder = entry.name.rpartition("/")[0]
        is_in_database = entry.is_file and relation_file(f"{folder}/1") is not None
        (databases.setdefault(folder, EntryTable()) if is_in_database else shared).append(entry)
    return [shared, *databases.values()]


def rated(entries: "Iterable[Entry]", updates: Mapping[Relation, int]) -> EntryTable:
    """The entries, those of tables with how often their rows changed."""
    return table_of(_rated(entry, updates) for entry in entries)


def _rated(entry: "Entry", updates: Mapping[Relation, int]) -> "Entry":
    file = relation_file(entry.name) if entry.is_file else None
    count = updates.get(file.relation, 0) if file else 0
    return entry._replace(updates=count) if count else entry


def by_rating(entries: "Sequence[Entry]", base_files: "Mapping[str, FileEntry]") -> list[EntryTable]:
    """Groups: directories, files whose rows never changed, and the others, the most often changed ones last.

    base_files: of the backup that a delta continues, whose counts the changes are measured by.
    """

    def rating(number: int) -> int:
        entry = entries[number]
        known = base_files.get(entry.name)
        before = known.updates_count if known else 0
        return entry.updates * 100 // before if before else entry.updates

    directories, quiet, busy = EntryTable(), EntryTable(), array("Q")
    for number, entry in enumerate(entries):
        if entry.updates:
            busy.append(number)
        else:
            (quiet if entry.is_file else directories).append(entry)
    return [directories, quiet, table_of(entries[number] for number in sorted(busy, key=rating))]
