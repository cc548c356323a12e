"""Files of relations' main forks, by their names in a backup: which relation, and which part of it."""

import re
from typing import Final, NamedTuple

DEFAULT_TABLESPACE: Final = 1663  # PostgreSQL's pg_default: what lies below base/

_RELATION_FILE: Final = re.compile(
    r"/(?:base|pg_tblspc/(?P<tablespace>[0-9]+)/PG_[^/]+)"
    r"/(?P<database>[0-9]+)/(?P<number>[0-9]+)(?:\.(?P<segment>[0-9]+))?"
)


class Relation(NamedTuple):
    """Tablespace, database, and file number; a number of 0 stands for the whole database."""

    tablespace: int
    database: int
    number: int


class RelationFile(NamedTuple):
    """One file of a relation's main fork. segment: its number, from 0; all but the last have 1 GiB."""

    relation: Relation
    segment: int


def relation_file(name: str) -> RelationFile | None:
    """What `/base/5/16384.2` is; None for anything else than a main fork in a database."""
    match = _RELATION_FILE.fullmatch(name)
    if match is None:
        return None
    tablespace, database, number, segment = match.groups()
    relation = Relation(int(tablespace or DEFAULT_TABLESPACE), int(database), int(number))
    return RelationFile(relation, int(segment or 0))
