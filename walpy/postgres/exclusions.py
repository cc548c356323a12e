"""What a base backup leaves out of the data directory: pure functions of names.

WAL-G's list, which it compares with the last part of a path at any depth, and what PostgreSQL's own base backup leaves
out beyond it (src/backend/backup/basebackup.c): all of it is made anew by the server, or by walpy for the backup.
"""

import re

# Their contents are left out; the directories themselves are kept, empty, for the server expects them.
EXCLUDED_DIRECTORIES = frozenset(
    {
        ".walpy-restore",  # of a backup-fetch that was killed when all but this was done
        "log",
        "pg_dynshmem",
        "pg_log",
        "pg_notify",
        "pg_replslot",
        "pg_serial",
        "pg_snapshots",
        "pg_stat_tmp",
        "pg_subtrans",
        "pg_wal",
        "pg_xlog",
    }
)
TEMPORARY_PREFIX = "pgsql_tmp"  # directories of sort files, and such files themselves

EXCLUDED_FILES = frozenset(
    {
        "current_logfiles.tmp",
        "postgresql.auto.conf.tmp",
        "postmaster.opts",
        "postmaster.pid",
        "recovery.conf",
        "standby.signal",
    }
)
RELATION_CACHE = "pg_internal.init"  # also with a process's number behind it, while being written

# In the data directory itself: they belong to another backup than the one being taken.
EXCLUDED_AT_TOP = frozenset({"backup_label", "backup_manifest", "tablespace_map"})

# What a catchup leaves out as well: a standby has its own.
CONFIGURATION = frozenset({"pg_hba.conf", "postgresql.auto.conf", "postgresql.conf"})

TEMPORARY_RELATION = re.compile(r"t[0-9]+_[0-9]+(_[a-z]+)?(\.[0-9]+)?")


def is_excluded_directory(name: str) -> bool:
    """Whether a backup keeps of a directory with this last name only the directory."""
    return name in EXCLUDED_DIRECTORIES or name.startswith(TEMPORARY_PREFIX)


def is_excluded_file(name: str, parent: str) -> bool:
    """Whether a backup leaves out a file. parent: name of its directory in the backup, `/` for the data directory."""
    return (
        name in EXCLUDED_FILES
        or name.startswith((RELATION_CACHE, TEMPORARY_PREFIX))
        or (parent == "/" and name in EXCLUDED_AT_TOP)
        or TEMPORARY_RELATION.fullmatch(name) is not None
    )
