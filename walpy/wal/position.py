"""Where a running server is in its WAL."""

from typing import Final, NamedTuple

from walpy.errors import PostgresError
from walpy.postgres.lsn import Lsn, parse_lsn
from walpy.postgres.server import Server
from walpy.wal.segment import Timeline, segment_timeline

_POSITION: Final = """
SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_walfile_name(pg_current_wal_lsn()) END,
       (CASE WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
             ELSE pg_current_wal_lsn() END)::text,
       coalesce((SELECT max(received_tli) FROM pg_stat_get_wal_receiver() WHERE pg_is_in_recovery()), c.timeline_id),
       i.bytes_per_wal_segment
FROM pg_control_checkpoint() c, pg_control_init() i
"""


class ServerPosition(NamedTuple):
    """Timeline and position that a server writes at (a standby: has received or replayed), and its segments' size."""

    timeline: Timeline
    lsn: Lsn
    segment_size: int


def read_position(server: Server) -> ServerPosition:
    """Ask a server. Raises PostgresError, also for a standby that has neither received nor replayed anything."""
    ((segment, lsn, timeline, segment_size),) = server.query("cannot read the server's position", _POSITION)
    if lsn is None:
        raise PostgresError("the standby has not received any WAL yet", "Give --timeline and --lsn instead.")
    number = segment_timeline(str(segment)) if segment else Timeline(int(str(timeline)))
    return ServerPosition(number, parse_lsn(str(lsn)), int(str(segment_size)))
