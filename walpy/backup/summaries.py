"""The change map of a delta backup from the server's own WAL summaries (PostgreSQL 17 and later, summarize_wal).

The summaries have to cover the WAL from the start of the base to the start of the new backup, on one timeline. Where
they do not, or where one is damaged or gone, the pages' headers are looked at as without them, and the log says why.
"""

import logging
import time
from typing import TYPE_CHECKING

from walpy.errors import DataCorrupt
from walpy.postgres.lsn import Lsn, format_lsn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from walpy.backup.change_map import ChangeMap
    from walpy.backup.delta_base import Base
    from walpy.postgres.entry import Entry
    from walpy.postgres.server import ServerFacts
    from walpy.postgres.wal_summaries import WalSummary

# The summarizer is told of new WAL, and reads as quickly as it can: it is done with the last stretch within seconds.
WAIT_SECONDS = 30.0
FIRST_POLL, LONGEST_POLL = 0.01, 0.2  # seconds

logger = logging.getLogger(__name__)


class NotCovered(Exception):
    """Summaries are missing, and which."""


def summarized_changes(facts: "ServerFacts", base: "Base", *, timeline: int, lsn: int) -> "ChangeMap | None":
    """What changed from the start of the base to lsn, where the backup starts; None when the summaries do not tell."""
    if not facts.summarizes_wal:
        return None
    from walpy.backup.change_map import ChangeMap, MapTooLarge
    from walpy.postgres.wal_summaries import read_summary

    changes = ChangeMap(facts.page_size)
    try:
        if base.timeline != timeline:
            raise NotCovered(f"the base is on timeline {base.timeline}, this backup on {timeline}")
        summaries = _wait_for_summaries(facts.data_directory, timeline, base.lsn, lsn)
        for summary in summaries:
            changes.add(read_summary(summary))
    except (NotCovered, MapTooLarge, DataCorrupt, OSError) as error:
        logger.warning("WAL summaries cannot tell what changed, so all changed files are read: %s", error)
        return None
    logger.info("%d WAL summaries tell what changed since %s", len(summaries), format_lsn(base.lsn))
    return changes


def _wait_for_summaries(data_directory: str, timeline: int, start: Lsn, end: int) -> "list[WalSummary]":
    from walpy.postgres.wal_summaries import covering, list_summaries

    deadline = time.monotonic() + WAIT_SECONDS
    pause = FIRST_POLL
    while True:
        there = list_summaries(data_directory)
        chosen = covering(there, timeline, start, end)
        if chosen is not None:
            return chosen
        reached = max((summary.end for summary in there if summary.timeline == timeline), default=Lsn(0))
        if reached >= end or covering(there, timeline, start, reached) is None:
            raise NotCovered(f"there is none for some of the WAL since {format_lsn(start)}")
        if time.monotonic() > deadline:
            raise NotCovered(f"they reach to {format_lsn(reached)} only, after {WAIT_SECONDS:.0f} s")
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_POLL)


def known_changes(entries: "Iterable[Entry]", changes: "ChangeMap") -> "Iterator[Entry]":
    """The entries, those with a base together with their changed pages, or without the base where it is of no use."""
    for entry in entries:
        if entry.has_base:
            changed = changes.changed(entry.name, entry.size)
            yield entry._replace(has_base=changed is not None, changed=changed)
        else:
            yield entry
