"""Which backups and which WAL a delete removes: pure functions over what an archive holds.

WAL-G's selection: a target backup is found, and what is older than the target goes. On top of that nothing goes that a
kept backup needs: the backups that it is made on, and the WAL that its recovery reads. Older is, by default, what has
the lower WAL position in its name, timeline first; by start time when that is asked for, and when the archive holds
backups of several clusters, whose positions mean nothing to each other.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Final

from walpy.backup.needed_wal import NeededWal
from walpy.errors import BackupError, InvalidWal
from walpy.wal.segment import segment_number, segment_timeline

PERMANENT: Final = "it is permanent"
TARGET: Final = "it is the oldest one to keep"
NEWER: Final = "it is not older than the target"
_WAL_NAME: Final = re.compile("[0-9A-F]{24}")


class Modifier(Enum):
    """How a delta that would be the target is treated."""

    NONE = ""  # refused
    FULL = "FULL"  # full backups alone are counted
    FIND_FULL = "FIND_FULL"  # its full backup is the target


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backup as retention sees it.

    timeline, segment: where its name says that it starts (a segment's number). wal: first and last segment of what its
    recovery reads at least; None when no metadata tells. start_ns: when it was started; None likewise.
    modified_ns: when its sentinel was stored. base: the backup that it is made on, if it is a delta.
    """

    name: str
    timeline: int
    segment: int
    modified_ns: int
    start_ns: int | None = None
    is_permanent: bool = False
    base: str | None = None
    wal: tuple[int, int] | None = None
    system_identifier: int | None = None

    @property
    def position(self) -> tuple[int, int]:
        """Timeline and segment: WAL-G's order."""
        return self.timeline, self.segment


class Archived:
    """The backups of an archive, in the order that decides which is older.

    by_time: order by start time, as asked for. Falls back to positions when a backup does not tell it.
    running: positions (timeline, segment) at which backups started that may not have ended yet.
    """

    def __init__(
        self, backups: Iterable[Candidate], *, by_time: bool = False, running: Iterable[tuple[int, int]] = ()
    ) -> None:
        found = list(backups)
        self.running = frozenset(running)
        clusters = {item.system_identifier for item in found} - {None}
        self.is_mixed = len(clusters) > 1
        self.by_time = (by_time or self.is_mixed) and all(item.start_ns is not None for item in found)
        self.backups: Sequence[Candidate] = sorted(found, key=self._key)
        self.by_name: Mapping[str, Candidate] = {item.name: item for item in found}

    def is_older(self, backup: Candidate, than: Candidate) -> bool:
        """Whether a backup comes before another one."""
        return self._key(backup)[:-1] < self._key(than)[:-1]

    def moment(self, backup: Candidate) -> int:
        """When a backup was taken: its start with by_time, else when its sentinel was stored."""
        return backup.start_ns if self.by_time and backup.start_ns is not None else backup.modified_ns

    def chain(self, backup: Candidate) -> list[Candidate]:
        """The backups that one is made on, and itself, the full one first. Raises BackupError when one is missing."""
        chain = [*reversed(self.bases(backup)), backup]
        if chain[0].base is not None:
            raise BackupError(f"backup {chain[0].name} is made on {chain[0].base}, which is not there")
        return chain

    def bases(self, backup: Candidate) -> list[Candidate]:
        """What a backup is made on, the nearest one first, as far as it is there."""
        found: list[Candidate] = []
        while backup.base is not None and (base := self.by_name.get(backup.base)) is not None and base not in found:
            found.append(base)
            backup = base
        return found

    def is_usable(self, backup: Candidate) -> bool:
        """Whether everything that a backup is made on is there."""
        return [backup, *self.bases(backup)][-1].base is None

    def dependents(self, names: Iterable[str]) -> set[str]:
        """The named backups, and all that are made on them, directly or not."""
        found = set(names)
        while more := {item.name for item in self.backups if item.base in found} - found:
            found |= more
        return found

    def _key(self, backup: Candidate) -> tuple[int, int, str]:
        if self.by_time:
            return backup.start_ns or 0, 0, backup.name
        return *backup.position, backup.name


# ---- finding the target


def retain(archived: Archived, count: int, modifier: Modifier) -> Candidate | None:
    """The oldest backup to keep so that count remain; None when there are not more. Raises BackupError for a delta."""
    newest_first = archived.backups[::-1]
    if modifier is Modifier.FULL:
        newest_first = [item for item in newest_first if item.base is None]
    if len(newest_first) < count:
        return None
    if modifier is Modifier.FIND_FULL:
        return next((item for item in newest_first[count - 1 :] if item.base is None), None)
    return require_full(newest_first[count - 1])


def retain_after(
    archived: Archived, count: int, modifier: Modifier, fits: Callable[[Candidate], bool]
) -> Candidate | None:
    """As retain, but also keep the oldest backup that fits, and what is newer: the older of the two targets."""
    fitting = (item for item in archived.backups if fits(item) and (not modifier.value or item.base is None))
    first = next(fitting, None)
    if first is None:
        return retain(archived, count, modifier)
    target = retain(archived, count, modifier)
    if target is None or archived.is_older(first, target):
        return require_full(first)
    return target


def before(archived: Archived, backup: Candidate, modifier: Modifier) -> Candidate | None:
    """The target for "older than backup": itself, or with FIND_FULL the first full one from there backwards."""
    if modifier is not Modifier.FIND_FULL:
        return require_full(backup)
    upto = archived.backups[: list(archived.backups).index(backup) + 1]
    return next((item for item in reversed(upto) if item.base is None), None)


def newest_with_prefix(archived: Archived, prefix: str) -> Candidate | None:
    """The newest backup whose sentinel's name begins so; as WAL-G takes a name."""
    return next((item for item in reversed(archived.backups) if item.name.startswith(prefix)), None)


def first_since(archived: Archived, moment_ns: int) -> Candidate | None:
    """The oldest backup that was taken at a moment or later."""
    return next((item for item in archived.backups if archived.moment(item) >= moment_ns), None)


def oldest_eligible(archived: Archived) -> Candidate | None:
    """The target of garbage: the backup that is not permanent and started first."""
    eligible = [item for item in archived.backups if not item.is_permanent]
    return min(eligible, key=lambda item: (item.start_ns or item.modified_ns, item.name), default=None)


def require_full(backup: Candidate) -> Candidate:
    """The same backup. Raises BackupError, in WAL-G's words, for a delta."""
    if backup.base is not None:
        raise BackupError(
            f"{backup.name}_backup_stop_sentinel.json is incremental and it's predecessors cannot be deleted. "
            "Consider FIND_FULL option."
        )
    return backup


# ---- what goes


@dataclass(frozen=True)
class Deletion:
    """What a delete removes, and why it keeps the rest.

    groups: of the backups to remove, each after all that are made on its backups: gone in this order, none is ever
    listed without what it is made on. kept: names and reasons.
    target: the oldest one to keep, when the WAL before it goes too; None: WAL stays.
    """

    archived: Archived
    groups: Sequence[Sequence[Candidate]]
    kept: Mapping[str, str]
    target: Candidate | None

    @property
    def removed(self) -> list[Candidate]:
        """The backups to remove, in that order."""
        return [item for group in self.groups for item in group]

    def removes_wal(self, timeline: int, segment: int) -> bool:
        """Whether a segment goes: older than the target, and read by the recovery of no kept backup."""
        target = self.target
        if target is None:
            return False
        is_older = segment < target.segment if self.archived.by_time else (timeline, segment) < target.position
        return is_older and not self._needed.holds(timeline, segment)

    def removes_leftover(self, timeline: int, segment: int) -> bool:
        """Whether what an unfinished backup left goes, by the position in its name; never with an order by time."""
        position = (timeline, segment)
        if self.target is None or self.archived.by_time or position in self.archived.running:
            return False
        return position < self.target.position

    @cached_property
    def _needed(self) -> NeededWal:
        """Each kept backup's own WAL; and, but for older ones than the target, all that follows it.

        Likewise what follows a start of a backup that may still run.
        """
        kept = [self.archived.by_name[name] for name in self.kept]
        newer = [item for item in kept if self.target is None or not self.archived.is_older(item, self.target)]
        starts = [*self.archived.running, *(item.position for item in newer)]
        return NeededWal(((item.timeline, *item.wal) for item in kept if item.wal is not None), starts)


def older_than(archived: Archived, target: Candidate) -> Deletion:
    """The plan that removes what is older than a target."""
    kept = {
        item.name: TARGET if item == target else NEWER
        for item in archived.backups
        if not archived.is_older(item, target)
    }
    for item in archived.backups:
        if item.is_permanent:
            kept.setdefault(item.name, PERMANENT)
    return _plan(archived, kept, target)


def without(archived: Archived, backup: Candidate, *, whole_chain: bool, force_last: bool) -> Deletion:
    """The plan that removes a backup with all that are made on it; whole_chain: those of its full backup.

    Raises BackupError when one of them is permanent, or when no usable backup would be left.
    """
    first = archived.chain(backup)[0] if whole_chain else backup
    chosen = archived.dependents([first.name])
    permanent = sorted(name for name in chosen if archived.by_name[name].is_permanent)
    if permanent:
        raise BackupError(
            f"Unable to delete permanent backups: {', '.join(permanent)}",
            "Take the mark away first: backup-mark -i NAME.",
        )
    kept = {item.name: "it was not chosen" for item in archived.backups if item.name not in chosen}
    if not force_last and not any(archived.is_usable(archived.by_name[name]) for name in kept):
        raise BackupError(
            f"no usable backup would be left without {backup.name}", "Take a new one first, or give --force-last."
        )
    return _plan(archived, kept, None)


def _plan(archived: Archived, kept: dict[str, str], target: Candidate | None) -> Deletion:
    """Complete a plan: what kept backups are made on stays too."""
    for name in list(kept):
        for base in archived.bases(archived.by_name[name]):
            kept.setdefault(base.name, f"{name} is made on it")
    removed = [item for item in reversed(archived.backups) if item.name not in kept]
    return Deletion(archived, list(_dependents_first(removed)), kept, target)


def _dependents_first(backups: Sequence[Candidate]) -> Iterator[list[Candidate]]:
    """The same backups in groups; each after all that are made on it."""
    place = {item.name: number for number, item in enumerate(backups)}
    waiting = dict(zip(place, backups, strict=True))
    dependents = Counter(item.base for item in backups if item.base in place)
    group = [item for item in backups if not dependents[item.name]]
    while waiting:
        group = group or list(waiting.values())  # made on each other, which no program writes
        yield group
        for item in group:
            del waiting[item.name]
        dependents.subtract(item.base for item in group if item.base in place)
        freed = {item.base for item in group if item.base in waiting and not dependents[item.base]}
        group = sorted((waiting[name] for name in freed if name), key=lambda item: place[item.name])


def position_of(backup: str, segment_size: int) -> tuple[int, int]:
    """Timeline and segment at which a backup starts, by its name. Raises BackupError when it tells none."""
    position = position_in(backup, segment_size)
    if position is None:
        raise BackupError(f"backup {backup} tells no WAL position", "See WALG_PG_WAL_SIZE: the size of its segments.")
    return position


def position_in(name: str, segment_size: int) -> tuple[int, int] | None:
    """Timeline and segment of the first WAL name in an object's name; None when there is none of that segment size."""
    match = _WAL_NAME.search(name)
    if match is None:
        return None
    try:
        return segment_timeline(match.group()), segment_number(match.group(), segment_size)
    except InvalidWal:
        return None
