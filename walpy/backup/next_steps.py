"""What to do after a restore: the lines that lead from a restored directory to a running server."""

import logging
import os
import shlex
from collections.abc import Sequence

from walpy.backup.restore_only import PartialRestore
from walpy.config import Config
from walpy.config_file import find_config_file

logger = logging.getLogger(__name__)

_RECOVERY_SIGNAL = 12_00_00  # the version from which recovery settings live in postgresql.conf


def next_steps(
    destination: str, pg_version: int, arguments: Sequence[str] = (), command: str = "wal-fetch"
) -> tuple[str, ...]:
    """Shell commands for this server.

    pg_version: as server_version_num; 0 unknown, taken for a current one. arguments: what restore_command must give
    walpy beside its own, see given_arguments(). command: of walpy, that fetches WAL.
    """
    restore_command = _restore_command(arguments, command)
    place = shlex.quote(destination)
    steps = []
    if os.geteuid() == 0:
        steps.append(f"chown -R postgres: {place}   # and the tablespaces: PostgreSQL does not run as root")
    if pg_version == 0 or pg_version >= _RECOVERY_SIGNAL:
        steps.append(f"echo {restore_command} >> {place}/postgresql.auto.conf")
        steps.append(f"touch {place}/recovery.signal")
    else:
        steps.append(f"echo {restore_command} >> {place}/recovery.conf")
    steps.append(f"pg_ctl -D {place} start")
    return tuple(steps)


def partial_steps(partial: PartialRestore) -> tuple[str, ...]:
    """Shell commands for the server that a partial restore has become: what is there, and what has to go."""
    steps = [_psql(f"DROP DATABASE {_identifier(name)}") for name in partial.left_out]
    for database, tables in partial.unindexed.items():
        steps += [
            _psql(f"REINDEX TABLE {'.'.join(map(_identifier, table.split('.', 1)))}", database) for table in tables
        ]
    for database, tables in partial.tables.items():
        chosen = " ".join(shlex.quote(f"--table={table}") for table in tables)
        steps.append(f"pg_dump {chosen} {shlex.quote(database)}   # its other tables have no files")
    return tuple(steps)


def _psql(statement: str, database: str = "postgres") -> str:
    return f"psql -d {shlex.quote(database)} -c {shlex.quote(statement)}"


def _identifier(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def log_steps(steps: Sequence[str], steps_when_running: Sequence[str] = ()) -> None:
    """Tell what to do next, if anything, and what once the server has recovered."""
    if steps:
        logger.info("To recover it to the end of the archived WAL, as the user that runs PostgreSQL:")
    for line in steps:
        logger.info("    %s", line)
    if steps_when_running:
        logger.info("Then, because only a part was restored:")
    for line in steps_when_running:
        logger.info("    %s", line)


def given_arguments(config: Config) -> list[str]:
    """The flags of this command line that select the archive; none for a file that walpy finds by itself."""
    arguments = config.child_arguments()
    if not config.config_path:
        return arguments
    own = [] if config.config_path == find_config_file() else [f"--config={os.path.abspath(config.config_path)}"]
    return own + arguments[1:]


def _restore_command(arguments: Sequence[str], command: str) -> str:
    """The line of the configuration file, as a word of the shell."""
    flags = [shlex.quote(argument).replace("%", "%%") for argument in arguments]
    value = " ".join(["walpy", *flags, command, "%f %p"]).replace("\\", "\\\\").replace("'", "''")
    line = f"restore_command = '{value}'"
    return shlex.quote(line) if set(line) & set('"$`\\!') else f'"{line}"'


def version_of_directory(destination: str) -> int:
    """server_version_num as far as PG_VERSION tells it: 150000, 90600; 0 when it does not."""
    try:
        with open(os.path.join(destination, "PG_VERSION"), encoding="ascii") as file:
            parts = file.read().strip().split(".")
    except (OSError, UnicodeDecodeError):
        return 0
    if not all(part.isdigit() for part in parts):
        return 0
    return int(parts[0]) * 10_000 + (int(parts[1]) * 100 if len(parts) > 1 else 0)
