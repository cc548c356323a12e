"""wal-push and wal-fetch from process start to exit, on real segments, on a folder and on an S3 server.

The S3 server is moto in a process of its own, whose share of two cores is large: read those rows as ratios only.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks.timing import Variant, compare
from tests.fixtures.cluster import DEFAULT_MAJOR, SETTINGS, Cluster, bin_directory, new_base

ROUNDS = 15
SEGMENT_COUNT = 4
S3_PORT = 5799


def segments(target: Path) -> list[Path]:
    """Copy full segments of a CREATE TABLE AS load, a hard case for lz4, into target."""
    programs = bin_directory(DEFAULT_MAJOR)
    if programs is None:
        raise SystemExit("no PostgreSQL found")
    cluster = Cluster(DEFAULT_MAJOR, programs, new_base())
    try:
        cluster.initdb()
        cluster.configure({**SETTINGS, "max_wal_size": "4GB", "wal_keep_size": "1GB"})
        cluster.start()
        cluster.execute(
            "create table t as select i, md5(i::text) as a, random() as b from generate_series(1, 900000) i"
        )
        current = cluster.execute("select pg_walfile_name(pg_current_wal_lsn())")
        names = sorted(path for path in (cluster.data_directory / "pg_wal").iterdir() if len(path.name) == 24)
        full = [path for path in names if path.name < current][-SEGMENT_COUNT:]
        return [Path(shutil.copy2(path, target / path.name)) for path in full]
    finally:
        cluster.remove()


def push_variant(label: str, environment: dict[str, str], segment: Path, storage: Path | None) -> Variant:
    """A wal-push of one segment that the storage does not hold yet."""

    def forget() -> None:
        if storage is not None:
            shutil.rmtree(storage / "wal_005", ignore_errors=True)

    return Variant(label, [sys.executable, "-m", "walpy", "wal-push", str(segment)], environment, forget)


def on_folder(work: Path, segment: Path) -> None:
    """Compare with what any tool pays: the bare interpreter, and lz4 with a sync of the file."""
    storage, target = work / "storage", work / "restored"
    storage.mkdir()
    environment = {**os.environ, "WALG_FILE_PREFIX": str(storage), "WALG_DOWNLOAD_CONCURRENCY": "1"}
    lz4 = f"lz4 -1 -q -f {segment} {work / 'out.lz4'} && sync {work / 'out.lz4'}"
    compare(
        [
            Variant("lz4 -1 + sync", ["sh", "-c", lz4], environment),
            Variant("python -c pass", [sys.executable, "-c", "pass"], environment),
            push_variant("wal-push, folder", environment, segment, storage),
            Variant(
                "wal-fetch, folder",
                [sys.executable, "-m", "walpy", "wal-fetch", segment.name, str(target)],
                environment,
            ),
        ],
        ROUNDS,
    )


def on_s3(work: Path, pushed: list[Path]) -> None:
    """One-shot pushes to and fetches from moto over loopback, a fresh bucket prefix for each push."""
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(S3_PORT)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    endpoint = f"http://127.0.0.1:{S3_PORT}"
    try:
        wait_for(endpoint)
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bucket", method="PUT")).close()
        environment = {
            **os.environ,
            "WALG_S3_PREFIX": "s3://bucket/bench",
            "AWS_ENDPOINT": endpoint,
            "AWS_S3_FORCE_PATH_STYLE": "true",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "WALG_PREVENT_WAL_OVERWRITE": "false",
            "WALG_DOWNLOAD_CONCURRENCY": "1",
        }
        segment = pushed[0]
        fetch = [sys.executable, "-m", "walpy", "wal-fetch", segment.name, str(work / "restored")]
        compare(
            [
                Variant("python -c pass", [sys.executable, "-c", "pass"], environment),
                push_variant("wal-push, S3", environment, segment, None),
                Variant("wal-fetch, S3", fetch, environment),
            ],
            ROUNDS,
        )
    finally:
        server.kill()
        server.wait()


def wait_for(endpoint: str) -> None:
    """Wait until a server answers."""
    for _ in range(100):
        try:
            urllib.request.urlopen(endpoint).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"{endpoint} does not answer")


def main() -> None:
    """Both storages."""
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        pushed = segments(work)
        print(f"segment of {pushed[0].stat().st_size >> 20} MiB, {ROUNDS} rounds\n")
        on_folder(work, pushed[0])
        print()
        on_s3(work, pushed)
