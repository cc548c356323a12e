"""walpy and WAL-G: one set of settings and commands, so one module for both."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import BUCKET, Bench, tree_size
from benchmarks.services import SinkProcess

S3_SETTINGS = {
    "AWS_S3_FORCE_PATH_STYLE": "true",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
}
TUNED = {"WALG_UPLOAD_DISK_CONCURRENCY": "2", "WALG_TAR_SIZE_THRESHOLD": str(256 << 20)}  # WAL-G with two readers
NO_PREFETCH = {"WALG_DOWNLOAD_CONCURRENCY": "1"}
AGENT_OFF = {"WALPY_AGENT": "off"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a variant stores: a folder, or a prefix in the sink when there is one."""

    folder: Path
    sink: SinkProcess | None = None

    @property
    def settings(self) -> dict[str, str]:
        """The storage's settings."""
        if self.sink is None:
            return {"WALG_FILE_PREFIX": str(self.folder)}
        return {
            "WALG_S3_PREFIX": f"s3://{BUCKET}/{self.folder.name}",
            "AWS_ENDPOINT": self.sink.endpoint,
            **S3_SETTINGS,
        }

    def clear(self, below: str = "") -> None:
        """Remove all objects below a name, such as `wal_005`."""
        if self.sink:
            self.sink.forget(f"{BUCKET}/{self.folder.name}/{below}")
            return
        for path in sorted((self.folder / below).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

    @property
    def stored(self) -> Callable[[], int] | None:
        """Bytes in the folder; for the sink None: it counts what it receives."""
        return None if self.sink else lambda: tree_size(self.folder)


def place(bench: Bench, name: str, storage: str) -> Place:
    """An empty place, of storage "file" or "s3"."""
    made = Place(bench.folder(f"{name}-storage"), bench.services.sink if storage == "s3" else None)
    if made.sink:
        made.clear()  # of an earlier row's objects
    return made


def settings(bench: Bench, where: Place, codec: str, more: Mapping[str, str]) -> dict[str, str]:
    """Whole environment of a command."""
    return {**bench.environment, **where.settings, "WALG_COMPRESSION_METHOD": codec, **more}
