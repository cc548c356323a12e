"""The tars of a stored backup: which there are, which a restore needs, and whether one that it needs is gone."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NamedTuple

from walpy import layout
from walpy.archive import Archive
from walpy.backup.catalog import is_wale
from walpy.backup.extract import PartJob, relative_name
from walpy.backup.file_table import Jobs
from walpy.errors import BackupError
from walpy.stream.codecs import codec_for_extension

_SPECIAL: Final = re.compile(r"(pg_control|backup_label)\.tar(\..*)?$")  # WAL-G 3.0.8 left the dot of the codec none
NAMES_SHOWN: Final = 5

FileSets = Mapping[str, Sequence[str]]  # members' names by their tar's


class Tars(NamedTuple):
    """Tars of one backup, the largest first, so that workers end at the same time, and their stored bytes.

    special: those of backup_label and pg_control, in the order to extract them; none in WAL-E's backups.
    """

    data: tuple[PartJob, ...]
    special: tuple[PartJob, ...]
    sizes: Mapping[str, int]

    def size_of(self, jobs: Collection[PartJob]) -> int:
        """Stored bytes of some of them."""
        return sum(self.sizes[job.object_name] for job in jobs)


def list_tars(archive: Archive, backup: str) -> Tars:
    """List a backup's tars. Raises BackupError when it has no data, and for an extension that names no codec."""
    folder = archive.storage.list_folder(layout.tar_folder(backup))
    largest_first = sorted(folder.objects, key=lambda found: -found.size)
    jobs = [PartJob(found.name, _extension(found.name)) for found in largest_first]
    for job in jobs:
        codec_for_extension(job.extension)
    special = {match.group(1): job for job in jobs if (match := _SPECIAL.search(job.part))}
    data = tuple(job for job in jobs if not _SPECIAL.search(job.part))
    if not data:
        raise BackupError(f"backup {backup} has no data: nothing is in {layout.tar_folder(backup)!r}")
    if is_wale(backup):
        special = {}
    ordered = tuple(special[name] for name in ("backup_label", "pg_control") if name in special)
    return Tars(data, ordered, {found.name: found.size for found in folder.objects})


def check_has_control(backup: str, tars: Tars) -> None:
    """Raise BackupError when the tar of pg_control is missing, which only WAL-E's backups do without."""
    if not is_wale(backup) and not any("pg_control" in job.part for job in tars.special):
        raise BackupError(f"backup {backup} has no pg_control tar in {layout.tar_folder(backup)!r}")


def check_parts(backup: str, tars: Tars, file_sets: FileSets, wanted: Collection[str]) -> None:
    """Raise BackupError when a tar that holds wanted files is gone, before anything is restored.

    wanted: relative names. A dot at the end of a tar's name does not count: WAL-G 3.0.8 wrote one with the codec none,
    and could only restore what its users then renamed.
    """
    present = {_undotted(job.part) for job in (*tars.data, *tars.special)}
    lost = [
        part
        for part, names in file_sets.items()
        if _undotted(part) not in present and any(relative_name(name) in wanted for name in names)
    ]
    if lost:
        raise BackupError(
            f"backup {backup} has lost {some(lost)}", "The objects were deleted after the backup; use another backup."
        )


def choose_parts(
    tars: Tars, file_sets: FileSets, wanted: Collection[str], increments: Collection[str], *, keep_all: bool
) -> tuple[Sequence[PartJob], int]:
    """The data tars that hold wanted files, each with the names of its own; those that nothing tells about, with all.

    keep_all: also those that hold none. Returns their stored bytes too. Names are taken when a job is asked for.
    """
    sets = {_undotted(part): names for part, names in file_sets.items()}
    makers, size = [], 0
    for job in tars.data:
        listed = sets.get(_undotted(job.part))
        candidates = wanted if listed is None else _Relative(listed)
        if keep_all or any(name in wanted for name in candidates):
            makers.append(partial(_with_names, job, candidates, wanted, increments))
            size += tars.sizes[job.object_name]
    return Jobs(makers), size


def _with_names(
    job: PartJob, candidates: Iterable[str], wanted: Collection[str], increments: Collection[str]
) -> PartJob:
    found = frozenset(name for name in candidates if name in wanted)
    return replace(job, wanted=found, increments=frozenset(name for name in found if name in increments))


@dataclass(frozen=True, slots=True)
class _Relative:
    """Names of members, as their places below the data directory."""

    listed: Sequence[str]

    def __iter__(self) -> Iterator[str]:
        return map(relative_name, self.listed)


def some(names: Collection[str]) -> str:
    """The first few names, for a message."""
    shown = ", ".join(name or "/" for name in sorted(names)[:NAMES_SHOWN])
    return shown if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN} more"


def _undotted(part: str) -> str:
    return part.rstrip(".")


def _extension(object_name: str) -> str:
    extension = object_name.rpartition("/")[2].rpartition(".")[2]
    return "" if extension == "tar" else extension
