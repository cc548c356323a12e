"""Partial restores: which files the databases and tables of `--restore-only` need, and which are left out.

Everything outside the users' databases is restored, and so are the system catalogs of all of them: the server starts,
and the databases that nobody asked for can be dropped. Decided by the newest backup's names alone, also in a chain.
Memory: what the names of the relations take (files_metadata.py), and 60 bytes for each file number that is wanted.
Source: WAL-G 3.0.9, `backup-fetch --help` and its behaviour.
"""

import csv
import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from walpy.errors import BackupError, UsageError
from walpy.postgres.database import FIRST_USER_OID, Database, Table

DEFAULT_SCHEMA: Final = "public"
_NEAR_NAMES: Final = 5
_RELATION_FILE: Final = re.compile(r"(?:base|pg_tblspc/.+)/([0-9]+)/([0-9]+)(?:[._][^/]*)?")


class Item(NamedTuple):
    """A database, or tables of it: patterns in which `*` stands for any characters; table is empty for all."""

    text: str
    database: str
    table: str


def parse_items(text: str) -> tuple[Item, ...]:
    """The items of a list: `db`, `db/table`, `db/schema.table` or `db/schema/table`, with CSV's quotes around commas.

    Raises UsageError for one of another shape.
    """
    try:
        items = next(csv.reader([text], strict=True)) or [""]
    except csv.Error as error:
        raise UsageError(f"malformed list of databases {text!r}: {error}") from error
    return tuple(map(_parse_item, items))


def _parse_item(text: str) -> Item:
    database, *table = text.split("/")
    names = [part for name in table for part in name.split(".")]
    if not database or "" in names or len(names) > 2 or (len(table) == 2 and len(names) == 1):
        raise UsageError(
            f"Unexpected format of database or table to restore: '{text}'",
            "Use DATABASE, DATABASE/TABLE or DATABASE/SCHEMA.TABLE, with commas between them.",
        )
    if len(names) == 1:
        names.insert(0, DEFAULT_SCHEMA)
    return Item(text, database, ".".join(names))


@dataclass(frozen=True, slots=True)
class PartialRestore:
    """What a partial restore brings. databases: oids of those that it brings whole.

    files: the file numbers that it brings of the others, by their oid; of a database that is not in it, nothing.
    tables: names of the tables that were asked for, and of their partitions, by their database. left_out: names of
    databases without any. unindexed: tables, by their database, of which the backup tells no indexes (WAL-G's do not).
    """

    databases: frozenset[int]
    files: Mapping[int, frozenset[int]]
    tables: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...]
    unindexed: Mapping[str, tuple[str, ...]]

    def brings(self, name: str) -> bool:
        """Whether a file or directory, relative to the data directory, is restored."""
        match = _RELATION_FILE.fullmatch(name)
        if match is None:
            return True
        database, number = map(int, match.groups())
        if database < FIRST_USER_OID or number == 0 or database in self.databases:
            return True
        return number in self.files.get(database, ())


def choose_relations(items: Collection[Item], databases: Mapping[str, Database], backup: str) -> PartialRestore:
    """Look the items up in a backup's names.

    Raises BackupError for a backup that has none, and for an item that nothing fits, with the names near to it.
    """
    if not databases:
        raise BackupError(
            f"backup {backup} has no names of databases, which a partial restore needs",
            "It was made over the replication protocol, without files metadata, or with "
            "WALG_DISABLE_PARTIAL_RESTORE; restore all of it.",
        )
    whole: set[str] = set()
    tables: dict[str, dict[str, Table]] = {}
    for item in items:
        found = _names(item.database, databases)
        if not found:
            raise BackupError(f"backup {backup} has no database {item.database!r}", _near(item.database, databases))
        if item.table:
            for name, fitting in _tables(item, {name: databases[name] for name in found}, backup):
                tables.setdefault(name, {}).update(fitting)
        else:
            whole.update(found)
    return _partial(whole, {name: _topmost(tables[name]) for name in sorted(tables.keys() - whole)}, databases)


def _topmost(tables: Mapping[str, Table]) -> dict[str, Table]:
    """Those that do not come with another one anyway, as partitions and indexes that a pattern fits do."""
    below = {name for table in tables.values() for name in table.subtables}
    return {name: table for name, table in tables.items() if name not in below}


def _tables(item: Item, databases: Mapping[str, Database], backup: str) -> Iterator[tuple[str, dict[str, Table]]]:
    """What an item means in each of the databases where it means anything."""
    known: set[str] = set()
    is_found = False
    for name, database in databases.items():
        relations = _relations(database)
        if fitting := _names(item.table, relations):
            is_found = True
            yield name, {table: relations[table] for table in fitting}
        known.update(relations)
    if not is_found:
        raise BackupError(f"backup {backup} has no table of {item.text!r}", _near(item.table, known))


def _relations(database: Database) -> dict[str, Table]:
    """All that the backup names, also what is listed below a partitioned table alone."""
    below = {name: part for table in database.tables.values() for name, part in table.subtables.items()}
    return {**below, **database.tables}


def _partial(
    whole: Collection[str], tables: Mapping[str, Mapping[str, Table]], databases: Mapping[str, Database]
) -> PartialRestore:
    return PartialRestore(
        databases=frozenset(databases[name].oid for name in whole),
        files={
            database.oid: frozenset(_file_numbers(database, tables.get(name, {}).values()))
            for name, database in databases.items()
        },
        tables={name: tuple(sorted(_with_partitions(found, databases[name]))) for name, found in tables.items()},
        left_out=tuple(sorted(name for name in databases if _is_left_out(name, databases, whole, tables))),
        unindexed={
            name: unindexed
            for name, found in tables.items()
            if (unindexed := tuple(sorted(_without_indexes(found, databases[name]))))
        },
    )


def _with_partitions(tables: Mapping[str, Table], database: Database) -> Iterator[str]:
    """Partitions are listed below their table alone."""
    yield from tables
    for table in tables.values():
        yield from table.subtables.keys() - database.tables.keys()


def _without_indexes(tables: Mapping[str, Table], database: Database) -> Iterator[str]:
    """Those under which nothing is listed that stands alone too, as only walpy lists indexes."""
    return (name for name, table in tables.items() if not table.subtables.keys() & database.tables.keys())


def _is_left_out(name: str, databases: Mapping[str, Database], whole: Collection[str], tables: Collection[str]) -> bool:
    return databases[name].oid >= FIRST_USER_OID and name not in whole and name not in tables


def _file_numbers(database: Database, wanted: Iterable[Table]) -> Iterator[int]:
    """Of the system catalogs, and of the wanted tables with all that belongs to them, as far as the names tell."""
    for table in database.tables.values():
        if table.oid < FIRST_USER_OID:
            yield table.relfilenode
    for table in wanted:
        for part in (table, *table.subtables.values()):
            yield part.relfilenode
            yield from _toast_numbers(part, database.tables)


def _toast_numbers(table: Table, relations: Mapping[str, Table]) -> Iterator[int]:
    """A table's TOAST table is named after its oid."""
    toast = f"pg_toast.pg_toast_{table.oid}"
    return (relations[name].relfilenode for name in (toast, f"{toast}_index") if name in relations)


def _names(pattern: str, names: Iterable[str]) -> list[str]:
    if "*" not in pattern:
        return [pattern] if pattern in names else []
    fits = re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL).fullmatch
    return [name for name in names if fits(name)]


def _near(wanted: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(wanted, list(names), _NEAR_NAMES, 0.5)
    return f"Near names: {', '.join(near)}." if near else "No name in the backup is like it."
