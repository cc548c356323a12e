"""Short commands over many backups or segments."""

import json
from collections.abc import Callable, Mapping, Sequence

from benchmarks.bench import BUCKET, Bench
from benchmarks.measure import run
from benchmarks.model import OWN, Absent, Plan, Variant
from benchmarks.tools.walg_like import Place, place, settings

ROUNDS, S3_ROUNDS = 15, 5
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


def segments(count: int) -> dict[str, bytes]:
    """Names of `count` stored segments of timeline 1, from the first on; their content is never looked at."""
    places = range(1, count + 1)
    return {f"wal_005/00000001{place >> 8:08X}{place & 0xFF:08X}.lz4": b"" for place in places}


def fill(where: Place, made: Mapping[str, bytes]) -> None:
    """Store objects by their names below the archive's root."""
    if where.sink:
        where.sink.put_all({f"/{BUCKET}/{where.folder.name}/{name}": content for name, content in made.items()})
        return
    for name, content in made.items():
        path = where.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def list_plan(bench: Bench, which: int, *, is_detailed: bool = False, storage: str = "file") -> Plan:
    """backup-list over one of the plan's two catalogues; how many backups it prints is checked."""
    count = bench.data.plan.backups[which]
    where = place(bench, "catalogue", storage)
    fill(where, objects(count))
    arguments = ["backup-list", *(["--detail"] if is_detailed else [])]
    return plan_of(bench, where, arguments, lambda text: listed(text, count))


def listed(text: str, count: int) -> None:
    """Raise AssertionError when a listing names another number of backups."""
    found = sum(line.startswith("base_") for line in text.splitlines())
    assert found == count, f"{found} of {count} backups are listed"


def wal_plan(bench: Bench, command: str, storage: str) -> Plan:
    """wal-show or wal-verify over many segments without a gap; that it finds none is checked."""
    count = bench.data.plan.segments
    where = place(bench, "segments", storage)
    fill(where, segments(count))
    position = f"{(count + 1) >> 8:X}/{((count + 1) & 0xFF) << 24 | 1:X}"
    verify = ["wal-verify", "integrity", "timeline", "--timeline", "1", "--lsn", position]
    arguments = verify if command == "wal-verify" else [command]
    return plan_of(bench, where, arguments, lambda text: complete(text, count))


def complete(text: str, count: int) -> None:
    """Raise AssertionError unless all segments were found."""
    assert "OK" in text, "a gap was found"
    assert str(count) in text, f"not all {count} segments were found"
    assert "LOST" not in text, "a segment is called lost"


def plan_of(bench: Bench, where: Place, arguments: Sequence[str], check: Callable[[str], None]) -> Plan:
    """The same command of walpy and WAL-G upon the same storage."""
    entries = [teller(bench, program, where, arguments, check) for program in (OWN, "wal-g")]
    return Plan(entries, bench.rounds(S3_ROUNDS if where.sink else ROUNDS), 0.0)


def teller(
    bench: Bench, program: str, where: Place, arguments: Sequence[str], check: Callable[[str], None]
) -> Variant | Absent:
    """A command whose output is checked after each sample."""
    if program not in bench.programs:
        return bench.missing(program)
    if program == OWN and not bench.has_command(arguments[0]):
        return Absent(OWN, OWN, f"walpy has no {arguments[0]} in this version")
    environment = settings(bench, where, "lz4", {})
    command = bench.command(program, *arguments, environment=environment, directory=bench.work)
    said: list[str] = []
    return Variant(program, program, lambda: said.append(run(command)), finish=lambda: check(said.pop()))
