"""wal-receive: archives the WAL that a server streams, segment by segment, without an archive_command.

A replication slot makes the server keep what is not archived yet: it hears of a segment when the archive holds it,
durably, and never before. Whoever is killed, server or wal-receive, nothing is lost: the next stream begins with the
segment that the slot tells. Every segment must follow the one before, and fit its name, its timeline and its cluster.

Memory: as wal_push for each of MOST_UPLOADS segments. Disk: the segments on their way, without a name, in TMPDIR.
"""

import logging
import re
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from walpy.errors import DataCorrupt, InvalidWal, PostgresError, ServerGone, WalConflict
from walpy.postgres.lsn import Lsn, format_lsn
from walpy.postgres.replication import NO_LSN, Data, KeepAlive, Replication, TimelineEnd
from walpy.postgres.replication_connection import Identity
from walpy.postgres.server import connect
from walpy.wal.files import SourceFile, write_all
from walpy.wal.history import history_name, parse_history
from walpy.wal.identity import check_identity
from walpy.wal.push import WalPush
from walpy.wal.segment import segment_name, segment_of_lsn
from walpy.wal.validate import Cluster, find_fault

if TYPE_CHECKING:
    from walpy.archive import Archive

SLOT_KEY = "WALG_SLOTNAME"
SLOT_NAME = re.compile("[a-z0-9_]{1,63}")  # PostgreSQL's rule

MOST_UPLOADS = 4  # segments that are received and not stored yet, besides the one that is being received
STATUS_SECONDS = 10.0  # between two acknowledgements; as WAL-G, and a sixth of wal_sender_timeout's default
RECONNECT_SECONDS = 5.0  # after the server has gone

SEGMENT_SIZE = "SELECT setting::int FROM pg_settings WHERE name = 'wal_segment_size'"
SLOT = "SELECT slot_type, active_pid, restart_lsn - '0/0'::pg_lsn FROM pg_replication_slots WHERE slot_name = %s"

logger = logging.getLogger(__name__)


def wal_receive(archive: "Archive") -> NoReturn:
    """Receive and archive WAL until something ends it: a signal, or an error that time does not heal.

    A server that has gone is waited for, but not at the start. Raises ConfigError, PostgresError, StorageError,
    WalConflict, InvalidWal.
    """
    receiver = WalReceiver(archive)
    while True:
        try:
            receiver.run()
        except ServerGone as error:
            if not receiver.has_streamed:
                raise
            logger.warning("%s; connecting again every %.0f seconds", error, RECONNECT_SECONDS)
        time.sleep(RECONNECT_SECONDS)


class WalReceiver:
    """What one wal-receive knows. has_streamed: whether the server has ever sent WAL.

    Raises ConfigError, and as Archive.check_writable.
    """

    def __init__(self, archive: "Archive") -> None:
        self.has_streamed = False
        self._archive = archive
        self._config = archive.config
        self._slot_name = self._config.text(SLOT_KEY)
        if not SLOT_NAME.fullmatch(self._slot_name):
            raise self._config.invalid(SLOT_KEY, "expected at most 63 of a-z, 0-9 and _")
        self._cluster: Cluster | None = None
        archive.check_writable()

    def run(self) -> None:
        """Connect, and receive until the server goes. Raises as wal_receive, and ServerGone."""
        segment_size, kept = self._ask_server()
        with Replication(self._config) as stream:
            identity = stream.identify()
            self._check_cluster(Cluster(identity.system_identifier, segment_size))
            if kept is None:
                stream.create_slot(self._slot_name)
                logger.info("Created the replication slot %r", self._slot_name)
                _, kept = self._ask_server()
            start = kept or identity.lsn
            timeline = self._timeline_of(stream, identity, start)
            while True:
                timeline, start = self._receive_timeline(stream, timeline, start)
                self._store_history(stream, timeline)

    def _ask_server(self) -> tuple[int, Lsn | None]:
        """The segments' size, and where the slot keeps the WAL from.

        NO_LSN: it keeps none yet; None: there is no slot. Raises PostgresError for a slot that is of no use.
        """
        with connect(self._config) as server:
            ((segment_size,),) = server.query("reading the segment size", SEGMENT_SIZE)
            rows = server.query("reading the replication slot", SLOT, [self._slot_name])
        if not rows:
            return int(str(segment_size)), None
        ((kind, user, lsn),) = rows
        if kind != "physical":
            raise PostgresError(f"the replication slot {self._slot_name!r} is {kind}", f"Set {SLOT_KEY} to another.")
        if user is not None:
            raise ServerGone(
                f"the replication slot {self._slot_name!r} is in use by the server process {user}",
                "Another wal-receive is at work, or the server has not noticed yet that an earlier one is gone.",
            )
        return int(str(segment_size)), Lsn(int(str(lsn))) if lsn is not None else NO_LSN

    def _check_cluster(self, cluster: Cluster) -> None:
        """Raise InvalidWal when the server, or the archive, is another cluster's."""
        if self._cluster not in (None, cluster):
            raise InvalidWal(f"another cluster answers now: {cluster} instead of {self._cluster}")
        if self._cluster is None:
            check_identity(self._archive, cluster.system_identifier, None)
            self._cluster = cluster

    def _timeline_of(self, stream: Replication, identity: Identity, lsn: Lsn) -> int:
        """Timeline that the byte at lsn belongs to; the history that tells is archived."""
        content = self._store_history(stream, identity.timeline) if identity.timeline > 1 else None
        if content is None:
            return identity.timeline
        rows = parse_history(content.decode("utf-8", "replace"), history_name(identity.timeline))
        return next((int(row.timeline) for row in rows if row.lsn > lsn), identity.timeline)

    def _store_history(self, stream: Replication, timeline: int) -> bytes | None:
        content = stream.history(timeline)
        if content is not None:
            with tempfile.TemporaryFile() as file:
                file.write(content)
                file.flush()
                self._store(file, history_name(timeline))
        return content

    def _receive_timeline(self, stream: Replication, timeline: int, start: Lsn) -> tuple[int, Lsn]:
        """Receive the WAL of a timeline from the segment of start on; the next timeline, and where it begins."""
        assert self._cluster
        size = self._cluster.segment_size
        first = segment_of_lsn(start, size)
        begin = Lsn(first * size)
        stream.start(self._slot_name, begin, timeline)
        logger.info("Receiving WAL from %s of timeline %d", format_lsn(begin), timeline)
        with closing(_Uploads(self, begin)) as uploads, closing(_Incoming(timeline, first, size)) as incoming:
            while True:
                message = stream.receive(uploads.seconds_to_status())
                if isinstance(message, Data):
                    self.has_streamed = True
                    for whole in incoming.add(message):
                        uploads.add(whole, stream, incoming.lsn)
                elif isinstance(message, TimelineEnd):
                    break
                uploads.tell(
                    stream, incoming.lsn, is_wanted=isinstance(message, KeepAlive) and message.is_answer_wanted
                )
            uploads.finish()
            if incoming.rest.size:
                self._store_partial(incoming.rest)
        logger.info("Timeline %d ends at %s: %d follows", timeline, format_lsn(message.lsn), message.timeline)
        return message.timeline, message.lsn

    def store_segment(self, segment: "_Segment") -> None:
        """Archive a whole segment. Raises InvalidWal when it is not what its name says."""
        with closing(segment):
            self._store(segment.file, segment.name)

    def _store_partial(self, segment: "_Segment") -> None:
        """Archive the beginning of a segment that its timeline ends in, filled up with zeros, as WAL-G does."""
        segment.file.truncate(segment.room)
        try:
            self._store(segment.file, f"{segment.name}.partial")
        except WalConflict as error:  # a promoted standby archives its own, with what else its file held
            logger.warning("%s", error)

    def _store(self, file: BinaryIO, name: str) -> None:
        push = WalPush(self._archive, name)
        with SourceFile(f"/proc/self/fd/{file.fileno()}", name) as source:
            fault = find_fault(name, source.head(), source.size, self._cluster)
            if fault:
                raise InvalidWal(f"the server's WAL {name!r} is not archived: {fault}")
            push.upload(source)
        push.metadata.store_of(name, time.time_ns())


class _Segment:
    """A segment on its way, in a file without a name. room: bytes of a whole one; size: those that are there."""

    def __init__(self, name: str, room: int) -> None:
        self.name = name
        self.room = room
        self.size = 0
        self.file: BinaryIO = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by close()

    def add(self, content: memoryview) -> None:
        write_all(self.file.fileno(), content)
        self.size += len(content)

    def close(self) -> None:
        self.file.close()


class _Incoming:
    """The segments of one timeline as their bytes arrive. rest: the one that is not whole; it may be empty."""

    def __init__(self, timeline: int, number: int, size: int) -> None:
        self._timeline = timeline
        self._number = number
        self._size = size
        self.rest = self._next()

    @property
    def lsn(self) -> Lsn:
        """Where the next byte belongs."""
        return Lsn(self._number * self._size + self.rest.size)

    def add(self, data: Data) -> Iterator[_Segment]:
        """Take bytes; yields the segments that they complete. Raises DataCorrupt when they do not follow."""
        if data.start != self.lsn:
            raise DataCorrupt(f"the server sent WAL from {format_lsn(data.start)} on instead of {format_lsn(self.lsn)}")
        content = data.content
        while content:
            count = min(len(content), self._size - self.rest.size)
            self.rest.add(content[:count])
            content = content[count:]
            if self.rest.size == self._size:
                whole = self.rest
                self._number += 1
                self.rest = self._next()
                yield whole

    def close(self) -> None:
        self.rest.close()

    def _next(self) -> _Segment:
        return _Segment(segment_name(self._timeline, self._number, self._size), self._size)


class _Uploads:
    """Segments that are being stored, in their order, and what the server is told of them."""

    def __init__(self, receiver: WalReceiver, stored: Lsn) -> None:
        """stored: what is archived already."""
        self._receiver = receiver
        self._stored = self._told = stored
        self._pool = ThreadPoolExecutor(MOST_UPLOADS, "store")
        self._under_way: deque[tuple[Future[None], _Segment, Lsn]] = deque()  # the last: where the segment ends
        self._told_at = 0.0

    def seconds_to_status(self) -> float:
        """How long the server may wait for its next acknowledgement; not long while segments are being stored."""
        rest = max(0.0, self._told_at + STATUS_SECONDS - time.monotonic())
        return min(rest, 0.1) if self._under_way else rest

    def add(self, segment: _Segment, stream: Replication, received: Lsn) -> None:
        """Begin to store a segment; waits while too many are on their way. Raises what storing one raised."""
        try:
            while len(self._under_way) >= MOST_UPLOADS:
                wait([self._under_way[0][0]], STATUS_SECONDS)
                self.tell(stream, received, is_wanted=False)
        except BaseException:
            segment.close()
            raise
        end = self._under_way[-1][2] if self._under_way else self._stored
        future = self._pool.submit(self._receiver.store_segment, segment)
        self._under_way.append((future, segment, Lsn(end + segment.room)))

    def tell(self, stream: Replication, received: Lsn, *, is_wanted: bool) -> None:
        """Acknowledge what is stored: when it has become more, when it is time, and when the server wants it.

        Raises what storing one raised.
        """
        self._collect()
        if is_wanted or self._stored != self._told or time.monotonic() - self._told_at >= STATUS_SECONDS:
            stream.acknowledge(self._stored, received)
            if is_wanted:  # perhaps it shuts down, and waits for all that it has sent
                stream.acknowledge(NO_LSN, received)
            self._told, self._told_at = self._stored, time.monotonic()

    def finish(self) -> None:
        """Wait until all is stored. Raises what storing one raised."""
        wait([future for future, _, _ in self._under_way])
        self._collect()

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for future, segment, _ in self._under_way:
            if future.cancelled():
                segment.close()

    def _collect(self) -> None:
        while self._under_way and self._under_way[0][0].done():
            future, _, end = self._under_way.popleft()
            future.result()
            self._stored = end
