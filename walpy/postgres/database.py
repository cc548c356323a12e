"""Names of a database's tables, as a backup records them for restoring some of them (WAL-G's DatabasesByNames)."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Table:
    """A relation: its oid, its file number (0 for a partitioned table) and all its descendants by `schema.name`."""

    oid: int
    relfilenode: int
    subtables: Mapping[str, "Table"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Database:
    """A database: its oid, and its relations by `schema.name` (those with files, and partitioned tables)."""

    oid: int
    tables: Mapping[str, Table] = field(default_factory=dict)
