"""catchup-send: sends a stopped standby what changed on this server since the standby's position.

As in a backup, the server starts one before the first file is listed, and stops it after the last one was read;
pg_control is read last. Files that the standby has go as their changed pages, all others whole; what it has and the
server has not is removed. Unlike in WAL-G, no file is left out because of its modification time.

Memory: the standby's list of names and the server's listing, about 600 bytes a file each; one piece of 1 MiB.
"""

import logging
import mmap
from array import array
from collections.abc import Collection, Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from walpy.backup.catchup_base import without_configuration
from walpy.backup.cut import Blocks, OpenFile, Span
from walpy.backup.increment import encode_head, member_size
from walpy.backup.rate_limits import DISK_LIMIT, NETWORK_LIMIT
from walpy.backup.source_files import Pages, Pass, SourceFiles
from walpy.backup.special_tars import LABEL, TABLESPACE_MAP
from walpy.backup.start_stop import check_cluster, check_timeline, list_files, start_backup
from walpy.catchup.data_files import FOLDERS
from walpy.catchup.wire import Command, Link, cipher_of
from walpy.errors import BackupError, DataCorrupt
from walpy.postgres.control import read_control_bytes
from walpy.postgres.exclusions import is_excluded_directory, is_excluded_file
from walpy.postgres.keep_alive import KeepAlive
from walpy.postgres.lsn import format_lsn
from walpy.postgres.page import has_increments
from walpy.postgres.server import Server, ServerFacts, connect
from walpy.storage.limit import RateLimiter
from walpy.stream.pieces import PIECE_SIZE

if TYPE_CHECKING:
    from walpy.backup.start_stop import RunningBackup
    from walpy.config import Config
    from walpy.postgres.datadir import Listing
    from walpy.postgres.entry import Entry
    from walpy.progress import Progress

CONTROL_NAME: Final = "global/pg_control"

logger = logging.getLogger(__name__)


class Receiver(NamedTuple):
    """What a receiver says. position: changes are wanted from there on; reached: there are none behind it.

    is_walpy: it makes directories, and confirms.
    """

    system_identifier: int
    timeline: int
    position: int
    reached: int
    is_walpy: bool
    names: Collection[str]


def catchup_send(config: "Config", directory: str, destination: str, progress: "Progress") -> None:
    """Bring the standby forward for which catchup-receive listens at `host:port`; directory: of the running server.

    Success means that walpy's receiver has everything, durably; WAL-G's does not tell. Raises WalpyError.
    """
    cipher = cipher_of(config)
    with connect(config) as server:
        facts = server.facts()
        check_cluster(config, facts, directory)
        with (
            closing(Link.to(destination, cipher)) as link,
            KeepAlive(server, config.seconds("WALG_ALIVE_CHECK_INTERVAL")) as alive,
        ):
            receiver = _hear(link, server)
            _check(receiver, facts)
            limits = [RateLimiter.from_config(config, key) for key in (DISK_LIMIT, NETWORK_LIMIT)]
            sending = _Sending(link, server, facts, receiver, alive, progress, limits[0], limits[1])
            sending.run(destination)


def _hear(link: Link, server: Server) -> Receiver:
    control, files = link.get(), link.get()
    if not isinstance(control, dict) or not isinstance(files, dict):
        raise DataCorrupt("the receiver sent something else than its state", "Is it catchup-receive?")
    logger.info("Received file list of %d files", len(files))
    checkpoint: int = control.get("Checkpoint", 0)
    position: int | None = control.get("Position")
    return Receiver(
        control.get("SystemIdentifier", 0),
        control.get("CurrentTimeline", 0),
        _careful_position(checkpoint, server) if position is None else position,
        control.get("Reached", checkpoint),
        position is not None,
        frozenset(files),
    )


def _careful_position(checkpoint: int, server: Server) -> int:
    """From where WAL-G's receiver needs changes: it tells the checkpoint's own location, and needs its redo location.

    The server makes a checkpoint after max_wal_size of WAL at the latest, or nearly so.
    """
    ((size,),) = server.query(
        "reading max_wal_size", "SELECT pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_wal_size'))"
    )
    return max(1, checkpoint - 2 * int(str(size)))


def _check(receiver: Receiver, facts: ServerFacts) -> None:
    if receiver.system_identifier != facts.system_identifier:
        raise BackupError(
            f"System identifiers do not match: the standby's is {receiver.system_identifier}, "
            f"the server's {facts.system_identifier}"
        )
    if receiver.timeline != facts.timeline:
        raise BackupError(
            f"Destination is on timeline {receiver.timeline}, but we are on {facts.timeline}",
            "What the standby wrote may be in no history of the server; restore it from a backup.",
        )


class _Sending(NamedTuple):
    """One run, after the first checks."""

    link: Link
    server: Server
    facts: ServerFacts
    receiver: Receiver
    alive: KeepAlive
    progress: "Progress"
    disk: RateLimiter | None
    network: RateLimiter | None

    def run(self, destination: str) -> None:
        backup = start_backup(self.server, self.facts)
        if backup.lsn <= self.receiver.reached:
            raise BackupError(
                f"Catchup destination is already ahead (our LSN {format_lsn(backup.lsn)}, "
                f"destination LSN {format_lsn(self.receiver.reached)})."
            )
        logger.info("Sends the pages since %s", format_lsn(self.receiver.position))
        listing = list_files(self.facts.data_directory, recorded=False)
        entries = without_configuration(listing.entries)
        self._check_places(listing, entries)
        self._send_files([entry for entry in entries if entry.is_file])
        gone = gone_names(self.receiver.names, listing)
        if gone:
            self.link.put_command(Command("IsDelete", names=tuple(gone)))
        self._finish(backup, listing)
        is_confirmed = self.link.is_confirmed()
        if self.receiver.is_walpy and not is_confirmed:
            raise BackupError(
                f"the receiver at {destination} did not confirm that it has everything",
                "Its own messages say why; run both commands again.",
            )
        logger.info("Send done")
        logger.info("Sent %.1f MB to %s", self.link.sent / 1e6, destination)

    def _check_places(self, listing: "Listing", entries: "Iterable[Entry]") -> None:
        """Raise BackupError for places that the receiver does not make."""
        known = self.receiver.names
        missing = [link.link for link in listing.tablespaces if link.link not in known]
        if missing:
            raise BackupError(
                f"the standby has no {', '.join(missing)}: tablespaces are not made by catchup-receive",
                "Make each a link to an empty directory on the standby's host, and run both commands again.",
            )
        if not self.receiver.is_walpy:
            folders = {entry.name[1:].rpartition("/")[0] for entry in entries if entry.is_file}
            missing = sorted(folder for folder in folders if folder and folder not in known)
            if missing:
                raise BackupError(
                    f"the standby has no directory {', '.join(missing)}, and WAL-G's catchup-receive makes none",
                    "Make them there, or run walpy there.",
                )

    def _send_files(self, entries: "list[Entry]") -> None:
        files = SourceFiles(Pages(self.facts.page_size, None, self.receiver.position), self.disk)
        buffer = memoryview(mmap.mmap(-1, PIECE_SIZE))
        self.progress.start(sum(entry.size for entry in entries), "catchup")
        try:
            for entry in entries:
                self.alive.check()
                is_known = entry.name[1:] in self.receiver.names
                has_base = is_known and has_increments(entry.name, entry.size, self.facts.page_size)
                self._send_file(files, entry._replace(has_base=has_base), buffer)
                self.progress.advance(entry.size)
        finally:
            files.close()
            self.progress.finish()

    def _send_file(self, files: SourceFiles, entry: "Entry", buffer: memoryview) -> None:
        file = files.open(entry)
        if file is None:
            return
        try:
            changed = _changed_pages(files, file, buffer) if entry.has_base else None
            name, page_size = entry.name[1:], self.facts.page_size
            if changed is None:
                self.link.put_command(Command("IsFull", name, entry.size))
                for offset in range(0, entry.size, PIECE_SIZE):
                    file.hold()
                    self._put(files, Span(file, offset, min(PIECE_SIZE, entry.size - offset)), buffer)
                return
            self.link.put_command(Command("IsIncremental", name, member_size(len(changed), page_size)))
            self.link.put_bytes(encode_head(entry.size, changed))
            step = PIECE_SIZE // page_size
            for first in range(0, len(changed), step):
                file.hold()
                self._put(files, Blocks(file, changed[first : first + step]), buffer)
        finally:
            file.release()

    def _put(self, files: SourceFiles, item: Span | Blocks, buffer: memoryview) -> None:
        size = files.fill(item, buffer, Pass())
        if self.network is not None:
            self.network.acquire(size)
        self.link.put_bytes(buffer[:size])

    def _finish(self, backup: "RunningBackup", listing: "Listing") -> None:
        self.alive.check()
        stopped = self.server.stop_backup(wait_for_archive=False)
        check_timeline(self.server, backup)
        small = {
            LABEL: stopped.label_file.encode(),
            TABLESPACE_MAP: stopped.tablespace_map.encode(),
            CONTROL_NAME: read_control_bytes(listing.control.path),
        }
        for name, contents in small.items():
            self.link.put_command(Command("IsBinContents", name, contents=contents))
        self.link.put_command(Command("IsDone"))
        self.link.end()


def _changed_pages(files: SourceFiles, file: OpenFile, buffer: memoryview) -> "Any":
    """Numbers of the changed pages of a file; None when it is to be sent whole."""
    numbers = array("I")
    for offset in range(0, file.entry.size, PIECE_SIZE):
        view = buffer[: min(PIECE_SIZE, file.entry.size - offset)]
        found = files.look_through(file, offset, view, Pass())
        if found is None:
            return None
        numbers.extend(found)
    return files.decide(file.entry, numbers)


def gone_names(names: Collection[str], listing: "Listing") -> list[str]:
    """What a standby has in PostgreSQL's folders and the server has not, children before their directories."""
    present = {entry.name[1:] for entry in listing.entries}
    present.update(FOLDERS, (link.link for link in listing.tablespaces))
    return sorted((name for name in names if name not in present and is_removable(name)), reverse=True)


def is_removable(name: str) -> bool:
    """Whether something with this name may be removed from a standby: it is no server's own, and a backup has it."""
    folders, _, base = name.rpartition("/")
    parts = folders.split("/")
    return (
        parts[0] in FOLDERS
        and ".." not in parts
        and not name.startswith(CONTROL_NAME)
        and not any(map(is_excluded_directory, [*parts, base]))
        and not is_excluded_file(base, f"/{folders}")
    )
