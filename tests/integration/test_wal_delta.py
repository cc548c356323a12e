"""WAL delta maps of a real server: what pg_waldump tells of the same WAL."""

import re
import struct
import subprocess
from pathlib import Path

from tests.fixtures.cluster import archiving, bin_directory
from tests.fixtures.delta_maps import read_map
from tests.fixtures.postgres import DEFAULT_MAJOR, ClusterFactory
from tests.fixtures.recovery import archive_all
from tests.fixtures.require import missing
from tests.integration.test_delta_chain import QUIET, Workload
from walpy.archive import open_archive
from walpy.config import Config
from walpy.postgres.lsn import parse_lsn
from walpy.wal.delta_map import GROUP_SEGMENTS, SUFFIX, group_of
from walpy.wal.records import place_of_cut
from walpy.wal.segment import following_segment, segment_name, segment_number

SEGMENT_SIZE = 1 << 20
POSITION = re.compile(r"lsn: ([0-9A-F/]+),")
BLOCK = re.compile(r"rel (\d+)/(\d+)/(\d+)(?: fork \w+)? blk (\d+)")


def dumped(wal: Path, first: str, last: str) -> list[tuple[int, set[bytes]]]:
    """Position of each record, and the blocks that it names."""
    programs = bin_directory(DEFAULT_MAJOR)
    if programs is None or not (programs / "pg_waldump").exists():
        missing("pg_waldump", "no pg_waldump here")
    done = subprocess.run(
        [str(programs / "pg_waldump"), "-p", str(wal), first, last], capture_output=True, text=True, check=False
    )
    records = []
    for line in done.stdout.splitlines():
        position = POSITION.search(line)
        assert position, line
        blocks = {struct.pack("<IIII", *map(int, found)) for found in BLOCK.findall(line)}
        records.append((int(parse_lsn(position[1])), blocks))
    return records


def test_maps_hold_what_pg_waldump_tells(make_cluster: ClusterFactory, archive_folder: Path, tmp_path: Path) -> None:
    settings, environment = archiving(archive_folder)
    environment = {**environment, "WALG_USE_WAL_DELTA": "true"}
    settings = {**settings, **QUIET, "wal_compression": "on", "wal_log_hints": "on"}
    cluster = make_cluster(settings=settings, environment=environment, wal_segment_size_mib=1)
    workload = Workload(cluster, seed=5)
    for number in range(3):
        workload.change()
        cluster.execute(f"create table big{number} as select n, md5(n::text) from generate_series(1, 200000) n")
    workload.create_database()
    workload.delete()
    archive_all(cluster)
    archive = open_archive(Config.from_mapping({**environment, "WALG_PG_WAL_SIZE": "1"}))
    names = [name.removeprefix("wal_005/").partition(".")[0] for name in archive.storage.list_names("wal_005")]
    segments = [name for name in names if len(name) == 24]
    for name in segments:
        with archive.open_wal(name) as chunks:
            (tmp_path / name).write_bytes(b"".join(bytes(chunk) for chunk in chunks))
    groups = [name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)]
    assert len(groups) >= 2
    cuts = 0
    for group in groups:
        number = segment_number(group, SEGMENT_SIZE)
        start, end = number * SEGMENT_SIZE, (number + GROUP_SEGMENTS) * SEGMENT_SIZE
        before = following_segment(group, SEGMENT_SIZE, -1)
        records = dumped(
            tmp_path, before if number > 1 else group, segment_name(1, number + GROUP_SEGMENTS - 1, SEGMENT_SIZE)
        )
        within = [blocks for position, blocks in records if start <= position < end]
        border = [blocks for position, blocks in records if position < start][-1:]
        found, reader = read_map(archive, group)
        named = {place_of_cut(locator, blocks) for locator, blocks in reader.limits.items()}
        assert set().union(*within[:-1]) - found == set()
        assert found - set().union(*within, *border, named) == set()
        assert reader.covered[2:] == (start, end)
        cuts += len(reader.limits)
    assert cuts > 10
    waiting = {path.name for path in (cluster.data_directory / "pg_wal/walg_data/walpy/delta").iterdir()}
    unmapped = {name for name in segments if group_of(name, SEGMENT_SIZE)[0] not in groups}
    last = group_of(groups[-1], SEGMENT_SIZE)[-1]  # the next group may need what it leaves behind
    assert waiting == unmapped | {last}
