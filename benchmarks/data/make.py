"""Makes the data of a plan in a directory, once: a file that names the plan is written last."""

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data.cluster import SETTINGS, Cluster
from benchmarks.data.plan import DataPlan, segment_kinds, small_file
from benchmarks.data.wal import load, segments_of, write_wal

COMPLETE = "complete.json"
FORMAT = 3  # of what is made from the same plan
SAMPLE_PIECE = 1 << 20  # bytes
SAMPLE_SIZE = 96 << 20  # bytes of each kind of data that codecs are measured on


@dataclass(frozen=True, slots=True)
class Data:
    """Made data. wal: folder of complete segments; kinds: of each of them."""

    plan: DataPlan
    directory: Path
    kinds: Mapping[str, str]

    @property
    def wal(self) -> Path:
        """Folder of segments, and of their kinds."""
        return self.directory / "wal"

    @property
    def big(self) -> Path:
        """Data directory of the big cluster."""
        return self.directory / "big" / "data"

    @property
    def small(self) -> Path:
        """Data directory of the cluster with many small files."""
        return self.directory / "small" / "data"

    def sample_of(self, directory: Path) -> Path:
        """Pieces of the files of `big`, `small` or `wal`, in proportion, for codecs."""
        return self.directory / f"sample-{directory.relative_to(self.directory).parts[0]}"

    def segment(self, kind: str = "") -> Path:
        """A segment of a kind, the plan's by default. Raises LookupError."""
        wanted = kind or self.plan.segment
        for name in sorted(self.kinds):
            if self.kinds[name] == wanted:
                return self.wal / name
        raise LookupError(f"no segment of kind {wanted}")


def make(plan: DataPlan, directory: Path, environment: Mapping[str, str]) -> Data:
    """Make the data of a plan, unless the directory holds it."""
    mark = directory / COMPLETE
    wanted = json.loads(json.dumps({"format": FORMAT, **plan.describe()}))
    if not mark.exists() or json.loads(mark.read_text()) != wanted:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        make_big(plan, directory, environment)
        make_small(plan, directory / "small" / "data", environment)
        mark.write_text(json.dumps(wanted))
    kinds = json.loads((directory / "wal" / "kinds.json").read_text())
    return Data(plan, directory, kinds)


def make_big(plan: DataPlan, directory: Path, environment: Mapping[str, str]) -> None:
    """The big cluster, and the WAL of work upon it."""
    say("making the cluster and its WAL")
    cluster = Cluster(directory / "big" / "data", environment)
    cluster.sockets.mkdir()
    cluster.initialise({**SETTINGS, "fsync": "off", "wal_keep_size": "16GB"})
    cluster.start()
    try:
        load(cluster, plan)
        phases = write_wal(cluster, plan)
        copy_wal(cluster, directory / "wal", phases)
    finally:
        cluster.stop()
    cluster.configure({"fsync": "on", "wal_keep_size": "0"})
    take_sample(cluster.directory / "base", directory / "sample-big")
    take_sample(directory / "wal", directory / "sample-wal")


def copy_wal(cluster: Cluster, target: Path, phases: list[tuple[str, str, str]]) -> None:
    """Copy the segments that the phases wrote, and note their kinds."""
    target.mkdir()
    names = [name for name in segments_of(cluster) if phases[0][1] < name < phases[-1][2]]
    for name in names:
        shutil.copyfile(cluster.directory / "pg_wal" / name, target / name)
    (target / "kinds.json").write_text(json.dumps(segment_kinds(names, phases)))


def take_sample(directory: Path, target: Path) -> None:
    """Every n-th MiB (or smaller file) below a directory, at most SAMPLE_SIZE bytes in all."""
    sizes = {path: path.stat().st_size for path in sorted(directory.rglob("*")) if path.is_file()}
    pieces = [(path, start) for path, size in sizes.items() for start in range(0, size, SAMPLE_PIECE)]
    with target.open("wb") as output:
        for path, start in pieces[:: max(1, -(-sum(sizes.values()) // SAMPLE_SIZE))]:
            with path.open("rb") as file:
                file.seek(start)
                output.write(file.read(SAMPLE_PIECE))


def make_small(plan: DataPlan, directory: Path, environment: Mapping[str, str]) -> None:
    """A cluster with nothing but many small files in its data directory, page-like but outside of its databases."""
    say(f"making {plan.small_files} small files")
    cluster = Cluster(directory, environment)
    cluster.sockets.mkdir()
    cluster.initialise(SETTINGS)
    for number in range(plan.small_files):
        name, size = small_file(number)
        path = directory / name
        if number % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(small_content(number, size))
    take_sample(directory / "many", directory.parents[1] / "sample-small")
    os.sync()


def small_content(number: int, size: int) -> bytes:
    """Half text that compresses, half zeros, as a table of a few rows."""
    text = "".join(f"{number * 7919 + row:x} row of a small table " for row in range(size // 64)).encode()
    return text[: size // 2].ljust(size, b"\0")


def say(text: str) -> None:
    """Progress, for the person who waits."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
