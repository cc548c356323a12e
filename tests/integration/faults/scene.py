"""One archive, one data directory and the five commands on them."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.fixtures.cluster import Cluster
from tests.fixtures.stored_backup import StoredBackup, tar
from tests.integration.faults.commands import Ended, Run
from tests.unit.wal.synthetic import FIRST, DataDirectory, segment
from walpy.archive import open_archive
from walpy.config import Config
from walpy.postgres.control import CONTROL_FILE, read_control
from walpy.storage.base import Storage

COMMANDS = ("wal-push", "wal-fetch", "backup-push", "backup-fetch", "backup-list")
WRITING = ("wal-push", "backup-push")
NEW = "000000010000000000000003"  # a segment that the archive does not hold; it holds FIRST
SMALL_BACKUP = "base_00000001000000F000000002"  # no backup of the server gets this name
SESSION_SECONDS = 2.0  # in which a server's process notices that its client is gone
SEGMENT_SIZE = 16 << 20  # bytes; no codec makes these segments smaller, so that S3 gets them in parts


@dataclass(frozen=True)
class Scene:
    """folder: where everything local lies. settings: of the commands. direct: the archive, around all faults.

    temporary: name of the folder for temporary files.
    """

    folder: Path
    settings: Mapping[str, str]
    direct: Config
    server: Cluster
    temporary: str = "tmp"

    def prepare(self) -> "Scene":
        """Archive a segment and a small backup, and make a data directory of the server's with another segment."""
        data = DataDirectory(self.data)
        shutil.copyfile(self.server.data_directory / CONTROL_FILE, self.data / CONTROL_FILE)
        data.add(NEW, self.segment(NEW))
        archive = open_archive(self.direct)
        archive.put_wal(FIRST, [self.segment(FIRST)])
        small = StoredBackup(self.folder / "small-backup", SMALL_BACKUP)
        small.parts["part_002"] = tar({"/base/1/2604": b"pg_attrdef" * 5000})
        small.sentinel = small.sentinel._replace(system_identifier=self.system_identifier)
        copy_tree(small.store().folder, archive.storage)
        archive.close()
        return self

    @cached_property
    def system_identifier(self) -> int:
        """The server's."""
        return read_control(str(self.server.data_directory / CONTROL_FILE)).system_identifier

    def segment(self, name: str) -> bytes:
        """Content of a segment of the server."""
        return segment(name, system_identifier=self.system_identifier, size=SEGMENT_SIZE)

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    @property
    def destination(self) -> Path:
        """Where backup-fetch restores to."""
        return self.folder / "restored"

    def arguments(self, command: str) -> Sequence[str]:
        """Command line of a command."""
        return {
            "wal-push": ["wal-push", f"pg_wal/{NEW}"],
            "wal-fetch": ["wal-fetch", FIRST, "pg_wal/RECOVERYXLOG"],
            "backup-push": ["backup-push", str(self.server.data_directory)],
            "backup-fetch": ["backup-fetch", str(self.destination), "LATEST"],
            "backup-list": ["backup-list"],
        }[command]

    def start(self, command: str, *, options: Mapping[str, object] = {}, **settings: str) -> Run:
        """Start one of the five commands; options: of Popen."""
        return self._start(self.arguments(command), options, settings)

    def run(self, arguments: Sequence[str], **settings: str) -> Ended:
        """Run any command line to its end."""
        return self._start(arguments, {}, settings).end()

    def _start(self, arguments: Sequence[str], options: Mapping[str, object], settings: Mapping[str, str]) -> Run:
        connection = {
            "PGHOST": str(self.server.socket_directory),
            "PGPORT": str(self.server.port),
            "PGUSER": "postgres",
            "PGDATABASE": "postgres",
        }
        no_prefetch = {"WALG_DOWNLOAD_CONCURRENCY": "1"} if arguments[0] == "wal-fetch" else {}
        return Run(
            *arguments,
            cwd=self.data,
            temporary=self.folder / f"temporary-{self.temporary}",
            settings={**connection, **no_prefetch, **self.settings, **settings},
            **options,
        )

    def objects(self) -> dict[str, int]:
        """Names and sizes of everything that the archive shows; but the cluster's identity."""
        archive = open_archive(self.direct)
        try:
            return {item.name: item.size for item in archive.storage.list() if not item.name.startswith("walpy_005")}
        finally:
            archive.close()

    def check_no_backup_runs(self) -> None:
        """Assert that no session of walpy is left in the server: a backup ends with its session."""
        deadline = time.monotonic() + SESSION_SECONDS
        sessions = "select count(*) from pg_stat_activity where application_name = 'wal-g'"
        while self.server.execute(sessions) != "0":
            assert time.monotonic() < deadline, self.server.execute("select * from pg_stat_activity")
            time.sleep(0.05)


def copy_tree(folder: Path, storage: Storage) -> None:
    """Put every file below a folder into a storage."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            storage.put(path.relative_to(folder).as_posix(), [path.read_bytes()])


def folder_scene(folder: Path, server: Cluster) -> Scene:
    """Commands on an archive in a folder."""
    (folder / "archive").mkdir()
    settings = {"WALG_FILE_PREFIX": str(folder / "archive")}
    return Scene(folder, settings, Config.from_mapping(settings), server)


def wait_for_query(server: Cluster, pattern: str) -> None:
    """Wait until a session of walpy runs a query."""
    deadline = time.monotonic() + 60
    sql = (
        "select count(*) from pg_stat_activity where application_name = 'wal-g' and state = 'active' "
        f"and query ilike '{pattern}'"
    )
    while server.execute(sql) == "0":
        assert time.monotonic() < deadline, server.log_tail()
        time.sleep(0.05)
