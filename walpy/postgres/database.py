"""Names of a database's tables, as a backup records them for restoring some of them (WAL-G's DatabasesByNames)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

FIRST_USER_OID: Final = 16384  # FirstNormalObjectId: what initdb makes is below


@dataclass(frozen=True, slots=True)
class Table:
    """A relation: its oid, its file number (0 for a partitioned table), and by `schema.name` what belongs to it.

    subtables: its partitions; in walpy's backups also its indexes, TOAST tables and sequences.
    """

    oid: int
    relfilenode: int
    subtables: Mapping[str, "Table"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Database:
    """A database: its oid, and its relations by `schema.name` (those with files, and partitioned tables)."""

    oid: int
    tables: Mapping[str, Table] = field(default_factory=dict)
