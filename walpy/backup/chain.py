"""What restoring a backup takes: it alone when it is full, else a chain, from its full backup up to the delta itself.

The newest backup's list decides which files exist in the end. What it holds whole comes from it; what it skipped, or
holds the changed pages of, comes from its base too, and so on down. A file is thus stored whole in exactly one member,
and no older version of it is read. All of it is found out, and checked, before anything is written.

Lists are read from the newest backup down. Memory: the list of each member (file_table.py), and three bytes more for
each of its files; the names of a part's files are made when a worker is given the part.
"""

import logging
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from walpy import layout
from walpy.archive import Archive
from walpy.backup.catalog import read_sentinel
from walpy.backup.extract import PartJob, relative_name
from walpy.backup.file_table import FileTable, NameSet
from walpy.backup.files_metadata import FilesMetadata, read_files_metadata
from walpy.backup.model import Sentinel
from walpy.backup.parts import Tars, check_has_control, check_parts, choose_parts, list_tars, some
from walpy.errors import BackupError, DataCorrupt
from walpy.postgres.control import CONTROL_FILE
from walpy.postgres.lsn import format_lsn

SPECIAL_FILES: Final = frozenset({CONTROL_FILE, "backup_label", "tablespace_map"})  # have tars of their own, or none

Names = Set[str]  # relative to the data directory
Choose = Callable[[FilesMetadata], Names | None]  # what to restore of the newest backup; None is everything

logger = logging.getLogger(__name__)


class Link(NamedTuple):
    """A backup of a chain, and its sentinel."""

    backup: str
    sentinel: Sentinel


@dataclass(frozen=True, slots=True)
class ChainMember:
    """What one backup of a chain has to bring.

    names: of files and directories that must arrive from it; empty when it has no list and all of it is wanted.
    is_everything: whether what its tars hold beyond that is restored too. increments: the files that it only changes.
    sizes are bytes: stored_size of the chosen parts, plain_size of what is in them, roughly.
    """

    backup: str
    sentinel: Sentinel
    names: Names = frozenset()
    is_everything: bool = False
    increments: Names = frozenset()
    parts: Sequence[PartJob] = ()
    stored_size: int = 0
    plain_size: int = 0


@dataclass(frozen=True, slots=True)
class Chain:
    """The members, the full backup first. special_parts: of the newest, backup_label first, pg_control last.

    selected: the files to restore, where not all are.
    """

    members: tuple[ChainMember, ...]
    special_parts: tuple[PartJob, ...]
    special_size: int
    selected: Names | None

    @property
    def newest(self) -> ChainMember:
        """The backup that is restored."""
        return self.members[-1]

    @property
    def has_control_file(self) -> bool:
        """Whether pg_control is restored."""
        return self.selected is None or CONTROL_FILE in self.selected


def read_links(archive: Archive, backup: str) -> tuple[Link, ...]:
    """The sentinels of a backup and all below it, itself first.

    Raises BackupError when one of them is missing, or does not fit to the one above; DataCorrupt for a damaged one.
    """
    links = [Link(backup, read_sentinel(archive, backup))]
    while (base := links[-1].sentinel.delta_from) is not None:
        delta = links[-1]
        _check_delta(delta)
        if any(base == link.backup for link in links):
            raise BackupError(f"backup {delta.backup} is a delta of {base}, which is a delta of it")
        links.append(_read_base(archive, delta, base))
        logger.info("Delta from %s at LSN %s", base, format_lsn(delta.sentinel.delta_lsn or 0))
    return tuple(links)


def _check_delta(delta: Link) -> None:
    known = {
        "DeltaLSN": delta.sentinel.delta_lsn,
        "DeltaFullName": delta.sentinel.delta_full_name,
        "DeltaCount": delta.sentinel.delta_count,
    }
    for name, value in known.items():
        if value is None:
            raise DataCorrupt(f"sentinel {layout.sentinel(delta.backup)!r} has DeltaFrom but no {name}")


def _read_base(archive: Archive, delta: Link, base: str) -> Link:
    try:
        sentinel = read_sentinel(archive, base)
    except BackupError as error:
        raise BackupError(
            f"backup {delta.backup} is a delta of {base}, whose sentinel {layout.sentinel(base)!r} is missing",
            "Without it the delta cannot be restored; use another backup.",
        ) from error
    wanted_lsn, lsn = delta.sentinel.delta_lsn, sentinel.lsn
    if lsn is not None and wanted_lsn is not None and lsn != wanted_lsn:
        raise BackupError(
            f"backup {delta.backup} was made on {base} of LSN {format_lsn(wanted_lsn)}, "
            f"but the archive's was taken at {format_lsn(lsn)}",
            "Another backup has taken the base's name; use another backup.",
        )
    identifiers = {delta.sentinel.system_identifier, sentinel.system_identifier} - {None}
    if len(identifiers) > 1:
        raise BackupError(f"backup {delta.backup} and its base {base} are of different clusters")
    return Link(base, sentinel)


def plan_chain(
    archive: Archive, links: tuple[Link, ...], choose: Choose, *, skip_redundant: bool = True, by_names: bool = False
) -> Chain:
    """Choose what comes from which backup. links: as read_links gives them.

    skip_redundant: leave out parts of the newest backup in which nothing is wanted. by_names: choose() needs the names
    of the newest one's databases. Raises BackupError, naming the backup and the object or file, for what is missing;
    DataCorrupt.
    """
    newest = links[0]
    files = read_files_metadata(archive, *newest, with_databases=by_names)
    selected = choose(files)
    tars = list_tars(archive, newest.backup)
    check_has_control(newest.backup, tars)
    share = _share_of_newest(newest, files, selected)
    check_parts(newest.backup, tars, files.tar_file_sets, SPECIAL_FILES)
    members = [_member(newest, files, share, tars, keep_all=not skip_redundant and selected is not None)]
    for link in links[1:]:
        if not share.below:
            members.append(ChainMember(*link))
            continue
        files = FilesMetadata()  # that of the delta above is no longer needed
        files = read_files_metadata(archive, *link)
        share = _share(link, files, share.below)
        members.append(_member(link, files, share, list_tars(archive, link.backup), keep_all=False))
    wanted = None if selected is None else frozenset(name for name in SPECIAL_FILES if name in selected)
    special = tuple(replace(job, wanted=wanted) for job in tars.special)
    return Chain(tuple(reversed(members)), special, tars.size_of(tars.special), selected)


@dataclass(slots=True)
class _Share:
    """How the wanted files divide: here comes from this backup, below from its base; increments are in both."""

    here: Names
    below: Names = frozenset()
    increments: Names = frozenset()
    is_everything: bool = False


def _share_of_newest(link: Link, files: FilesMetadata, selected: Names | None) -> _Share:
    if link.sentinel.is_delta and not files.files:
        raise BackupError(
            f"backup {link.backup} is a delta without its list of files, {layout.files_metadata(link.backup)!r}",
            "Nothing tells which of its files are whole; use another backup.",
        )
    share = _divided(link, files, selected)
    share.is_everything = selected is None and not link.sentinel.is_delta
    return share


def _share(link: Link, files: FilesMetadata, wanted: Names) -> _Share:
    """What of the wanted files comes from a base. All of it when the base has no list: then it is full."""
    if not files.files and not link.sentinel.is_delta:
        return _Share(here=wanted)
    share = _divided(link, files, wanted)
    unlisted = [name for name in wanted if name not in share.here and name not in share.below]
    if unlisted:
        raise BackupError(
            f"backup {link.backup} lacks {some(unlisted)}, which the delta on it was made from",
            "The delta cannot be restored without; use another backup.",
        )
    return share


def _divided(link: Link, files: FilesMetadata, wanted: Names | None) -> _Share:
    table = FileTable.of(files.files)
    here, below, increments = NameSet(table), NameSet(table), NameSet(table)
    for number, member_name, entry in table.numbered():
        name = relative_name(member_name)
        if wanted is not None and name not in wanted:
            continue
        if entry.is_skipped:
            below.add(number, name)
            continue
        here.add(number, name)
        if entry.is_incremented:
            increments.add(number, name)
            below.add(number, name)
    if below and not link.sentinel.is_delta:
        raise DataCorrupt(f"backup {link.backup} is full, but its list has changes of {some(below)}")
    return _Share(here, below, increments)


def _member(link: Link, files: FilesMetadata, share: _Share, tars: Tars, *, keep_all: bool) -> ChainMember:
    check_parts(link.backup, tars, files.tar_file_sets, share.here)
    all_stored = stored_size = tars.size_of(tars.data)
    parts: Sequence[PartJob] = tars.data
    if not share.is_everything:
        parts, stored_size = choose_parts(tars, files.tar_file_sets, share.here, share.increments, keep_all=keep_all)
    return ChainMember(
        *link,
        names=share.here,
        is_everything=share.is_everything,
        increments=share.increments,
        parts=parts,
        stored_size=stored_size,
        plain_size=link.sentinel.uncompressed_size * stored_size // max(all_stored, 1),
    )
