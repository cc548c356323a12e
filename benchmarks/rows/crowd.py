"""Short commands over the largest catalogue: thousands of backups, millions of WAL segments.

On S3 the segments are never stored: the server makes their listing from their numbers (sink/crowd.py).
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from benchmarks.bench import BUCKET, Bench
from benchmarks.model import OWN, Plan
from benchmarks.rows.catalogue import METADATA, SENTINEL, complete, fill, teller
from benchmarks.services import start_sink
from benchmarks.sink.crowd import SUFFIX, segment_of
from benchmarks.tools.walg_like import Place

ROUNDS = 3
SIZES = {"full": (10_000, 2_000_000), "quick": (1_000, 100_000)}  # backups and segments
SEGMENT_SIZE = 16 << 20  # bytes
NAME = "crowd"
COMMANDS = ("wal-show", "wal-verify", "delete")


def crowd_plan(bench: Bench, command: str, storage: str) -> Plan:
    """A command whose answer is checked; walpy and WAL-G."""
    backups, segments = SIZES[bench.data.plan.name]
    where = crowd(bench, storage, backups, segments)
    if command == "delete":
        retained = ["delete", "retain", "FULL", str(backups // 2)]
        peer = teller(bench, "wal-g", where, retained, lambda _: None)
        own = teller(bench, OWN, where, [*retained, "--json"], lambda text: half_planned(text, backups, segments))
        return Plan([own, peer], bench.rounds(ROUNDS), 0.0)
    high, low = divmod(segments + 1, 0x100)
    position = ["--timeline", "1", "--lsn", f"{high:X}/{low << 24 | 1:X}"]
    arguments = ["wal-verify", "integrity", *position] if command == "wal-verify" else [command]
    entries = [
        teller(bench, program, where, arguments, lambda text: complete(text, segments)) for program in (OWN, "wal-g")
    ]
    return Plan(entries, bench.rounds(ROUNDS), 0.0)


def crowd(bench: Bench, storage: str, backups: int, segments: int) -> Place:
    """The catalogue on a storage, made once in a run."""
    folder = bench.work / f"{NAME}-{storage}"
    if storage == "s3":
        sink = bench.services.others.get(NAME)
        if sink is None:
            root = bench.folder(f"{NAME}-sink")
            sink = start_sink(root, f"{BUCKET}/{folder.name}/wal_005/", str(segments))
            bench.services.others[NAME] = sink
            fill(Place(folder, sink), objects(backups, segments))
        return Place(folder, sink)
    if not folder.exists():
        store_segments(folder / "wal_005", segments)
        fill(Place(folder), objects(backups, segments))
    return Place(folder)


def store_segments(folder: Path, count: int) -> None:
    """Empty files for segments 1 to count."""
    folder.mkdir(parents=True)
    descriptor = os.open(folder, os.O_RDONLY)
    for number in range(1, count + 1):
        os.close(os.open(f"{segment_of(number)}{SUFFIX}", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)


def objects(backups: int, segments: int) -> Mapping[str, bytes]:
    """Sentinel and metadata of full backups that start at equal distances along the segments."""
    made: dict[str, bytes] = {}
    for place in range(backups):
        number = 1 + place * (segments // backups)
        name, lsn = f"basebackups_005/base_{segment_of(number)}", number * SEGMENT_SIZE + 40
        sentinel = {**SENTINEL, "LSN": lsn, "FinishLSN": lsn + 216}
        metadata = {**METADATA, "start_lsn": lsn, "finish_lsn": lsn + 216}
        made[f"{name}_backup_stop_sentinel.json"] = json.dumps(sentinel).encode()
        made[f"{name}/metadata.json"] = json.dumps(metadata).encode()
    return made


def half_planned(text: str, backups: int, segments: int) -> None:
    """Raise AssertionError unless the older half of all backups and segments would go. The plan is the last line."""
    plan = json.loads(text.rstrip().rpartition("\n")[2])
    kept = backups // 2
    assert len(plan["kept_backups"]) == kept, f"{len(plan['kept_backups'])} backups are kept, not {kept}"
    gone = (backups - kept) * (segments // backups) + 2 * (backups - kept)
    assert plan["objects"] == gone, f"{plan['objects']} objects would go, not {gone}"
