"""delete on random archives: what was promised stays restorable, also when it is stopped at any object.

The oracle decides by brute force: it knows nothing of plans.
"""

import itertools
import logging
import random
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from walpy import layout
from walpy.archive import Archive, open_archive
from walpy.backup import retention
from walpy.backup.delete import carry_out, read_archived
from walpy.backup.model import BackupMetadata, Sentinel
from walpy.backup.retention import Modifier
from walpy.backup.timestamp import Timestamp
from walpy.config import Config
from walpy.errors import BackupError, StorageUnavailable
from walpy.wal.segment import MIB, segment_name

SECOND = 10**9
LAST = 30  # highest segment
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # thousands of files, each synced


@dataclass(frozen=True)
class Made:
    """A backup of a generated archive; wal: the segments that it spans."""

    name: str
    timeline: int
    segment: int
    last: int
    base: str | None
    permanent: bool
    number: int  # in order of time


@st.composite
def made_backups(draw: st.DrawFn) -> list[Made]:
    """Backups as one cluster takes them: positions only grow, and so do timelines."""
    backups: list[Made] = []
    timeline, segment = 1, draw(st.integers(1, 4))
    for number in range(draw(st.integers(1, 8))):
        timeline += draw(st.integers(0, 3)) // 3
        last = segment + draw(st.integers(0, 2))
        own = segment_name(timeline, segment, MIB)
        base = draw(st.sampled_from([None, None, *backups[-3:]]))
        name = f"base_{own}" + (f"_D_{base.name[5:29]}" if base else "")
        backups.append(
            Made(name, timeline, segment, last, base.name if base else None, draw(st.integers(0, 4)) == 0, number)
        )
        segment = last + draw(st.integers(0, 4)) + 1
    return backups


@dataclass(frozen=True)
class Scene:
    """What an archive holds: backups, WAL (timeline, segment), and names that are nobody's."""

    backups: list[Made]
    wal: set[tuple[int, int]]
    foreign: list[str]

    def store(self, folder: Path) -> Archive:
        archive = open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(folder), "WALG_PG_WAL_SIZE": "1"}))
        for backup in self.backups:
            moment = Timestamp((1_700_000_000 + backup.number * 60) * SECOND)
            archive.put_bytes(layout.tar_partition(backup.name, "part_001.tar", "lz4"), b"tar")
            metadata = BackupMetadata(
                start_time=moment,
                finish_time=moment,
                start_lsn=backup.segment * MIB + 40,
                finish_lsn=backup.last * MIB + 100,
                is_permanent=backup.permanent,
                system_identifier=7,
            )
            archive.put_bytes(layout.metadata(backup.name), metadata.to_json())
            chain = {"delta_from": backup.base, "delta_full_name": backup.base, "delta_count": 1} if backup.base else {}
            archive.put_bytes(layout.sentinel(backup.name), Sentinel(system_identifier=7, **chain).to_json())  # type: ignore[arg-type]
        for timeline, segment in self.wal:
            archive.put_bytes(f"wal_005/{segment_name(timeline, segment, MIB)}.lz4", b"wal")
        for name in self.foreign:
            archive.put_bytes(name, b"foreign")
        return archive


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    backups = draw(made_backups())
    everything = list(itertools.product(range(1, backups[-1].timeline + 1), range(LAST + 1)))
    holes = draw(st.sets(st.sampled_from(everything), max_size=10))
    foreign = ["wal_005/00000002.history.lz4", "walpy_005/identity.json", "notes/000000010000000000000001.txt"]
    return Scene(backups, set(everything) - holes, foreign)


# ---- the oracle


def chain_of(backups: list[Made], backup: Made) -> list[Made]:
    by_name = {item.name: item for item in backups}
    found = [backup]
    while found[-1].base:
        found.append(by_name[found[-1].base])
    return found


def kept_by_hand(backups: list[Made], target: Made) -> set[str]:
    """Not older than the target, permanent, or below one of those."""
    kept = [
        item for item in backups if item.permanent or (item.timeline, item.segment) >= (target.timeline, target.segment)
    ]
    return {base.name for item in kept for base in chain_of(backups, item)}


def wal_needed(backups: list[Made], target: Made, kept: set[str]) -> set[tuple[int, int]]:
    """What recoveries of the kept backups read; of those that are older than the target, to their own end."""
    needed = set()
    for item in (item for item in backups if item.name in kept):
        if (item.timeline, item.segment) < (target.timeline, target.segment):
            needed |= {(item.timeline, number) for number in range(item.segment, item.last + 1)}
        else:
            needed |= {
                (timeline, number) for timeline in range(item.timeline, 20) for number in range(item.segment, LAST + 1)
            }
    return needed


def target_by_hand(backups: list[Made], count: int, modifier: Modifier) -> Made | BaseException | None:
    newest_first = sorted(backups, key=lambda item: (item.timeline, item.segment), reverse=True)
    if modifier is Modifier.FULL:
        newest_first = [item for item in newest_first if not item.base]
    if len(newest_first) < count:
        return None
    if modifier is Modifier.FIND_FULL:
        return next((item for item in newest_first[count - 1 :] if not item.base), None)
    target = newest_first[count - 1]
    return BackupError("a delta") if target.base else target


# ---- what is there afterwards


def names_in(archive: Archive) -> set[str]:
    return {item.name for item in archive.storage.list()}


def objects_of(name: str) -> set[str]:
    return {layout.sentinel(name), layout.metadata(name), layout.tar_partition(name, "part_001.tar", "lz4")}


def wal_in(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.startswith("wal_005/") and name.endswith(".lz4") and ".history" not in name}


def objects_of_wal(segments: Iterable[tuple[int, int]]) -> set[str]:
    return {f"wal_005/{segment_name(timeline, number, MIB)}.lz4" for timeline, number in segments}


class Stopping:
    """A storage whose delete ends, as by kill -9, after so many objects; anything else is the other's."""

    def __init__(self, storage: Any, budget: int) -> None:
        self._storage = storage
        self._budget = budget
        self._chance = random.Random(budget)

    def delete(self, names: Iterable[str]) -> None:
        batch = list(names)
        self._chance.shuffle(batch)  # a batch has no order that one could rely on
        for name in batch:
            if self._budget == 0:
                raise StorageUnavailable("killed")
            self._budget -= 1
            self._storage.delete([name])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def check_stopped(
    scene: Scene, archive: Archive, before: set[str], kept: set[str], needed: set[tuple[int, int]]
) -> None:
    """Nothing that was promised is missing, and what is listed is complete."""
    now = names_in(archive)
    for name in kept:
        assert objects_of(name) <= now
    assert objects_of_wal(needed) & before <= now
    assert set(scene.foreign) <= now
    for backup in scene.backups:
        if layout.sentinel(backup.name) in now:
            for item in chain_of(scene.backups, backup):
                assert objects_of(item.name) <= now


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(scenes(), st.integers(1, 5), st.sampled_from(Modifier), st.integers(0, 12) | st.integers(0, 60))
def test_retain(scene: Scene, count: int, modifier: Modifier, stop_after: int) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        archive = scene.store(Path(folder))
        before = names_in(archive)
        expected = target_by_hand(scene.backups, count, modifier)
        archived = read_archived(archive)
        if isinstance(expected, BaseException):
            with pytest.raises(BackupError, match="incremental"):
                retention.retain(archived, count, modifier)
            return
        target = retention.retain(archived, count, modifier)
        assert (target and target.name) == (expected and expected.name)
        if target is None or expected is None:
            return
        kept = kept_by_hand(scene.backups, expected)
        needed = wal_needed(scene.backups, expected, kept)

        dry = carry_out(retention.older_than(archived, target), archive, confirm=False)
        assert names_in(archive) == before

        stopping = Archive(archive.config, Stopping(archive.storage, stop_after), archive.codec)
        try:
            carry_out(retention.older_than(archived, target), stopping, confirm=True)
        except StorageUnavailable:
            check_stopped(scene, archive, before, kept, needed)

        again = read_archived(archive)
        carry_out(retention.older_than(again, again.by_name[target.name]), archive, confirm=True)
        check_stopped(scene, archive, before, kept, needed)
        now = names_in(archive)
        older = {
            (timeline, number)
            for timeline, number in scene.wal
            if (timeline, number) < (expected.timeline, expected.segment)
        }
        gone = older - needed
        assert wal_in(now) == wal_in(before) - objects_of_wal(gone)
        removed = {item.name for item in scene.backups} - kept
        assert not [name for name in now if any(f"/{item}" in name for item in removed)]
        assert dry.count == len(before) - len(now)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(scenes(), st.data(), st.booleans(), st.integers(0, 12))
def test_target(scene: Scene, data: st.DataObject, whole_chain: bool, stop_after: int) -> None:
    chosen = data.draw(st.sampled_from(scene.backups))
    first = chain_of(scene.backups, chosen)[-1] if whole_chain else chosen
    doomed = {item.name for item in scene.backups if first in chain_of(scene.backups, item)}
    kept = {item.name for item in scene.backups} - doomed
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        archive = scene.store(Path(folder))
        before = names_in(archive)
        archived = read_archived(archive)
        backup = archived.by_name[chosen.name]
        permanent = any(item.permanent for item in scene.backups if item.name in doomed)
        if permanent or not kept:
            with pytest.raises(BackupError, match="permanent" if permanent else "no usable backup would be left"):
                retention.without(archived, backup, whole_chain=whole_chain, force_last=False)
            if permanent:
                return
        plan = retention.without(archived, backup, whole_chain=whole_chain, force_last=True)
        stopping = Archive(archive.config, Stopping(archive.storage, stop_after), archive.codec)
        try:
            carry_out(plan, stopping, confirm=True)
        except StorageUnavailable:
            check_stopped(scene, archive, before, kept, scene.wal)
        carry_out(plan, archive, confirm=True)
        check_stopped(scene, archive, before, kept, scene.wal)
        assert before - names_in(archive) == {name for item in doomed for name in objects_of(item)}
