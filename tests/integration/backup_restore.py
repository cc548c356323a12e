"""A restore without walpy: the parts of a backup through a codec's library and the tar program."""

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lz4.frame

from tests.fixtures.cluster import Cluster, give


@dataclass
class StoredBackup:
    """A backup in a folder of file storage, stored with lz4."""

    storage: Path
    name: str
    parts: dict[str, bytes] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.storage / "basebackups_005" / self.name

    def sentinel(self) -> dict[str, Any]:
        return read_json(self.storage / "basebackups_005" / f"{self.name}_backup_stop_sentinel.json")

    def metadata(self) -> dict[str, Any]:
        return read_json(self.folder / "metadata.json")

    def files_metadata(self) -> dict[str, Any]:
        return read_json(self.folder / "files_metadata.json")

    def part_names(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "tar_partitions").iterdir())

    def tar(self, name: str) -> bytes:
        return bytes(lz4.frame.decompress((self.folder / "tar_partitions" / name).read_bytes()))

    def members(self, name: str) -> list[str]:
        """Names of a part's members, as tar lists them."""
        command = ["tar", "--list", "--absolute-names", "--file=-"]
        listing = subprocess.run(command, input=self.tar(name), capture_output=True, check=True).stdout.decode()
        return [line if line == "/" else line.rstrip("/") for line in listing.splitlines()]

    def extract(self, destination: Path) -> None:
        """Make the links of the tablespaces, extract all parts, the control file and the labels last."""
        spec = self.sentinel().get("Spec", {"tablespaces": []})
        for name in spec["tablespaces"]:
            (destination / "pg_tblspc").mkdir(exist_ok=True)
            (destination / "pg_tblspc" / name).symlink_to(spec[name]["loc"])
        last = ("pg_control.tar.lz4", "backup_label.tar.lz4")
        for name in sorted(self.part_names(), key=lambda name: last.index(name) if name in last else -1):
            command = ["tar", "--extract", "--file=-", f"--directory={destination}", "--same-permissions"]
            command.append("--keep-directory-symlink")
            subprocess.run(command, input=self.tar(name), capture_output=True, check=True)


def read_json(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_text())
    assert isinstance(document, dict)
    return document


def newest_backup(storage: Path) -> StoredBackup:
    """The backup whose sentinel was written last."""
    sentinels = sorted((storage / "basebackups_005").glob("*_sentinel.json"), key=lambda path: path.stat().st_mtime_ns)
    return StoredBackup(storage, sentinels[-1].name.removesuffix("_backup_stop_sentinel.json"))


def stored_files(storage: Path) -> list[str]:
    """Every file below the backups' folder."""
    folder = storage / "basebackups_005"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def restore(backup: StoredBackup, cluster: Cluster, settings: dict[str, str], *, signal_file: str = "") -> None:
    """Fill a cluster's data directory and start the server; signal_file: recovery.signal unless another is named."""
    cluster.data_directory.mkdir(mode=0o700)
    backup.extract(cluster.data_directory)
    (cluster.data_directory / (signal_file or "recovery.signal")).touch()
    give(cluster.data_directory)
    for link in (cluster.data_directory / "pg_tblspc").iterdir():
        give(link.resolve())
    cluster.configure(settings)
    cluster.start()
