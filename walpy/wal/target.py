"""Where a fetched WAL file goes, and what it must be to be handed over."""

import errno
import logging
import os
import stat
from typing import TYPE_CHECKING

from walpy.errors import DataCorrupt, WalpyError
from walpy.storage.base import READ_SIZE
from walpy.wal.files import IncomingFile
from walpy.wal.local import WalDirectory, find_wal_directory
from walpy.wal.segment import WalKind, wal_kind
from walpy.wal.validate import HEADER_SIZE, Cluster, find_fault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from walpy.storage.base import Chunk

logger = logging.getLogger(__name__)


def check_fetched(name: str, head: bytes, size: int, directory: WalDirectory | None) -> None:
    """Raise DataCorrupt when a file must not be handed over as the WAL file name.

    Nothing empty is handed over. In the WAL directory of a data directory a segment must fit its name and its cluster;
    elsewhere (directory None) a warning does. head: the first HEADER_SIZE bytes, or all of a shorter file.
    """
    if size == 0:
        raise DataCorrupt(f"archived WAL file {name!r} is empty")
    if wal_kind(name) is not WalKind.SEGMENT:
        return
    fault = find_fault(name, head, size, _cluster(directory))
    if fault and directory:
        raise DataCorrupt(f"archived WAL file {name!r} is not handed over: {fault}")
    if fault:
        logger.warning("WAL file %s: %s", name, fault)


def _cluster(directory: WalDirectory | None) -> Cluster | None:
    try:
        return directory.cluster() if directory else None
    except WalpyError as error:
        # PostgreSQL compares for itself as well; here a damaged pg_control must not keep it from recovering.
        logger.debug("pg_control of %s is not compared: %s", directory, error)
        return None


class FetchTarget:
    """The destination of one WAL file, which appears complete and checked, or not at all.

    destination: relative to the working directory, or absolute; a file there is replaced, through a link as well.
    Raises WalpyError for anything else that is there.
    """

    def __init__(self, name: str, destination: str, pgdata: str) -> None:
        self._name = name
        self._shown = destination
        self._directory = find_wal_directory(destination, pgdata)
        self._path = self._resolve()

    def receive(self, chunks: "Iterable[Chunk]") -> None:
        """Write chunks to the destination. Raises DataCorrupt, WalpyError, and what chunks raises."""
        try:
            file = self._open_temporary()
        except OSError as error:
            raise self._failure(error) from None
        with file:
            for chunk in chunks:
                try:
                    file.write(chunk)
                except OSError as error:
                    raise self._failure(error) from None
            check_fetched(self._name, file.head(), file.size, self._directory)
            try:
                file.commit()
            except OSError as error:
                raise self._failure(error) from None

    def take(self, path: str) -> None:
        """Move a local file to the destination. Raises DataCorrupt when it must not be handed over, WalpyError.

        Raises FileNotFoundError when there is no such file (any more).
        """
        with open(path, "rb", buffering=0) as file:
            check_fetched(self._name, file.read(HEADER_SIZE), os.fstat(file.fileno()).st_size, self._directory)
            try:
                os.rename(path, self._path)
            except OSError as error:
                if error.errno == errno.ENOENT and not os.path.exists(path):
                    raise
                if error.errno != errno.EXDEV:
                    raise self._failure(error) from None
                file.seek(0)
                self.receive(iter(lambda: file.read(READ_SIZE), b""))
                os.unlink(path)

    def _resolve(self) -> str:
        try:
            status = os.stat(self._shown)
        except FileNotFoundError:
            return os.path.abspath(self._shown)
        except OSError as error:
            raise self._failure(error) from None
        if not stat.S_ISREG(status.st_mode):
            raise WalpyError(f"open {self._shown}: not a regular file")
        return os.path.realpath(self._shown)

    def _open_temporary(self) -> IncomingFile:
        folder, base = os.path.split(self._path)
        temporary = os.path.join(folder, f".{base}.walpy")
        try:
            return IncomingFile(temporary, self._path)
        except BlockingIOError:  # another wal-fetch writes to the same destination
            return IncomingFile(f"{temporary}.{os.getpid()}", self._path)

    def _failure(self, error: OSError) -> WalpyError:
        return WalpyError(f"open {self._shown}: {(error.strerror or '').lower()}")
