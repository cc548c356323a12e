"""What to do after a restore: the lines that lead from a restored directory to a running server."""

import os
import shlex

RESTORE_COMMAND = "restore_command = 'walpy wal-fetch %f %p'"
_RECOVERY_SIGNAL = 12_00_00  # the version from which recovery settings live in postgresql.conf


def next_steps(destination: str, pg_version: int) -> tuple[str, ...]:
    """Shell commands for this server. pg_version: as server_version_num; 0 unknown, taken for a current one."""
    place = shlex.quote(destination)
    steps = []
    if os.geteuid() == 0:
        steps.append(f"chown -R postgres: {place}   # and the tablespaces: PostgreSQL does not run as root")
    if pg_version == 0 or pg_version >= _RECOVERY_SIGNAL:
        steps.append(f'echo "{RESTORE_COMMAND}" >> {place}/postgresql.auto.conf')
        steps.append(f"touch {place}/recovery.signal")
    else:
        steps.append(f'echo "{RESTORE_COMMAND}" >> {place}/recovery.conf')
    steps.append(f"pg_ctl -D {place} start")
    return tuple(steps)


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
