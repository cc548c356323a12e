"""A connection that speaks the replication protocol: what every use of it needs.

One thread uses a connection. Source: PostgreSQL, "Streaming Replication Protocol".
"""

import contextlib
import select
from typing import TYPE_CHECKING, NamedTuple, Self

import psycopg
from psycopg import errors, pq

from walpy.errors import PostgresError, ServerGone
from walpy.postgres.lsn import Lsn, parse_lsn
from walpy.postgres.server import first_line, log_notice, open_connection, place_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg.abc import ConnParam

    from walpy.config import Config

CANCEL_SECONDS = 0.5  # a signal leaves 1.5 s for everything
RIGHTS = "The role needs REPLICATION, and a line for the database `replication` in pg_hba.conf."


class Identity(NamedTuple):
    """Who the server is: timeline and position are those that it has flushed its WAL up to."""

    system_identifier: int
    timeline: int
    lsn: Lsn


class ReplicationConnection:
    """A physical replication connection; a context manager. Every method raises PostgresError, ServerGone."""

    def __init__(self, config: "Config", address: "Mapping[str, ConnParam] | None" = None) -> None:
        """address: what of the settings is replaced, such as Server.address."""
        try:
            self._connection = open_connection(config, **{**(address or {}), "replication": "yes"})
        except PostgresError as error:  # an ordinary connection, which every command has before, succeeded
            raise type(error)(str(error), f"{RIGHTS} One of max_wal_senders must be free.") from error
        self._connection.add_notice_handler(log_notice)
        self._place = place_of(self._connection)
        self._libpq = self._connection.pgconn

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def place(self) -> str:
        """Host, port, user and database, for messages."""
        return self._place

    @property
    def version_num(self) -> int:
        """PostgreSQL's server_version_num: 150004."""
        return self._libpq.server_version

    def close(self) -> None:
        """Close the connection; the server gives up what it was doing for it."""
        self._connection.close()

    def identify(self) -> Identity:
        """Ask who the server is."""
        (row,) = self._rows("IDENTIFY_SYSTEM")
        return Identity(int(row[0]), int(row[1]), parse_lsn(row[2].decode()))

    def _rows(self, command: str) -> list[list[bytes]]:
        """Rows of a command, as the server's text."""
        result = self._libpq.exec_(command.encode())
        if result.status != pq.ExecStatus.COMMAND_OK:
            self._expect(result, pq.ExecStatus.TUPLES_OK, command)
        return rows_of(result)

    def _wait_for_input(self, seconds: float | None = None) -> bool:
        """Wait until the server has sent something, and take it in; False: it did not within so many seconds."""
        if not select.select([self._libpq.socket], [], [], seconds)[0]:
            return False
        self._libpq.consume_input()
        return True

    def _expect(self, result: "pq.abc.PGresult | None", status: pq.ExecStatus, what: str) -> None:
        if result is None:
            raise PostgresError(f"{what} failed on {self._place}: the server's answer ends too early")
        if result.status == status:
            return
        error = errors.error_from_result(result)
        if self._libpq.status == pq.ConnStatus.BAD:
            raise self._gone(what, error) from error
        raise PostgresError(f"{what} failed on {self._place}: {first_line(error)}", _hint(error)) from error

    def _gone(self, what: str, error: psycopg.Error) -> ServerGone:
        with contextlib.suppress(psycopg.Error):
            self._connection.close()
        return ServerGone(f"{what} failed on {self._place}: {first_line(error)}")

    def _cancel(self) -> None:
        """Ask the server to give up the running command, on a connection of its own."""
        with contextlib.suppress(psycopg.Error):  # it also notices that nobody listens, a little later
            self._connection.cancel_safe(timeout=CANCEL_SECONDS)


def rows_of(result: "pq.abc.PGresult") -> list[list[bytes]]:
    """Rows of a result, as the server's text; NULL is empty."""
    return [[result.get_value(row, column) or b"" for column in range(result.nfields)] for row in range(result.ntuples)]


def _hint(error: psycopg.Error) -> str:
    if isinstance(error, errors.InsufficientPrivilege):
        return RIGHTS
    if isinstance(error, errors.ObjectInUse):
        return "Another wal-receive is at work, or the server has not noticed yet that an earlier one is gone."
    if isinstance(error, errors.UndefinedFile):
        return (
            "The server has removed WAL that was not archived. Take a new base backup, drop the slot, and start again; "
            "max_slot_wal_keep_size should be large enough, or -1."
        )
    return ""
