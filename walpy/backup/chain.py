"""What restoring a backup takes: it alone when it is full, else a chain, from its full backup up to the delta itself.

The newest backup's list decides which files exist in the end. What it holds whole comes from it; what it skipped, or
holds the changed pages of, comes from its base too, and so on down. A file is thus stored whole in exactly one member,
and no older version of it is read. All of it is found out, and checked, before anything is written.

Lists are read from the newest backup down, one at a time. Memory: beside one list of files (files_metadata.py), the
names of the files that each member has to bring, about 200 bytes each.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from walpy import layout
from walpy.archive import Archive
from walpy.backup.catalog import read_sentinel
from walpy.backup.extract import PartJob, relative_name
from walpy.backup.files_metadata import FilesMetadata, read_files_metadata
from walpy.backup.model import Sentinel
from walpy.backup.parts import Tars, check_has_control, check_parts, choose_parts, list_tars, some
from walpy.errors import BackupError, DataCorrupt
from walpy.postgres.control import CONTROL_FILE
from walpy.postgres.lsn import format_lsn

SPECIAL_FILES: Final = frozenset({CONTROL_FILE, "backup_label", "tablespace_map"})  # have tars of their own, or none

Names = frozenset[str]  # relative to the data directory
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
    parts: tuple[PartJob, ...] = ()
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


def plan_chain(archive: Archive, links: tuple[Link, ...], choose: Choose, *, skip_redundant: bool = True) -> Chain:
    """Choose what comes from which backup. links: as read_links gives them.

    skip_redundant: leave out parts of the newest backup in which nothing is wanted. Raises BackupError, naming the
    backup and the object or file, for what is missing; DataCorrupt.
    """
    newest = links[0]
    files = read_files_metadata(archive, *newest)
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
    special = tuple(replace(job, wanted=selected) for job in tars.special)
    return Chain(tuple(reversed(members)), special, tars.size_of(tars.special), selected)


@dataclass(slots=True)
class _Share:
    """How the wanted files divide: here comes from this backup, below from its base; increments are in both."""

    here: set[str] = field(default_factory=set)
    below: set[str] = field(default_factory=set)
    increments: set[str] = field(default_factory=set)
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


def _share(link: Link, files: FilesMetadata, wanted: set[str]) -> _Share:
    """What of the wanted files comes from a base. All of it when the base has no list: then it is full."""
    if not files.files and not link.sentinel.is_delta:
        return _Share(here=wanted)
    share = _divided(link, files, wanted)
    unlisted = wanted - share.here - share.below
    if unlisted:
        raise BackupError(
            f"backup {link.backup} lacks {some(unlisted)}, which the delta on it was made from",
            "The delta cannot be restored without; use another backup.",
        )
    return share


def _divided(link: Link, files: FilesMetadata, wanted: set[str] | Names | None) -> _Share:
    share = _Share()
    for member_name, entry in files.files.items():
        name = relative_name(member_name)
        if wanted is not None and name not in wanted:
            continue
        if entry.is_skipped:
            share.below.add(name)
            continue
        share.here.add(name)
        if entry.is_incremented:
            share.increments.add(name)
            share.below.add(name)
    if share.below and not link.sentinel.is_delta:
        raise DataCorrupt(f"backup {link.backup} is full, but its list has changes of {some(share.below)}")
    return share


def _member(link: Link, files: FilesMetadata, share: _Share, tars: Tars, *, keep_all: bool) -> ChainMember:
    check_parts(link.backup, tars, files.tar_file_sets, share.here)
    if share.is_everything:
        parts = tars.data
    else:
        parts = choose_parts(tars, files.tar_file_sets, share.here, share.increments, keep_all=keep_all)
    stored_size, all_stored = tars.size_of(parts), tars.size_of(tars.data)
    return ChainMember(
        *link,
        names=frozenset(share.here),
        is_everything=share.is_everything,
        increments=frozenset(share.increments),
        parts=parts,
        stored_size=stored_size,
        plain_size=link.sentinel.uncompressed_size * stored_size // max(all_stored, 1),
    )
