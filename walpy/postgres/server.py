"""The SQL side of PostgreSQL: facts about a server, and the start and the stop of a backup.

Everything a backup needs runs on one connection, because the server ends a backup whose connection closes. Waiting for
the server is interrupted by whatever a signal handler raises. Versions from 13 on.
"""

import contextlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, LiteralString, Self

import psycopg
from psycopg import errors, pq
from psycopg.conninfo import make_conninfo

from walpy.errors import PostgresError, ServerGone
from walpy.postgres.lsn import parse_lsn

if TYPE_CHECKING:
    from psycopg.abc import ConnParam

    from walpy.config import Config

logger = logging.getLogger(__name__)

OLDEST_VERSION = 13_00_00
RENAMED_VERSION = 15_00_00  # pg_start_backup became pg_backup_start
SOCKET_DIRECTORIES = ("/var/run/postgresql", "/tmp")  # WAL-G's driver looks there, in this order
CANCEL_SECONDS = 0.5  # a signal leaves 1.5 s for everything

# A dead network is noticed about a minute after the last byte, not after the two hours of the system's default.
KEEPALIVES: dict[str, "ConnParam"] = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}

# What a role or database may have set, and would end a backup; no function of a user in the place of the system's; and
# (from version 14 on) a server that waits for its archiver in the name of a killed walpy notices that nobody listens.
SESSION = """
SELECT set_config(s.name, v.value, false)
FROM pg_catalog.pg_settings s,
     (VALUES ('search_path', ''), ('statement_timeout', '0'), ('lock_timeout', '0'), ('idle_session_timeout', '0'),
             ('transaction_timeout', '0'), ('client_connection_check_interval', '1s')) v (name, value)
WHERE s.name = v.name
"""

FACTS = """
SELECT current_setting('server_version_num')::int, current_setting('data_directory'),
       s.system_identifier, c.timeline_id, i.bytes_per_wal_segment, i.database_block_size, i.wal_block_size,
       pg_is_in_recovery(), current_setting('archive_mode'), current_setting('archive_command'),
       coalesce(current_setting('archive_library', true), ''), current_setting('data_checksums') = 'on',
       coalesce(current_setting('summarize_wal', true), 'off') = 'on'
FROM pg_control_system() s, pg_control_checkpoint() c, pg_control_init() i
"""

START = """
SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE (pg_walfile_name_offset(lsn)).file_name END,
       lsn::text, pg_is_in_recovery()
FROM pg_backup_start(%s, true) lsn
"""
START_14 = """
SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE (pg_walfile_name_offset(lsn)).file_name END,
       lsn::text, pg_is_in_recovery()
FROM pg_start_backup(%s, true, false) lsn
"""
STOP = "SELECT lsn::text, labelfile, spcmapfile FROM pg_backup_stop(%s)"
STOP_14 = "SELECT lsn::text, labelfile, spcmapfile FROM pg_stop_backup(false, %s)"
STATEMENT_TIMEOUT = "SELECT set_config('statement_timeout', %s, false)"

GRANTS = (
    "GRANT pg_read_all_settings TO role; "
    "GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean), pg_backup_stop(boolean) TO role;"
)
GRANTS_14 = (
    "GRANT pg_read_all_settings TO role; "
    "GRANT EXECUTE ON FUNCTION pg_start_backup(text, boolean, boolean), pg_stop_backup(boolean, boolean) TO role;"
)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What the server says about itself.

    data_directory: symbolic links resolved, as seen from this machine. timeline: of the last checkpoint. Sizes are
    bytes; page_size and wal_page_size are the block sizes of data files and WAL. summarizes_wal: see wal_summaries.
    """

    version_num: int
    data_directory: str
    system_identifier: int
    timeline: int
    segment_size: int
    page_size: int
    wal_page_size: int
    in_recovery: bool
    archive_mode: str
    archive_command: str
    archive_library: str
    data_checksums: bool
    summarizes_wal: bool = False


@dataclass(frozen=True, slots=True)
class StartedBackup:
    """Where a backup starts; name_file is the WAL file of lsn, empty on a standby."""

    name_file: str
    lsn: int
    in_recovery: bool


@dataclass(frozen=True, slots=True)
class StoppedBackup:
    """Contents of backup_label and tablespace_map (empty without tablespaces), and where the backup stops."""

    label_file: str
    tablespace_map: str
    lsn: int


class Server:
    """A connection to a server; use it as a context manager. Threads may share it: statements wait for each other."""

    def __init__(self, connection: "psycopg.Connection[tuple[object, ...]]", place: str) -> None:
        self._connection = connection
        self._place = place
        connection.add_notice_handler(log_notice)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def place(self) -> str:
        """Host, port, user and database, for messages."""
        return self._place

    @property
    def address(self) -> "dict[str, ConnParam]":
        """Where exactly it is, for a second connection to the same one of several hosts."""
        info = self._connection.info
        return {"host": info.host, "hostaddr": info.hostaddr, "port": info.port}

    @property
    def version_num(self) -> int:
        """PostgreSQL's server_version_num: 150004."""
        return self._connection.info.server_version

    def query(self, what: str, sql: LiteralString, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Rows of a query; what is for messages. Raises PostgresError."""
        try:
            return self._connection.execute(sql, parameters or None).fetchall()
        except psycopg.Error as error:
            raise self._failure(what, error) from error

    def facts(self) -> ServerFacts:
        """Read facts about the server. Raises PostgresError."""
        row = self._row("reading settings", FACTS)
        version, data_directory, identifier, timeline, segment_size, page_size, wal_page_size, *rest = row
        in_recovery, archive_mode, archive_command, archive_library, data_checksums, summarizes_wal = rest
        return ServerFacts(
            version_num=_integer(version),
            data_directory=os.path.realpath(str(data_directory)),
            system_identifier=_integer(identifier) % 2**64,  # SQL has no unsigned type
            timeline=_integer(timeline),
            segment_size=_integer(segment_size),
            page_size=_integer(page_size),
            wal_page_size=_integer(wal_page_size),
            in_recovery=bool(in_recovery),
            archive_mode=str(archive_mode),
            archive_command=str(archive_command),
            archive_library=str(archive_library),
            data_checksums=bool(data_checksums),
            summarizes_wal=bool(summarizes_wal),
        )

    def start_backup(self, label: str) -> StartedBackup:
        """Start a non-exclusive backup with a fast checkpoint; it ends with this connection, if not by stop_backup.

        Raises PostgresError, with the GRANTs that are missing if it is that.
        """
        if self.version_num < OLDEST_VERSION:
            raise PostgresError(
                f"{self._place} has version {self.version_num // 10000} of PostgreSQL",
                f"Backups need version {OLDEST_VERSION // 10000} or later.",
            )
        sql: LiteralString = START if self.version_num >= RENAMED_VERSION else START_14
        name_file, lsn, in_recovery = self._row("starting the backup", sql, [label])
        return StartedBackup(str(name_file), parse_lsn(str(lsn)), bool(in_recovery))

    def stop_backup(self, timeout_seconds: float = 0, *, wait_for_archive: bool = True) -> StoppedBackup:
        """Stop the backup; the server waits until it has archived the WAL that the backup needs, unless told not to.

        timeout_seconds: how long the server may wait; 0 is for ever. Raises PostgresError.
        """
        if wait_for_archive:
            self.query("setting a time-out", STATEMENT_TIMEOUT, [str(max(0, round(timeout_seconds * 1000)))])
        sql: LiteralString = STOP if self.version_num >= RENAMED_VERSION else STOP_14
        lsn, label_file, tablespace_map = self._row("stopping the backup", sql, [wait_for_archive])
        return StoppedBackup(str(label_file), str(tablespace_map or ""), parse_lsn(str(lsn)))

    def ping(self) -> None:
        """Ask the server for a sign of life. Raises PostgresError."""
        self.query("asking for a sign of life", "SELECT 1")

    def close(self) -> None:
        """Close the connection, a running statement is cancelled; the server ends a backup that is not stopped."""
        if self._connection.info.transaction_status == pq.TransactionStatus.ACTIVE:
            with contextlib.suppress(psycopg.Error):  # closing is all that is left to do
                self._connection.cancel_safe(timeout=CANCEL_SECONDS)
        self._connection.close()

    def _row(self, what: str, sql: LiteralString, parameters: Sequence[object] = ()) -> tuple[object, ...]:
        rows = self.query(what, sql, parameters)
        if len(rows) != 1:
            raise PostgresError(f"{what} failed on {self._place}: {len(rows)} rows instead of one")
        return rows[0]

    def _failure(self, what: str, error: psycopg.Error) -> PostgresError:
        hint = ""
        if isinstance(error, errors.InsufficientPrivilege):
            grants = GRANTS if self.version_num >= RENAMED_VERSION else GRANTS_14
            hint = f"Use a superuser, or: {grants.replace(' role;', f' {self._connection.info.user};')}"
        elif isinstance(error, errors.QueryCanceled):
            hint = (
                "The server archives the backup's WAL before it lets the backup stop: look into its log for failures "
                "of archive_command, or raise WALG_STOP_BACKUP_TIMEOUT."
            )
        elif self._connection.closed:
            hint = "The server was stopped or restarted, or the network failed: start the backup again."
        return PostgresError(f"{what} failed on {self._place}: {first_line(error)}", hint)


def connect(config: "Config", database: str = "") -> Server:
    """Connect as the PG* settings say, like any libpq program; database: instead of the configured one.

    Several hosts, services, password files and the rest of libpq's settings work as everywhere. Raises PostgresError.
    """
    connection = open_connection(config, **({"dbname": database} if database else {}))
    server = Server(connection, place_of(connection))
    try:
        server.query("preparing the session", SESSION)
    except BaseException:
        server.close()
        raise
    return server


def open_connection(config: "Config", **keywords: "ConnParam") -> "psycopg.Connection[tuple[object, ...]]":
    """A bare connection; keywords of libpq go before those of the settings. Raises PostgresError, ServerGone."""
    parameters: dict[str, ConnParam] = {"client_encoding": "UTF8", **KEEPALIVES, **config.postgres_parameters()}
    parameters.update(keywords)
    if not any(config.is_set(key) for key in ("PGHOST", "PGHOSTADDR", "PGSERVICE")):
        parameters.update(_local_socket(config.text("PGPORT", "5432")))
    try:
        return psycopg.connect(make_conninfo("", **parameters), autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        is_answer = error.sqlstate not in (None, errors.CannotConnectNow.sqlstate)
        raise (PostgresError if is_answer else ServerGone)(
            f"cannot connect to PostgreSQL at {_asked_for(parameters)}: {first_line(error)}",
            "Is the server running? PGHOST (also a socket directory), PGPORT, PGUSER, PGDATABASE and PGPASSFILE "
            "say how to connect.",
        ) from error


def place_of(connection: "psycopg.Connection[tuple[object, ...]]") -> str:
    """Host, port, user and database of a connection, for messages."""
    info = connection.info
    return f"host {info.host!r} port {info.port} user {info.user!r} database {info.dbname!r}"


def _local_socket(port: str) -> "dict[str, ConnParam]":
    """Where a local server's socket is: psycopg's own libpq looks in /tmp alone, Debian's servers are elsewhere."""
    for directory in SOCKET_DIRECTORIES:
        if os.path.exists(f"{directory}/.s.PGSQL.{port}"):
            return {"host": directory}
    return {}


def _asked_for(parameters: "dict[str, ConnParam]") -> str:
    names = {"host": "host", "port": "port", "user": "user", "dbname": "database"}
    return " ".join(f"{names[key]} {parameters[key]!r}" for key in names if key in parameters) or "libpq's defaults"


def first_line(error: psycopg.Error) -> str:
    """The server's message, without the context and the cursor under the statement that follow it."""
    return (error.diag.message_primary or str(error)).strip().partition("\n")[0] or type(error).__name__


def _integer(value: object) -> int:
    return int(str(value))


def log_notice(notice: errors.Diagnostic) -> None:
    """Log what a server tells: of warnings the level stays."""
    level = logging.WARNING if notice.severity_nonlocalized == "WARNING" else logging.INFO
    logger.log(level, "PostgreSQL: %s", notice.message_primary)
