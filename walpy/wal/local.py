"""Where things lie on the local disk: the WAL directory of a data directory, and the folder for walpy's own state."""

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from walpy.errors import WalpyError
from walpy.postgres.control import CONTROL_FILE, read_control
from walpy.wal.files import Fingerprint
from walpy.wal.validate import Cluster

if TYPE_CHECKING:
    from walpy.config import Config

WAL_DIRECTORIES = ("pg_wal", "pg_xlog")  # pg_xlog up to PostgreSQL 9.6
SERVER_FILE = "postmaster.pid"  # of a data directory whose server runs
STATE_FOLDER = "walg_data"  # below the WAL directory; WAL-G's name

_clusters: dict[str, tuple[Fingerprint, Cluster]] = {}  # what each pg_control said when it was read last


class WalDirectory(NamedTuple):
    """The WAL directory of a data directory; absolute paths."""

    path: str
    data_directory: str

    @property
    def is_served(self) -> bool:
        """Whether a server runs on the data directory."""
        return os.path.exists(os.path.join(self.data_directory, SERVER_FILE))

    def cluster(self) -> Cluster:
        """Whose WAL this is, by pg_control. Raises DataCorrupt when that is damaged, WalpyError when unreadable."""
        path = os.path.join(self.data_directory, CONTROL_FILE)
        try:
            state = Fingerprint.of(os.stat(path))
            known = _clusters.get(path)
            if known is None or known[0] != state:
                control = read_control(path)
                known = _clusters[path] = state, Cluster(control.system_identifier, control.segment_size)
        except OSError as error:
            raise WalpyError(f"cannot read {path!r}: {error.strerror}") from None
        return known[1]


def find_wal_directory(path: str, pgdata: str = "") -> WalDirectory | None:
    """The WAL directory that directly holds path; None when path lies elsewhere.

    It is one when it is called so beside a global/pg_control, or is where the data directory pgdata (may be empty)
    keeps its WAL. Links in path are left alone: a WAL directory is often a link out of the data directory.
    """
    folder = os.path.dirname(os.path.abspath(path))
    data_directory, name = os.path.split(folder)
    if name in WAL_DIRECTORIES and _has_control(data_directory):
        return WalDirectory(folder, data_directory)
    if pgdata and _has_control(pgdata):
        for name in WAL_DIRECTORIES:
            with contextlib.suppress(OSError):
                if os.path.samefile(folder, os.path.join(pgdata, name)):
                    return WalDirectory(folder, os.path.abspath(pgdata))
    return None


def wal_folder(data_directory: str) -> str | None:
    """Path of a data directory's WAL directory; None when it has none."""
    paths = (os.path.join(data_directory, name) for name in WAL_DIRECTORIES)
    return next((path for path in paths if os.path.isdir(path)), None)


def _has_control(data_directory: str) -> bool:
    return os.path.isfile(os.path.join(data_directory, CONTROL_FILE))


def state_directory(path: str, config: "Config") -> str | None:
    """Folder for local state about the WAL file path: `walg_data`, in WAL-G's place whenever PGDATA is right.

    It lies in the file's own directory when that is a WAL directory (or has an archive_status), else in that of PGDATA.
    None when there is neither: unlike WAL-G, walpy keeps nothing in /tmp, where clusters would meet.
    """
    folder = os.path.dirname(os.path.abspath(path))
    pgdata = config.text("PGDATA")
    if find_wal_directory(path, pgdata) or os.path.isdir(os.path.join(folder, "archive_status")):
        return os.path.join(folder, STATE_FOLDER)
    found = wal_folder(os.path.abspath(pgdata)) if pgdata else None
    return os.path.join(found, STATE_FOLDER) if found else None
