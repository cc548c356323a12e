"""How often each table's rows were changed, as the server's statistics tell it."""

import logging
from typing import TYPE_CHECKING

from walpy.errors import PostgresError
from walpy.postgres.relation_file import Relation
from walpy.postgres.relations import DATABASES
from walpy.postgres.server import Server, connect

if TYPE_CHECKING:
    from walpy.config import Config

UPDATES = """
SELECT coalesce(nullif(c.reltablespace, 0), d.dattablespace)::bigint, d.oid::bigint, c.relfilenode::bigint,
       (s.n_tup_ins + s.n_tup_upd + s.n_tup_del)::bigint
FROM pg_stat_all_tables s JOIN pg_class c ON c.oid = s.relid JOIN pg_database d ON d.datname = current_database()
WHERE c.relfilenode <> 0 AND s.n_tup_ins + s.n_tup_upd + s.n_tup_del > 0
"""

logger = logging.getLogger(__name__)


def collect_updates(config: "Config", server: Server) -> dict[Relation, int]:
    """Rows inserted, updated and deleted, by table, in every database that accepts connections.

    A database that cannot be read is left out with a warning: the statistics only decide which files lie together.
    """
    updates: dict[Relation, int] = {}
    for _, name in server.query("listing the databases", DATABASES):
        try:
            with connect(config, str(name)) as database:
                rows = database.query("reading the tables' statistics", UPDATES)
        except PostgresError as error:
            logger.warning("the statistics of database %r are not known, its files are rated 0: %s", name, error)
            continue
        for row in rows:
            *locator, count = (int(str(value)) for value in row)
            updates[Relation(*locator)] = count
    return updates
