"""wal-restore: brings back the segments that a cluster has removed since it parted from another one, for pg_rewind.

Both clusters are on this host, and stopped: the one that will be rewound (the target), and the one that went on (the
source), whose WAL directory is filled, as WAL-G does. The way of the WAL comes from its own history file.
"""

import logging
import os
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from walpy.errors import InvalidWal, WalpyError
from walpy.postgres.control import CONTROL_FILE, ControlFile, read_control
from walpy.postgres.lsn import format_lsn
from walpy.wal.fetch import download_wal
from walpy.wal.history import Path, Switch, read_local_history
from walpy.wal.inventory import without_extension
from walpy.wal.local import wal_folder
from walpy.wal.segment import segment_name, segment_of_lsn

if TYPE_CHECKING:
    from walpy.archive import Archive

logger = logging.getLogger(__name__)


class _Cluster(NamedTuple):
    """What the files of one cluster tell; wal: its WAL directory."""

    directory: str
    wal: str
    control: ControlFile
    history: Sequence[Switch]


def wal_restore(archive: "Archive", target: str, source: str) -> list[str]:
    """Fetch what is missing in the source's WAL directory since the two parted, the newest first; the names of it.

    target, source: data directories. Raises WalpyError for directories that are none or of different clusters, for
    timelines that are equal or never parted, and, when the rest has been fetched, for segments that could not be.
    """
    rewound, ahead = _read(target), _read(source)
    _check(rewound, ahead)
    parted = parting(rewound.history, rewound.control.timeline, ahead.history, ahead.control.timeline)
    logger.info("the clusters parted at %s of timeline %d", format_lsn(parted.lsn), parted.timeline)
    names = missing_segments(ahead, parted)
    if not names:
        logger.info("No WAL files to restore")
        return []
    failed = []
    for name in names:
        try:
            download_wal(archive, name, os.path.join(ahead.wal, name))
        except WalpyError as error:
            logger.error("cannot restore %s: %s", name, error)
            failed.append(name)
    if failed:
        raise WalpyError(
            f"{len(failed)} of {len(names)} WAL files could not be restored: {', '.join(failed[:10])}",
            "pg_rewind needs them all; see the errors above.",
        )
    logger.info("Restored %d WAL files to %s", len(names), ahead.wal)
    return names


def parting(first: Sequence[Switch], timeline: int, second: Sequence[Switch], other_timeline: int) -> Switch:
    """Where two histories part: the last timeline that both were on, and the earlier of the ends that they had there.

    timeline, other_timeline: the current ones. Raises WalpyError when they have no timeline in common.
    Source: PostgreSQL, src/bin/pg_rewind/pg_rewind.c, findCommonAncestorTimeline.
    """
    never = 1 << 64
    common: Switch | None = None
    for one, other in zip_longest([*first, Switch(timeline, never)], [*second, Switch(other_timeline, never)]):  # type: ignore[arg-type]
        if one is None or other is None or one.timeline != other.timeline:
            break
        common = Switch(one.timeline, min(one.lsn, other.lsn))
        if one.lsn != other.lsn:
            break
    if common is None:
        raise WalpyError("the two clusters have no timeline in common")
    if common.lsn == never:
        raise WalpyError(f"both clusters are on timeline {common.timeline}: there is nothing to rewind")
    return common


def missing_segments(cluster: _Cluster, parted: Switch) -> list[str]:
    """Segments on the cluster's way, from that of the parting to that of its checkpoint, that it lacks; newest first.

    What follows the checkpoint PostgreSQL has kept.
    """
    size = cluster.control.segment_size
    try:
        present = {without_extension(name) for name in os.listdir(cluster.wal)}
    except OSError as error:
        raise WalpyError(f"cannot list {cluster.wal!r}: {error.strerror}") from None
    way = Path.to(cluster.control.timeline, cluster.history, size)
    newest, oldest = (segment_of_lsn(lsn, size) for lsn in (cluster.control.checkpoint_lsn, parted.lsn))
    wanted = (segment_name(way.timeline_of(number), number, size) for number in range(newest, oldest - 1, -1))
    return [name for name in wanted if name not in present]


def _read(directory: str) -> _Cluster:
    path = os.path.join(directory, CONTROL_FILE)
    try:
        control = read_control(path)
    except OSError as error:
        raise WalpyError(f"cannot read {path!r}: {error.strerror}", "Name a data directory.") from None
    wal = wal_folder(directory)
    if wal is None:
        raise WalpyError(f"{directory!r} has no WAL directory")
    return _Cluster(directory, wal, control, _history(wal, control.timeline))


def _history(wal: str, timeline: int) -> list[Switch]:
    try:
        return read_local_history(wal, timeline)
    except OSError as error:
        raise WalpyError(f"cannot read the timeline's history {error.filename!r}: {error.strerror}") from None


def _check(target: _Cluster, source: _Cluster) -> None:
    if target.control.system_identifier != source.control.system_identifier:
        raise InvalidWal(
            f"{target.directory!r} and {source.directory!r} are different clusters: system identifiers "
            f"{target.control.system_identifier} and {source.control.system_identifier}"
        )
    if target.control.timeline == source.control.timeline:
        raise WalpyError(f"both clusters are on timeline {target.control.timeline}: there is nothing to rewind")
