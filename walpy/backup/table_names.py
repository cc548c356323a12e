"""Names of databases and tables in the terms of files_metadata.json."""

from typing import TYPE_CHECKING

from walpy.backup.files_metadata import Database, Table
from walpy.postgres.relations import collect_relations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from walpy.config import Config
    from walpy.postgres.relations import Relation
    from walpy.postgres.server import Server


def table_names(config: "Config", server: "Server") -> dict[str, Database]:
    """Relations of every database that can be read, by its name; others are warned of. Raises PostgresError."""
    found = collect_relations(config, server)
    return {name: Database(database.oid, _tables(database.relations)) for name, database in found.items()}


def _tables(relations: "Mapping[str, Relation]") -> dict[str, Table]:
    return {
        name: Table(relation.oid, relation.relfilenode, _tables(relation.subtables))
        for name, relation in relations.items()
    }
