"""Extracts the parts of a chain's members into a data directory, in worker processes, one member after the other."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from walpy.archive import Archive
from walpy.backup.chain import ChainMember
from walpy.backup.completeness import Restored, check_complete
from walpy.backup.extract import ExtractPlan, PartJob, start_worker, work_here
from walpy.backup.file_table import Jobs
from walpy.backup.journal import Journal
from walpy.backup.rate_limits import NETWORK_LIMIT, MeasuredSleep, shared_limit
from walpy.backup.resume import extract_or_keep
from walpy.config import Config
from walpy.pipeline import run_jobs
from walpy.progress import Progress


@dataclass(frozen=True, slots=True)
class Applier:
    """How parts are extracted. plan: of the newest backup, with the journal, if any. network_waits: of this process."""

    archive: Archive
    journal: Journal | None
    plan: ExtractPlan
    concurrency: int
    network_waits: MeasuredSleep
    progress: Progress

    def restore_base(self, member: ChainMember) -> Restored:
        """Extract what the backups above need of a base. Raises BackupError unless all of it arrived."""
        restored = Restored()
        restored.files.expect(member.names)
        self._extract(member, replace(self.plan, all_directories=False, control_file=""), restored)
        check_complete(member, (), restored)
        return restored

    def restore_newest(self, member: ChainMember, special_parts: Sequence[PartJob], restored: Restored) -> None:
        """Extract the newest backup, and then special parts. Raises BackupError unless all of it arrived."""
        restored.files.expect(member.names)
        self._extract(member, self.plan, restored)
        self.extract_here(special_parts, replace(self.plan, journal=""), restored)
        check_complete(member, self.plan.left_out, restored)

    def extract_here(
        self,
        parts: Sequence[PartJob],
        plan: ExtractPlan,
        restored: Restored,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        """Extract parts one by one in this process: a worker would cost more than it brings."""
        run_jobs(
            extract_or_keep,
            parts,
            processes=0,
            initializer=work_here,
            initargs=(self.archive, self.network_waits, plan),
            on_result=restored.add,
            on_progress=on_progress,
        )

    def _extract(self, member: ChainMember, plan: ExtractPlan, restored: Restored) -> None:
        config = self.archive.config
        processes = min(self.concurrency, len(member.parts), _usable_processes(config))
        if self.journal is not None:
            self.journal.begin(member.backup)
        self.progress.start(member.plain_size or None, f"restoring {member.backup}")
        try:
            if processes > 1:
                self._extract_in_workers(member.parts, plan, processes, restored)
            else:
                self.extract_here(member.parts, plan, restored, self.progress.advance)
        finally:
            self.progress.finish()

    def _extract_in_workers(
        self, parts: Sequence[PartJob], plan: ExtractPlan, processes: int, restored: Restored
    ) -> None:
        config = self.archive.config
        run_jobs(
            extract_or_keep,
            parts,
            processes=processes,
            initializer=start_worker,
            initargs=(config, plan, shared_limit(config, NETWORK_LIMIT)),
            on_result=restored.add,
            on_progress=self.progress.advance,
        )


def resumable(members: Sequence[ChainMember], journal: Journal) -> tuple[ChainMember, ...]:
    """The members of a chain, the full backup first, whose parts know what later ones have changed already."""
    changed: frozenset[str] = frozenset()
    marked = []
    for member in reversed(members):
        marked.append(replace(member, parts=_marked(member.parts, changed)))
        if journal.has_begun(member.backup):
            changed = frozenset(changed | member.increments)
    return tuple(reversed(marked))


def _marked(parts: Sequence[PartJob], changed: frozenset[str]) -> Sequence[PartJob]:
    if not changed:
        return parts
    return Jobs([partial(_mark, parts, number, changed) for number in range(len(parts))])


def _mark(parts: Sequence[PartJob], number: int, changed: frozenset[str]) -> PartJob:
    job = parts[number]
    return replace(job, changed=changed if job.wanted is None else changed & job.wanted)


def _usable_processes(config: Config) -> int:
    """Cores for a local archive; twice as many for a remote one, since half of them wait for the network."""
    cores = len(os.sched_getaffinity(0))
    return cores if config.storage_kind() == "FILE" else 2 * cores
