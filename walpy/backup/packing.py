"""Packs all files of a backup: plans partitions and has worker processes make them.

Every core is used: a worker packs one tar at a time with several threads. Rate limits hold for all workers together.
Memory of the command's own process: the listing, about 70 bytes a file, what the workers say of it in
files_metadata.json, compressed to about 20, and a part of the listing while it is handed out (in a delta with WAL
summaries, about 400 bytes for each of its files); for workers see partition.py.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from walpy.backup.partition import PartitionJob, PartitionResult, pack, start_worker
from walpy.backup.plan import longest_first, partitions
from walpy.backup.source_files import Pages
from walpy.backup.summaries import known_changes
from walpy.pipeline import Workers
from walpy.postgres.entry import table_of

if TYPE_CHECKING:
    from walpy.backup.change_map import ChangeMap
    from walpy.backup.push_settings import PushSettings
    from walpy.backup.rate_limits import RateLimits
    from walpy.config import Config
    from walpy.postgres.entry import Entry
    from walpy.progress import Progress


Packers = Workers[PartitionJob, PartitionResult]


def packers(config: "Config", limits: "RateLimits") -> Packers:
    """The worker processes, of which none runs yet; they store in the archive of a configuration."""
    return Workers(pack, start_worker, (config, limits.disk, limits.network))


def pack_files(
    workers: Packers,
    backup: str,
    groups: "Sequence[Sequence[Entry]]",
    settings: "PushSettings",
    *,
    pages: Pages,
    kept_blocks: int | None,
    progress: "Progress",
    on_result: Callable[[PartitionResult], None],
    heartbeat: Callable[[], None],
    changes: "ChangeMap | None" = None,
) -> list[PartitionResult]:
    """Store the entries in tars, none with those of two groups; return what became of each partition, in their order.

    changes: of the files that have a base, if the WAL told them. kept_blocks: see PartitionJob. on_result hears of each
    tar as it is stored, heartbeat about once a second, both in the caller's thread. Raises the first error of a worker,
    WorkerDied.
    """
    parts = partitions(groups, threshold=settings.tar_threshold, workers=settings.workers)
    names = [part.tar_name for part in parts]
    processes = min(settings.workers, len(parts))
    threads = -(-settings.threads // processes)
    results: dict[str, PartitionResult] = {}

    def take(result: PartitionResult) -> None:
        results[result.tar_name] = result
        on_result(result)

    def jobs() -> Iterator[PartitionJob]:
        waiting = deque(longest_first(parts))
        parts.clear()
        while waiting:
            part = waiting.popleft()
            entries = tuple(known_changes(part.entries, changes)) if changes else table_of(part.entries)
            yield PartitionJob(backup, part.tar_name, entries, threads, pages, kept_blocks)

    progress.start(sum(part.size for part in parts), backup)
    try:
        workers.run(
            jobs(),
            processes=processes,
            on_result=take,
            on_progress=progress.advance,
            heartbeat=heartbeat,
        )
    finally:
        progress.finish()
    return [results[name] for name in names]
