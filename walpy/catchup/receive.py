"""catchup-receive: lets one catchup-send bring this stopped standby forward.

Who can connect to the port can overwrite the standby's data files: there is no password in WAL-G's protocol, only the
encryption that the settings ask for. So one connection is taken, and what it may write is bounded: data files, never
configuration.

Before the first change pg_control is set aside; it comes back last. Whole files are written beside their place, and
renamed when they are durable: what an interrupted run leaves in place is either old or complete, or old with pages that
the next sender sends again. So the next run takes it for what it is: a standby at its old position.

Memory: the list of the standby's files, about 600 bytes a file, while it is sent; pieces that wait for their writing
(file_writer.py), and the names of GROUP_FILES files.
"""

import logging
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Final

from walpy.backup.durability import FileSystems, sync_file
from walpy.backup.extract import relative_name
from walpy.backup.file_writer import FileWriter, make_for_increment, writing
from walpy.backup.increment import read_increment
from walpy.backup.restore_spec import TABLESPACE_FOLDER
from walpy.backup.restore_target import may_compress
from walpy.backup.special_tars import LABEL, TABLESPACE_MAP
from walpy.catchup.data_files import FOLDERS, TEMPORARY_SUFFIX, data_files, is_standbys_own, remove
from walpy.catchup.fetch import tell_how_to_start
from walpy.catchup.send import CONTROL_NAME, is_removable
from walpy.catchup.standby import (
    RECEIVED,
    UNFINISHED_CONTROL_FILE,
    Source,
    Standby,
    applying,
    begin,
    check_fits,
    finish,
    label_start,
    read_standby,
    standby_lock,
)
from walpy.catchup.wire import CONTROL, FILE_LIST, NO_TIME, Command, Link, cipher_of, parse_place
from walpy.errors import BackupError, DataCorrupt
from walpy.postgres.control import parse_control
from walpy.postgres.datadir import tablespace_links
from walpy.postgres.exclusions import is_excluded_directory, is_excluded_file
from walpy.postgres.lsn import Lsn, format_lsn
from walpy.wal.files import write_all

if TYPE_CHECKING:
    from walpy.config import Config
    from walpy.postgres.datadir import TablespaceLink
    from walpy.stream.cipher import Cipher

GROUP_FILES: Final = 500  # whole files that get their names together, after one flush
GROUP_SIZE: Final = 256 << 20  # bytes of them
SMALL_SIZE: Final = 1 << 20  # bytes of backup_label, tablespace_map and pg_control, more than they ever have
WRITERS: Final = 2  # threads

logger = logging.getLogger(__name__)


def catchup_receive(config: "Config", directory: str, place: str) -> None:
    """Listen at `port` or `host:port`, and let one sender bring a stopped standby forward.

    Success means complete and durable. Raises WalpyError; a failure after the first change leaves the standby without
    pg_control, and the next run goes on.
    """
    address = parse_place(place, host="::")
    cipher = cipher_of(config)
    directory = os.path.realpath(directory)
    with standby_lock(directory):
        standby = read_standby(directory)
        if standby.unfinished not in ("", RECEIVED):
            begin(standby, RECEIVED)  # refuses
        _remove_temporary(directory)
        with closing(_accepted(address, place, cipher)) as link:
            _say(link, standby)
            with applying(standby, "catchup-receive"), closing(Receiving(link, standby)) as receiving:
                receiving.run()
            link.confirm()
    logger.info("Receive done")
    tell_how_to_start(directory)


def _accepted(address: tuple[str, int], place: str, cipher: "Cipher | None") -> Link:
    """Wait for a sender; nobody else can connect afterwards."""
    host, port = address
    is_anywhere = host == "::"
    try:
        family = socket.AF_INET6 if ":" in host and socket.has_ipv6 else socket.AF_INET
        both = is_anywhere and socket.has_dualstack_ipv6()
        if is_anywhere and not both:
            family, host = socket.AF_INET, ""
        listener = socket.create_server((host, port), family=family, backlog=1, dualstack_ipv6=both)
    except OSError as error:
        raise BackupError(f"cannot listen at {place}: {error.strerror or error}") from error
    with closing(listener):
        logger.info("Waiting for catchup-send at %s", place)
        if is_anywhere and cipher is None:
            logger.warning("whoever reaches port %d can overwrite the standby: give an address, or encrypt", port)
        connection, peer = listener.accept()
    logger.info("Receiving from %s", peer[0])
    return Link(connection, str(peer[0]), cipher)


def _say(link: Link, standby: Standby) -> None:
    """Tell the sender what the standby is, and what files it has."""
    control = standby.control
    logger.info("Our system id %d, need catchup from %s", control.system_identifier, format_lsn(standby.position))
    link.put(
        CONTROL,
        {
            "SystemIdentifier": control.system_identifier,
            "CurrentTimeline": standby.timeline,
            "Checkpoint": standby.position,  # where WAL-G's sender begins
            "Position": standby.position,
            "Reached": standby.reached,
        },
    )
    link.put(FILE_LIST, {name: {"MTime": NO_TIME} for name in _known_names(standby.directory)})
    link.flush()


def _known_names(directory: str) -> Iterator[str]:
    yield from (folder for folder in FOLDERS if os.path.isdir(os.path.join(directory, folder)))
    yield from (link.link for link in tablespace_links(directory))
    yield from (file.name for file in data_files(directory))


def _remove_temporary(directory: str) -> None:
    for file in data_files(directory):
        if file.name.endswith(TEMPORARY_SUFFIX):
            remove(directory, file.name)


class Receiving:
    """The receiver's side, from the sender's first command on; close() it."""

    def __init__(self, link: Link, standby: Standby) -> None:
        self._link = link
        self._standby = standby
        self._directory = standby.directory
        self._has_begun = False
        mode = os.stat(self._directory).st_mode
        self._mode = 0o640 if mode & 0o040 else 0o600  # as PostgreSQL's own, by the data directory's
        self._folder_mode = 0o750 if mode & 0o040 else 0o700
        self._small: dict[str, bytes] = {}
        self._group: list[str] = []
        self._group_size = 0
        self._count = 0
        places = [self._directory, *(os.path.join(self._directory, item.link) for item in _links(self._directory))]
        self._file_systems = FileSystems(places)
        self._pool = ThreadPoolExecutor(WRITERS, thread_name_prefix="receive")
        self._writer = FileWriter(self._pool, lambda _: None, reserves_room=not may_compress(places))

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)
        self._file_systems.__exit__(None, None, None)

    def run(self) -> None:
        """Take all commands. Raises DataCorrupt for what no sender sends, BackupError."""
        while (command := Command.from_gob(self._link.get())).kind != "IsDone":
            self._take(command)
        self._finish()

    def _take(self, command: Command) -> None:
        if command.kind == "IsBinContents":
            self._keep(command)
            return
        self._begin()
        if command.kind == "IsDelete":
            for name in filter(is_removable, map(_checked, command.names)):
                remove(self._directory, name)
            logger.info("Removed %d files and directories that the server does not have any more", len(command.names))
            return
        name = _checked(command.name)
        pieces = self._link.pieces(command.size)
        if not is_wanted(name):
            logger.debug("%s is not taken", name)
            for _ in pieces:
                pass
            return
        self._make_folder(name.rpartition("/")[0])
        path = os.path.join(self._directory, name)
        self._count += 1
        if command.kind == "IsIncremental":
            increment = read_increment(command.size, pieces)
            with writing(path):
                make_for_increment(path, increment)
            self._writer.write_increment(path, self._mode, command.size, increment)
        else:
            self._writer.write(path + TEMPORARY_SUFFIX, self._mode, command.size, pieces)
            self._add_to_group(path, command.size)

    def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            begin(self._standby, RECEIVED)

    def _keep(self, command: Command) -> None:
        if command.name not in (LABEL, TABLESPACE_MAP, CONTROL_NAME) or len(command.contents) > SMALL_SIZE:
            raise DataCorrupt(f"the sender sent the contents of {command.name!r}")
        self._small[command.name] = command.contents

    def _make_folder(self, folder: str) -> None:
        path = os.path.join(self._directory, folder)
        if os.path.isdir(path):
            return
        parts = folder.split("/")
        if parts[0] == TABLESPACE_FOLDER and not os.path.isdir(os.path.join(self._directory, *parts[:2])):
            raise BackupError(
                f"the standby has no tablespace {'/'.join(parts[:2])!r}",
                "Make it a link to an empty directory, and run both commands again.",
            )
        with writing(path):
            os.makedirs(path, self._folder_mode)

    def _add_to_group(self, path: str, size: int) -> None:
        self._group.append(path)
        self._group_size += size
        if len(self._group) >= GROUP_FILES or self._group_size >= GROUP_SIZE:
            self._complete_group()

    def _complete_group(self) -> None:
        """Give whole files their names, once they are durable."""
        self._writer.flush()
        if not self._group:
            return
        self._file_systems.sync()
        for path in self._group:
            with writing(path):
                os.rename(path + TEMPORARY_SUFFIX, path)
        self._group, self._group_size = [], 0

    def _finish(self) -> None:
        missing = [name for name in (LABEL, CONTROL_NAME) if not self._small.get(name)]
        if missing:
            raise DataCorrupt(f"the sender sent no {' and no '.join(missing)}")
        label = self._small[LABEL]
        control = parse_control(self._small[CONTROL_NAME], "pg_control of the sender")
        start = label_start(label.decode("utf-8", "surrogateescape"))
        ends = Lsn(max(start, control.checkpoint_lsn))
        source = Source(control.system_identifier, control.timeline, self._standby.position, start, ends)
        check_fits(self._standby, source)
        self._begin()
        self._complete_group()
        self._put(LABEL, label)
        remove(self._directory, TABLESPACE_MAP)
        self._put(UNFINISHED_CONTROL_FILE, self._small[CONTROL_NAME])
        self._file_systems.sync()
        finish(self._standby)
        logger.info("Took %d files; it needs WAL from %s on", self._count, format_lsn(start))

    def _put(self, name: str, contents: bytes) -> None:
        """Write a small file as a whole, durably."""
        path = os.path.join(self._directory, name)
        temporary = path + TEMPORARY_SUFFIX
        with writing(path):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, self._mode)
            try:
                write_all(descriptor, contents)
            finally:
                os.close(descriptor)
            sync_file(temporary)
            os.rename(temporary, path)


def _links(directory: str) -> "list[TablespaceLink]":
    return [item for item in tablespace_links(directory) if os.path.isdir(item.location)]


def _checked(name: str) -> str:
    """A name below the data directory. Raises DataCorrupt for one that would leave it."""
    if relative_name(name) != name or not name:
        raise DataCorrupt(f"the sender named {name!r}")
    return name


def is_wanted(name: str) -> bool:
    """Whether a file of the sender comes into a standby: not what backups leave out, nor what is the standby's own."""
    folders, _, base = name.rpartition("/")
    return not (
        is_standbys_own(name)
        or name.startswith(CONTROL_NAME)
        or name.endswith(TEMPORARY_SUFFIX)
        or any(map(is_excluded_directory, folders.split("/")))
        or is_excluded_file(base, f"/{folders}")
    )
