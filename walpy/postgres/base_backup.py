"""BASE_BACKUP of the replication protocol: the server's own base backup as a stream of tars, and its manifest.

Up to PostgreSQL 14 each archive comes by a COPY of its own, the manifest by a last one. From 15 on there is one COPY,
whose messages tell by their first byte what they are. A failure of the server ends a COPY as its end does: what follows
it tells them apart, and is looked at before anybody hears that an archive has ended.

Memory: what libpq has read ahead, some messages of 32 KiB.
Source: PostgreSQL, "Streaming Replication Protocol", BASE_BACKUP; src/backend/backup/basebackup.c.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple

import psycopg
from psycopg import errors, pq

from walpy.errors import DataCorrupt, PostgresError
from walpy.postgres.lsn import Lsn, parse_lsn
from walpy.postgres.replication_connection import ReplicationConnection, rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg.abc import ConnParam

    from walpy.config import Config

OLDEST_VERSION = 13_00_00  # the first with manifests
ONE_COPY_VERSION = 15_00_00  # one COPY for all archives, and options in parentheses
LEAST_RATE, LARGEST_RATE = 32, 1 << 20  # KiB a second, that MAX_RATE takes
DATA_ARCHIVE: Final = "base.tar"

_ARCHIVE, _DATA, _MANIFEST, _PROGRESS = b"n", b"d", b"m", b"p"  # first bytes of the messages of the one COPY
_WHAT: Final = "BASE_BACKUP"


@dataclass(frozen=True, slots=True)
class BaseBackupOptions:
    """What the server is asked for.

    max_rate: KiB a second, 0 for no limit. verify_checksums: of pages, by the server. waits_for_archive: it ends the
    backup when its archiver has all WAL of it.
    """

    label: str
    max_rate: int = 0
    verify_checksums: bool = False
    waits_for_archive: bool = False


class SentTablespace(NamedTuple):
    """A tablespace of its own archive: its OID, and where the server has it."""

    oid: int
    location: str


class BackupStart(NamedTuple):
    """Where a backup begins, and the tablespaces beside the data directory."""

    lsn: Lsn
    timeline: int
    tablespaces: tuple[SentTablespace, ...]


class BackupEnd(NamedTuple):
    """Where a backup ends; has_corrupt_pages: the server found some, and has named them in warnings."""

    lsn: Lsn
    timeline: int
    has_corrupt_pages: bool


class SentArchive(NamedTuple):
    """One tar of the stream, or the manifest.

    tablespace: OID; None for the data directory. chunks: its bytes; a chunk stays valid. To be read before the next
    archive is asked for.
    """

    chunks: Iterator[memoryview]
    tablespace: int | None = None
    is_manifest: bool = False


class BaseBackup(ReplicationConnection):
    """A connection that takes one base backup: start(), archives(), finish(), in this order.

    seconds_waited: for bytes of the server. Every method raises PostgresError, ServerGone.
    """

    def __init__(self, config: "Config", address: "Mapping[str, ConnParam] | None" = None) -> None:
        super().__init__(config, address)
        self.seconds_waited = 0.0
        self._is_running = False
        self._verifies_checksums = False
        self._ahead: pq.abc.PGresult | None = None  # what came behind a COPY
        self._next_message: memoryview | None = None  # what begins the next archive
        self._listed: list[SentArchive] = []  # those to come, without their chunks, in their order

    def close(self) -> None:
        """Close the connection; the server ends a backup that is not finished."""
        if self._is_running:
            self._is_running = False
            self._cancel()
        super().close()

    def start(self, options: BaseBackupOptions) -> BackupStart:
        """Start the backup, with a fast checkpoint."""
        command = base_backup_command(options, self.version_num)
        self._verifies_checksums = options.verify_checksums
        try:
            self._libpq.send_query(command.encode())
        except psycopg.Error as error:
            raise self._gone(_WHAT, error) from error
        self._is_running = True
        ((lsn, timeline, *_),) = self._next_rows()
        rows = [(oid, location.decode("utf-8", "surrogateescape")) for oid, location, *_ in self._next_rows()]
        self._listed = [SentArchive(iter(()), int(oid) if oid else None) for oid, _ in rows]
        tablespaces = tuple(SentTablespace(int(oid), location) for oid, location in rows if oid)
        return BackupStart(parse_lsn(lsn.decode()), int(timeline), tablespaces)

    def archives(self) -> Iterator[SentArchive]:
        """What the server sends, the manifest as the last one. Raises DataCorrupt for messages that make no sense."""
        if self.version_num >= ONE_COPY_VERSION:
            yield from self._archives_of_one_copy()
            return
        for archive in (*self._listed, SentArchive(iter(()), is_manifest=True)):
            chunks = self._copy()
            yield archive._replace(chunks=chunks)
            _read_to_end(chunks)

    def finish(self) -> BackupEnd:
        """Take the end of the backup: from here on the server has no part in it any more."""
        ((lsn, timeline, *_),) = self._next_rows()
        has_corrupt_pages = False
        try:
            self._expect(self._result(), pq.ExecStatus.COMMAND_OK, _WHAT)
        except PostgresError as error:
            # All was sent, and told: this says only that warnings about pages were among the messages before.
            if not (self._verifies_checksums and isinstance(error.__cause__, errors.DataCorrupted)):
                raise
            has_corrupt_pages = True
        self._is_running = False
        return BackupEnd(parse_lsn(lsn.decode()), int(timeline), has_corrupt_pages)

    def _archives_of_one_copy(self) -> Iterator[SentArchive]:
        messages = self._copy()
        self._next_message = next(messages, None)
        while self._next_message is not None:
            archive = _announced(self._next_message)
            if archive.tablespace is not None and archive.tablespace not in {
                known.tablespace for known in self._listed
            }:
                raise DataCorrupt(f"a base backup holds tablespace {archive.tablespace}, which was not announced")
            chunks = self._chunks_of_one(messages)
            yield archive._replace(chunks=chunks)
            _read_to_end(chunks)

    def _chunks_of_one(self, messages: Iterator[memoryview]) -> Iterator[memoryview]:
        self._next_message = None
        for message in messages:
            kind = bytes(message[:1])
            if kind == _DATA:
                yield message[1:]
            elif kind in (_ARCHIVE, _MANIFEST):
                self._next_message = message
                return
            elif kind != _PROGRESS:
                raise DataCorrupt(f"unknown message {kind!r} in a base backup")

    def _copy(self) -> Generator[memoryview, None, None]:
        """Messages of the next COPY, to its good end."""
        self._expect(self._result(), pq.ExecStatus.COPY_OUT, _WHAT)
        try:
            while True:
                count, content = self._libpq.get_copy_data(1)
                if count > 0:
                    yield memoryview(content)
                elif count < 0:
                    break
                else:
                    self._receive()
        except psycopg.Error as error:
            raise self._gone(_WHAT, error) from error
        self._ahead = self._result()
        if self._ahead is None or self._ahead.status == pq.ExecStatus.FATAL_ERROR:
            self._expect(self._ahead, pq.ExecStatus.TUPLES_OK, _WHAT)

    def _next_rows(self) -> list[list[bytes]]:
        result = self._result()
        self._expect(result, pq.ExecStatus.TUPLES_OK, _WHAT)
        assert result is not None
        return rows_of(result)

    def _result(self) -> "pq.abc.PGresult | None":
        """The server's next answer."""
        if self._ahead is not None:
            result, self._ahead = self._ahead, None
            return result
        try:
            while self._libpq.is_busy():
                self._receive()
            return self._libpq.get_result()
        except psycopg.Error as error:
            raise self._gone(_WHAT, error) from error

    def _receive(self) -> None:
        began = perf_counter()
        self._wait_for_input()
        self.seconds_waited += perf_counter() - began


def base_backup_command(options: BaseBackupOptions, version_num: int) -> str:
    """The command, as the version understands it. Raises PostgresError for one without manifests."""
    if version_num < OLDEST_VERSION:
        raise PostgresError(
            f"the server has version {version_num // 10000} of PostgreSQL",
            f"Backups need version {OLDEST_VERSION // 10000} or later.",
        )
    label = options.label.replace("'", "''")
    manifest = "MANIFEST 'yes'", "MANIFEST_CHECKSUMS 'CRC32C'"
    rate = [f"MAX_RATE {min(max(options.max_rate, LEAST_RATE), LARGEST_RATE)}"] if options.max_rate else []
    if version_num >= ONE_COPY_VERSION:
        flags = {"WAIT": options.waits_for_archive, "VERIFY_CHECKSUMS": options.verify_checksums}
        words = [f"LABEL '{label}'", "CHECKPOINT 'fast'", "WAL false", "TABLESPACE_MAP true", *manifest, *rate]
        return f"BASE_BACKUP ({', '.join(words + [f'{name} {str(value).lower()}' for name, value in flags.items()])})"
    words = [f"LABEL '{label}'", "FAST", "TABLESPACE_MAP", *manifest, *rate]
    words += [] if options.waits_for_archive else ["NOWAIT"]
    words += [] if options.verify_checksums else ["NOVERIFY_CHECKSUMS"]
    return f"BASE_BACKUP {' '.join(words)}"


def _announced(message: memoryview) -> SentArchive:
    """What a message says that follows. Raises DataCorrupt."""
    kind, body = bytes(message[:1]), bytes(message[1:])
    if kind == _MANIFEST:
        return SentArchive(iter(()), is_manifest=True)
    name = body.partition(b"\0")[0].decode("utf-8", "replace")
    if kind == _ARCHIVE and name == DATA_ARCHIVE:
        return SentArchive(iter(()))
    oid = name.removesuffix(".tar")
    if kind == _ARCHIVE and oid != name and oid.isascii() and oid.isdigit():
        return SentArchive(iter(()), int(oid))
    raise DataCorrupt(f"a base backup goes on with {kind + body[:100]!r}, which is no archive")


def _read_to_end(chunks: Iterator[memoryview]) -> None:
    for _ in chunks:
        pass
