"""The replication protocol: what wal-receive asks a server for, and the stream of WAL that it gets.

One thread uses a connection. Source: PostgreSQL, "Streaming Replication Protocol"; pg_receivewal (receivelog.c).
"""

import struct
import time
from typing import Final, NamedTuple

import psycopg
from psycopg import errors, pq

from walpy.errors import DataCorrupt, PostgresError, ServerGone
from walpy.postgres.lsn import Lsn, format_lsn, parse_lsn
from walpy.postgres.replication_connection import ReplicationConnection

EPOCH: Final = 946_684_800  # 2000-01-01, where the protocol's clock begins
NO_LSN: Final = Lsn(0)  # the protocol's "unknown"

_DATA_HEAD: Final = struct.Struct("!cqqq")  # w, where the data begin, the server's end of WAL, its clock
_KEEPALIVE: Final = struct.Struct("!cqqB")  # k, the server's end of WAL, its clock, whether it wants an answer
_STATUS: Final = struct.Struct("!cqqqqB")  # r, written, flushed and applied up to, our clock, whether we want an answer


class Data(NamedTuple):
    """Bytes of the WAL from start on."""

    start: Lsn
    content: memoryview


class KeepAlive(NamedTuple):
    """A sign of life; is_answer_wanted: the server waits for an acknowledgement."""

    is_answer_wanted: bool


class TimelineEnd(NamedTuple):
    """The timeline ends; the next one begins at lsn."""

    timeline: int
    lsn: Lsn


Message = Data | KeepAlive | TimelineEnd


class Replication(ReplicationConnection):
    """A connection that streams WAL. Every method raises PostgresError, ServerGone."""

    def create_slot(self, name: str) -> None:
        """Make a physical slot that keeps the WAL from the last checkpoint on."""
        self._rows(f'CREATE_REPLICATION_SLOT "{name}" PHYSICAL RESERVE_WAL')

    def history(self, timeline: int) -> bytes | None:
        """Content of a timeline's history file; None when the server has none."""
        try:
            (row,) = self._rows(f"TIMELINE_HISTORY {timeline}")
        except PostgresError as error:
            if isinstance(error.__cause__, errors.UndefinedFile):
                return None
            raise
        return row[1]

    def start(self, slot: str, lsn: int, timeline: int) -> None:
        """Begin to stream the WAL of a timeline, from the beginning of a segment on."""
        command = f'START_REPLICATION SLOT "{slot}" PHYSICAL {format_lsn(lsn)} TIMELINE {timeline}'
        self._expect(self._libpq.exec_(command.encode()), pq.ExecStatus.COPY_BOTH, command)

    def receive(self, seconds: float) -> Message | None:
        """The next message of the stream; None when there is none within so many seconds."""
        try:
            while True:
                count, content = self._libpq.get_copy_data(1)
                if count > 0:
                    return _parsed(memoryview(content))
                if count < 0:
                    return self._end()
                if not self._wait_for_input(seconds):
                    return None
        except psycopg.Error as error:
            raise self._gone("receiving WAL", error) from error

    def acknowledge(self, flushed: Lsn, received: Lsn) -> None:
        """Tell the server that it needs not keep the WAL before flushed for us; NO_LSN: of that say nothing.

        A server that shuts down waits until everything is flushed, or received, when nothing is said of flushing.
        """
        moment = round((time.time() - EPOCH) * 1_000_000)
        try:
            self._libpq.put_copy_data(_STATUS.pack(b"r", received, flushed, flushed, moment, 0))
            self._libpq.flush()
        except psycopg.Error as error:
            raise self._gone("acknowledging WAL", error) from error

    def _end(self) -> TimelineEnd:
        """What the server says after the last byte of a stream."""
        result = self._libpq.get_result()
        if result is not None and result.status == pq.ExecStatus.COPY_IN:
            self._libpq.put_copy_end()
            self._libpq.flush()
            result = self._libpq.get_result()
        if result is None or result.status == pq.ExecStatus.COMMAND_OK:
            raise ServerGone(f"the server at {self._place} has ended the stream of WAL: it shuts down")
        self._expect(result, pq.ExecStatus.TUPLES_OK, "the end of a timeline")
        timeline, lsn = (result.get_value(0, column) or b"" for column in (0, 1))
        while self._libpq.get_result() is not None:
            pass
        return TimelineEnd(int(timeline), parse_lsn(lsn.decode()))


def _parsed(message: memoryview) -> Data | KeepAlive:
    """Take a message of the server apart. Raises DataCorrupt."""
    kind = bytes(message[:1])
    try:
        if kind == b"w":
            _, start, _, _ = _DATA_HEAD.unpack_from(message)
            return Data(Lsn(start), message[_DATA_HEAD.size :])
        if kind == b"k":
            return KeepAlive(bool(_KEEPALIVE.unpack(message)[3]))
    except struct.error as error:
        raise DataCorrupt(f"a replication message of {len(message)} bytes makes no sense") from error
    raise DataCorrupt(f"unknown replication message {kind!r}")
