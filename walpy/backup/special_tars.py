"""The two small tars that a backup ends with: pg_control, and what stopping it returned."""

import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from walpy import layout
from walpy.archive import Stored
from walpy.backup import tar
from walpy.backup.members import tar_member

if TYPE_CHECKING:
    from walpy.archive import Archive
    from walpy.postgres.entry import Entry

CONTROL_TAR = "pg_control.tar"
LABEL_TAR = "backup_label.tar"
LABEL, TABLESPACE_MAP = "backup_label", "tablespace_map"

SmallFile = tuple[tar.Member, bytes]


def control_file(entry: "Entry", data: bytes) -> SmallFile:
    """pg_control as it was just read; entry: as the walk saw it."""
    return replace(tar_member(entry), size=len(data)), data


def label_files(label: bytes, tablespace_map: bytes) -> list[SmallFile]:
    """backup_label and tablespace_map, as WAL-G describes them: no owner, no time; the map is there even if empty."""
    mode = stat.S_IRUSR | stat.S_IWUSR
    contents = ((LABEL, label), (TABLESPACE_MAP, tablespace_map))
    return [(tar.Member(name.encode(), mode=mode, size=len(data)), data) for name, data in contents]


def put_tar(archive: "Archive", backup: str, tar_name: str, files: Sequence[SmallFile]) -> Stored:
    """Store a tar of small files among the parts of a backup; size: bytes of the files' data."""
    object_name = layout.tar_partition(backup, tar_name, archive.codec.extension)
    stored_size = archive.storage.put(object_name, archive.encode(_blocks(files)))
    return Stored(object_name, sum(len(data) for _, data in files), stored_size)


def _blocks(files: Sequence[SmallFile]) -> Iterator[bytes]:
    for member, data in files:
        yield tar.header(member) + data + bytes(tar.padding(len(data)))
    yield tar.END
