"""The three documents that describe a finished backup, made from what is known at its end."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from walpy.backup.file_entries import unchanged_listings
from walpy.backup.files_metadata import TarListing, files_metadata_json
from walpy.backup.model import BackupMetadata, Sentinel, Spec, Tablespace
from walpy.backup.special_tars import LABEL, TABLESPACE_MAP
from walpy.backup.timestamp import Timestamp
from walpy.postgres.database import Database

if TYPE_CHECKING:
    from walpy.backup.delta_base import Base
    from walpy.backup.partition import PartitionResult
    from walpy.postgres.datadir import TablespaceLink
    from walpy.postgres.entry import Entry


@dataclass(frozen=True, slots=True)
class FinishedBackup:
    """All there is to say about a backup; sizes in bytes.

    uncompressed_size: of the files' data in all tars. compressed_size: of the tars as stored. data_catalog_size: of
    every object that the walk met. files_metadata_disabled: there is no files_metadata.json.
    base: the backup that this one is a delta on.
    """

    start_lsn: int
    stop_lsn: int
    start_time: Timestamp
    finish_time: Timestamp
    pg_version: int
    system_identifier: int
    hostname: str
    data_directory: str
    uncompressed_size: int
    compressed_size: int
    data_catalog_size: int
    spec: Spec | None
    user_data: object
    is_permanent: bool
    files_metadata_disabled: bool
    base: "Base | None" = None


def sentinel(backup: FinishedBackup) -> Sentinel:
    """The document that commits the backup."""
    document = Sentinel(
        lsn=backup.start_lsn,
        pg_version=backup.pg_version,
        finish_lsn=backup.stop_lsn,
        system_identifier=backup.system_identifier,
        uncompressed_size=backup.uncompressed_size,
        compressed_size=backup.compressed_size,
        data_catalog_size=backup.data_catalog_size,
        spec=backup.spec,
        user_data=backup.user_data,
        files_metadata_disabled=backup.files_metadata_disabled,
        start_time=backup.start_time,
        finish_time=backup.finish_time,
        hostname=backup.hostname,
        data_dir=backup.data_directory,
        is_permanent=backup.is_permanent,
    )
    base = backup.base
    if base is None:
        return document
    if base.is_catchup:  # empty names, as WAL-G writes them
        return document._replace(delta_lsn=base.lsn, delta_from="", delta_full_name="", delta_count=1)
    return document._replace(
        delta_lsn=base.lsn, delta_from=base.name, delta_full_name=base.full_name, delta_count=base.step
    )


def metadata(backup: FinishedBackup) -> BackupMetadata:
    """What backup-list shows of it."""
    return BackupMetadata(
        start_time=backup.start_time,
        finish_time=backup.finish_time,
        hostname=backup.hostname,
        data_dir=backup.data_directory,
        pg_version=backup.pg_version,
        start_lsn=backup.start_lsn,
        finish_lsn=backup.stop_lsn,
        is_permanent=backup.is_permanent,
        system_identifier=backup.system_identifier,
        uncompressed_size=backup.uncompressed_size,
        compressed_size=backup.compressed_size,
        user_data=backup.user_data,
    )


def files_metadata(
    results: "Iterable[PartitionResult]",
    label_object: str,
    databases: Mapping[str, Database],
    unchanged: "Iterable[Entry]" = (),
) -> Iterator[bytes]:
    """Every object that is in a tar, and in which, as JSON, in pieces; pg_control is in no list, as in WAL-G.

    results: of the partitions, in their order. label_object: name of the object with backup_label, which lists names
    alone. unchanged: files that are as the base has them.
    """
    tars = {_base(result.object_name): result.listing for result in results}
    tars[_base(label_object)] = TarListing.of_names(TABLESPACE_MAP, LABEL)
    return files_metadata_json(tars, databases, unchanged_listings(unchanged))


def tablespace_spec(data_directory: str, links: "Sequence[TablespaceLink]") -> Spec | None:
    """Where the tablespaces are; None without any."""
    if not links:
        return None
    return Spec(data_directory, tuple(Tablespace(link.name, link.location, link.link) for link in links))


def now_rounded_up() -> Timestamp:
    """The present as WAL-G notes it: UTC, whole microseconds."""
    return Timestamp(-(-time.time_ns() // 1000) * 1000)


def _base(object_name: str) -> str:
    return object_name.rpartition("/")[2]
