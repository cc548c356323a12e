"""Extracts the parts of a chain's members into a data directory, in worker processes, one member after the other.

The newest comes first: which pages the older ones still have to bring is known then (newer_pages.py).
Memory: the names of each member with increments, and four bytes for each of its files: which part brought it.
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

from walpy.archive import Archive
from walpy.backup.chain import ChainMember, Names
from walpy.backup.completeness import Arrived, Restored, check_complete
from walpy.backup.extract import ExtractPlan, PartJob, start_worker, work_here
from walpy.backup.file_table import Jobs
from walpy.backup.journal import Journal, pages_path
from walpy.backup.rate_limits import NETWORK_LIMIT, MeasuredSleep, shared_limit
from walpy.backup.resume import extract_or_keep
from walpy.config import Config
from walpy.pipeline import run_jobs
from walpy.postgres.lsn import format_lsn
from walpy.progress import Progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Applier:
    """How parts are extracted. plan: of the newest backup, with the journal, if any. network_waits: of this process."""

    archive: Archive
    journal: Journal | None
    plan: ExtractPlan
    concurrency: int
    network_waits: MeasuredSleep
    progress: Progress

    def restore(self, members: Sequence[ChainMember], special_parts: Sequence[PartJob]) -> Restored:
        """Extract a chain, the full backup the first of its members, and special parts of the newest.

        Raises BackupError unless all of each arrived.
        """
        restored = Restored()
        newer = _NewerBackups(self.plan.journal)
        members = self._with_begun(members)
        self.restore_newest(members[-1], special_parts, restored)
        newer.add(members[-1], restored)
        for delta, base in pairwise(reversed(members)):
            if base.parts:
                below = self._restore_base(replace(base, parts=newer.with_places(base.parts)))
                newer.add(base, below)
                restored.add_base(below, len(base.increments))
                logger.info("Backup extraction complete.")
            logger.info(
                "%s fetched. Upgrading from LSN %s to LSN %s",
                *(base.backup, format_lsn(delta.sentinel.delta_lsn or 0), format_lsn(delta.sentinel.lsn or 0)),
            )
        return restored

    def _restore_base(self, member: ChainMember) -> Restored:
        restored = Restored()
        restored.files.expect(member.names)
        self._extract(member, replace(self.plan, all_directories=False, control_file=""), restored)
        check_complete(member, (), restored)
        return restored

    def _with_begun(self, members: Sequence[ChainMember]) -> Sequence[ChainMember]:
        """The members, of which those that have begun older ones cannot be extracted any more."""
        journal = self.journal
        begun = [number for number, member in enumerate(members) if journal and journal.has_begun(member.backup)]
        oldest = min(begun, default=len(members))
        return [
            replace(member, parts=_made(member.parts, _must_be_recorded)) if number > oldest else member
            for number, member in enumerate(members)
        ]

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


class _NewerBackups:
    """Tells, for the files of a base, in which parts of newer backups they have increments."""

    def __init__(self, journal: str) -> None:
        self._journal = journal
        self._members: list[tuple[Names, Arrived, list[str]]] = []  # increments, what came, paths; the oldest first

    def add(self, member: ChainMember, restored: Restored) -> None:
        """Take a member that was extracted."""
        if member.increments:
            paths = [pages_path(self._journal, part) for part in restored.parts]
            self._members.insert(0, (member.increments, restored.files, paths))

    def with_places(self, parts: Sequence[PartJob]) -> Sequence[PartJob]:
        """The parts of the next older member, each with the places of its files."""
        return _made(parts, self._with_places) if self._members else parts

    def _with_places(self, job: PartJob) -> PartJob:
        places = {name: place for name in job.wanted or () if (place := self._place(name))}  # bases' jobs name theirs
        return replace(job, newer=places)

    def _place(self, name: str) -> str:
        """Where the pages of a file are: the oldest one has written down those of all."""
        for increments, arrived, paths in self._members:
            if name in increments:
                return paths[arrived.part(name) - 1]
        return ""


def _must_be_recorded(job: PartJob) -> PartJob:
    return replace(job, must_be_recorded=True)


def _made(parts: Sequence[PartJob], make: Callable[[PartJob], PartJob]) -> Sequence[PartJob]:
    """The parts, each as make() makes it when it is asked for."""
    return Jobs([partial(_made_one, parts, number, make) for number in range(len(parts))])


def _made_one(parts: Sequence[PartJob], number: int, make: Callable[[PartJob], PartJob]) -> PartJob:
    return make(parts[number])


def _usable_processes(config: Config) -> int:
    """Cores for a local archive; twice as many for a remote one, since half of them wait for the network."""
    cores = len(os.sched_getaffinity(0))
    return cores if config.storage_kind() == "FILE" else 2 * cores
