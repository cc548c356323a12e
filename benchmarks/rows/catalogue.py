"""Short commands over a large catalogue."""

import json
from functools import partial
from pathlib import Path

from benchmarks.bench import BUCKET, Bench
from benchmarks.measure import run
from benchmarks.model import OWN, Absent, Command, Plan, Variant
from benchmarks.services import SinkProcess
from benchmarks.tools.walg_like import place, settings

ROUNDS = 15
LISTED_FROM = 0x10000000  # number of the first backup's segment

SENTINEL = {
    "LSN": 671088680,
    "PgVersion": 150018,
    "FinishLSN": 671088896,
    "SystemIdentifier": 7711924274657905499,
    "UncompressedSize": 31457280,
    "CompressedSize": 4194304,
    "DataCatalogSize": 31457280,
    "Spec": None,
    "Version": 2,
    "StartTime": "2026-01-01T00:00:00Z",
    "FinishTime": "2026-01-01T00:01:00Z",
    "DateFmt": "%Y-%m-%dT%H:%M:%S.%fZ",
    "Hostname": "server",
    "DataDir": "/var/lib/postgresql/data",
    "IsPermanent": False,
    "FilesMetadataDisabled": False,
}

METADATA = {
    "start_time": "2026-01-01T00:00:00Z",
    "finish_time": "2026-01-01T00:01:00Z",
    "date_fmt": "%Y-%m-%dT%H:%M:%S.%fZ",
    "hostname": "server",
    "data_dir": "/var/lib/postgresql/data",
    "pg_version": 150018,
    "start_lsn": 671088680,
    "finish_lsn": 671088896,
    "is_permanent": False,
    "system_identifier": 7711924274657905499,
    "uncompressed_size": 31457280,
    "compressed_size": 4194304,
    "user_data": None,
}


def objects(count: int) -> dict[str, bytes]:
    """Sentinel and metadata of `count` backups, by the name below the archive's root."""
    made: dict[str, bytes] = {}
    for number in range(count):
        position = LISTED_FROM + number
        name = f"basebackups_005/base_00000001{position >> 8:08X}{position & 0xFF:08X}"
        made[f"{name}_backup_stop_sentinel.json"] = json.dumps(SENTINEL).encode()
        made[f"{name}/metadata.json"] = json.dumps(METADATA).encode()
    return made


def fill_folder(root: Path, count: int) -> None:
    """Write a catalogue to a folder."""
    for name, content in objects(count).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def fill_sink(sink: SinkProcess, prefix: str, count: int) -> None:
    """Write a catalogue to the S3 sink."""
    sink.put_all({f"/{BUCKET}/{prefix}/{name}": content for name, content in objects(count).items()})


def list_plan(bench: Bench, which: int, *, is_detailed: bool = False, storage: str = "file") -> Plan:
    """backup-list over one of the plan's two catalogues."""
    count = bench.data.plan.backups[which]
    entries = [lister(bench, program, count, storage, is_detailed=is_detailed) for program in (OWN, "wal-g")]
    return Plan(entries, bench.rounds(ROUNDS if storage == "file" else 5), 0.0)


def lister(bench: Bench, program: str, count: int, storage: str, *, is_detailed: bool) -> Variant | Absent:
    """backup-list of walpy or WAL-G; how many lines it prints is checked after each sample."""
    if program not in bench.programs:
        return bench.missing(program)
    where = place(bench, f"{program}-list", storage)
    if where.sink:
        fill_sink(where.sink, where.folder.name, count)
    else:
        fill_folder(where.folder, count)
    environment = settings(bench, where, "lz4", {})
    arguments = ["backup-list", *(["--detail"] if is_detailed else [])]
    command = bench.command(program, *arguments, environment=environment, directory=bench.work)
    return Variant(program, program, partial(count_lines, command, count))


def count_lines(command: Command, count: int) -> None:
    """Run a listing. Raises AssertionError when it lists another number of backups."""
    listed = sum(line.startswith("base_") for line in run(command).splitlines())
    assert listed == count, f"{listed} of {count} backups are listed"
