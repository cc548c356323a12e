"""Backups of data that are not in the page cache, as at night: every program's samples begin with an empty one."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.model import Plan, Variant
from benchmarks.rows.backup import backup_plan
from benchmarks.rows.delta import delta_plan


def cold_backup_plan(bench: Bench, codec: str) -> Plan:
    """Every program's full backup of the big cluster."""
    return cold(backup_plan(bench, codec, "file", bench.data.big), bench.data.big)


def cold_delta_plan(bench: Bench, codec: str, percent: int) -> Plan:
    """Every program's delta backup after so many of 100 pages changed."""
    name = f"delta-cold-{percent}"
    return cold(delta_plan(bench, codec, percent, name), bench.work / name / "data")


def cold(plan: Plan, directory: Path) -> Plan:
    """The same, nothing of a data directory cached when a sample begins."""
    entries = [
        replace(entry, prepare=_then(entry.prepare, directory)) if isinstance(entry, Variant) else entry
        for entry in plan.entries
    ]
    return replace(plan, entries=entries)


def _then(prepare: Callable[[], None], directory: Path) -> Callable[[], None]:
    def prepare_and_evict() -> None:
        prepare()
        evict(directory)

    return prepare_and_evict


def evict(directory: Path) -> None:
    """Have the kernel forget the files of a directory, whatever of them is not still to be written."""
    os.sync()
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
