"""Names of all relations in all databases, for restoring some of them (WAL-G's DatabasesByNames)."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from walpy.errors import PostgresError
from walpy.postgres.database import FIRST_USER_OID, Database, Table
from walpy.postgres.server import Server, connect

if TYPE_CHECKING:
    from walpy.config import Config

logger = logging.getLogger(__name__)

DATABASES = "SELECT oid::bigint, datname FROM pg_database WHERE datallowconn ORDER BY datname"

# pg_relation_filepath names the file of mapped catalogs, whose relfilenode is 0; of what has no file it is NULL.
# What belongs to a table: its indexes, its TOAST table, and the sequences of its columns.
RELATIONS = """
SELECT c.oid::bigint, c.relfilenode::bigint, n.nspname || '.' || c.relname, c.relkind::text,
       CASE WHEN c.relfilenode = 0 THEN pg_relation_filepath(c.oid) END,
       (SELECT min(i.inhparent::bigint) FROM pg_inherits i WHERE i.inhrelid = c.oid),
       CASE c.relkind
         WHEN 'i' THEN x.indrelid::bigint
         WHEN 't' THEN t.oid::bigint
         WHEN 'S' THEN (SELECT min(d.refobjid::bigint) FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                        AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i'))
       END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_index x ON x.indexrelid = c.oid
LEFT JOIN pg_class t ON t.reltoastrelid = c.oid AND t.reltoastrelid <> 0
ORDER BY 3
"""
PARTITIONED_TABLE = "p"


@dataclass(frozen=True, slots=True)
class Row:
    """One relation of pg_class; path is set where relfilenode is 0, parent and owner are oids.

    owner: the table that an index, a TOAST table or a sequence belongs to.
    """

    oid: int
    relfilenode: int
    name: str
    kind: str
    path: str | None
    parent: int | None
    owner: int | None = None


def collect_relations(config: "Config", server: Server) -> dict[str, Database]:
    """Relations of every database that accepts connections, by database name.

    A database that cannot be read is left out with a warning: names are a convenience, the backup is not at stake.
    """
    databases: dict[str, Database] = {}
    for oid, name in server.query("listing the databases", DATABASES):
        try:
            with connect(config, str(name)) as database:
                rows = [_row(row) for row in database.query("listing the relations", RELATIONS)]
        except PostgresError as error:
            logger.warning(
                "cannot list the relations of database %r, which only a partial restore needs: %s", name, error
            )
            continue
        databases[str(name)] = Database(int(str(oid)), relation_tree(rows))
    return databases


def relation_tree(rows: list[Row]) -> dict[str, Table]:
    """Relations without a parent, with all their direct and indirect children as subtables: a pure function.

    Unlike WAL-G, children in another schema and those of partitioned indexes are kept. What belongs to a user's table
    is among its subtables too, beside its own place, so that WAL-G and walpy restore a table with all of it.
    """
    kept = {row.oid: row for row in rows if _has_file(row) or row.kind == PARTITIONED_TABLE}
    children: dict[int, dict[str, Table]] = {}
    for row in kept.values():
        for ancestor in {_ancestor(row, kept).oid, _ancestor(_owner(row, kept), kept).oid} - {row.oid}:
            children.setdefault(ancestor, {})[row.name] = Table(row.oid, _file_number(row))
    return {
        row.name: Table(row.oid, _file_number(row), children.get(row.oid, {}))
        for row in kept.values()
        if _ancestor(row, kept) is row
    }


def _ancestor(row: Row, rows: Mapping[int, Row]) -> Row:
    while row.parent is not None and row.parent in rows:
        row = rows[row.parent]
    return row


def _owner(row: Row, rows: Mapping[int, Row]) -> Row:
    """The table that it belongs to, an index of a TOAST table to the table itself; a system catalog's, none."""
    while row.oid >= FIRST_USER_OID and row.owner is not None and row.owner in rows:
        row = rows[row.owner]
    return row


def _has_file(row: Row) -> bool:
    return row.relfilenode != 0 or row.path is not None


def _file_number(row: Row) -> int:
    return row.relfilenode or int((row.path or "0").rpartition("/")[2])


def _row(fields: tuple[object, ...]) -> Row:
    oid, relfilenode, name, kind, path, parent, owner = fields
    return Row(
        oid=int(str(oid)),
        relfilenode=int(str(relfilenode)),
        name=str(name),
        kind=str(kind),
        path=None if path is None else str(path),
        parent=None if parent is None else int(str(parent)),
        owner=None if owner is None else int(str(owner)),
    )
