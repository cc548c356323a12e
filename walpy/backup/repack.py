"""Re-packs the tars of a server's base backup into the parts of a stored one, as WAL-G does.

Members keep their names (without a slash in front; directories end in one) and what the server says of them. Those of a
tablespace are put below pg_tblspc. A part holds members of one archive, and is ended before a file that would make its
data exceed the threshold. pg_control stays where it is, and is kept for the tar of its own that a backup ends with.

Memory: about 250 bytes a file for the comparison with the server's manifest, and 150 for files_metadata.json; parts as
in part_uploads.
Source: parts stored by WAL-G 3.0.9.
"""

import logging
from typing import TYPE_CHECKING, Final

from walpy.backup import tar
from walpy.backup.entry import FileEntry
from walpy.backup.file_entries import local_timestamp
from walpy.backup.files_metadata import TarListing
from walpy.backup.tar_reader import TarReader, full_member, time_of
from walpy.errors import DataCorrupt
from walpy.postgres.backup_manifest import Checksum, ReceivedFile
from walpy.postgres.control import CONTROL_FILE
from walpy.postgres.exclusions import EXCLUDED_FILES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from walpy.backup.part_uploads import PartUploads
    from walpy.backup.special_tars import SmallFile
    from walpy.backup.tar_reader import TarMember
    from walpy.postgres.base_backup import SentArchive
    from walpy.progress import Progress
    from walpy.stream.byte_pipe import BytePipe

LARGEST_CONTROL: Final = 1 << 20  # bytes; PostgreSQL's has 8 KiB
NOTED_AT_ONCE: Final = 1000  # files whose entries are made into text together
MOST_TEMPLATES: Final = 100
MODE_AND_NUMBERS, OWNER_NAMES = slice(100, 124), slice(265, 329)  # where a header tells mode and owner

logger = logging.getLogger(__name__)


class Repacking:
    """What became of the archives so far.

    size: bytes of the server's tars. received: every file that came. control: pg_control, as it came.
    """

    def __init__(self, uploads: "PartUploads", threshold: int, progress: "Progress", *, is_recorded: bool) -> None:
        """threshold: bytes of data in a part. is_recorded: files_metadata.json tells of the files."""
        self.size = 0
        self.received: dict[str, ReceivedFile] = {}
        self.control: SmallFile | None = None
        self._uploads = uploads
        self._threshold = threshold
        self._progress = progress
        self._is_recorded = is_recorded
        self._part: BytePipe | None = None
        self._part_size = 0  # bytes of data in it
        self._part_count = 0
        self._unnoted: list[tuple[str, FileEntry]] = []
        self._noted: list[TarListing] = []
        self._templates: dict[bytes, tar.HeaderTemplate] = {}  # by the bytes that say owner and mode

    def add(self, archive: "SentArchive") -> None:
        """Store the members of an archive. Raises DataCorrupt, StorageError."""
        folder = "" if archive.tablespace is None else f"pg_tblspc/{archive.tablespace}/"
        reader = TarReader(self._counted(archive.chunks))
        for member in reader:
            if folder:
                member = member._replace(name=folder + member.name)
            if member.kind == tar.REGULAR:
                self._file(member, reader)
            else:
                self._begin_member(tar.header(full_member(member, reader.header)), 0)
        self._end_part()

    def listing(self) -> "Iterator[bytes]":
        """Entries of the files, as files_metadata.json has them, in pieces.

        Raises BackupError for a name that is not UTF-8.
        """
        self._note_files()
        return (listing.files for listing in self._noted)

    def _counted(self, chunks: "Iterator[memoryview]") -> "Iterator[memoryview]":
        for chunk in chunks:
            self.size += len(chunk)
            self._progress.advance(len(chunk))
            yield chunk

    def _file(self, member: "TarMember", reader: TarReader) -> None:
        name = member.name.removeprefix("./")
        if name in self.received:
            raise DataCorrupt(f"the server sent {name!r} twice")
        part = None
        if name.rpartition("/")[2] not in EXCLUDED_FILES:  # such as standby.signal
            mtime_ns = time_of(reader.header)
            part = self._begin_member(self._header(member, reader.header, mtime_ns), member.size)
            self._note(name, mtime_ns)
        checksum = Checksum()
        control = self._begin_control(member) if name == CONTROL_FILE else None
        for piece in reader.data():
            checksum.update(piece)
            if part is not None:
                part.write(piece)
            if control is not None:
                control.append(piece)
        if part is not None:
            part.write(bytes(tar.padding(member.size)))
        if control is not None:
            self.control = full_member(member, reader.header), b"".join(control)
        self.received[name] = ReceivedFile(member.size, checksum.value)

    def _begin_control(self, member: "TarMember") -> "list[memoryview]":
        if member.size > LARGEST_CONTROL:
            raise DataCorrupt(f"{CONTROL_FILE} has {member.size} bytes")
        return []

    def _header(self, member: "TarMember", header: bytes, mtime_ns: int) -> bytes:
        """Header of a file. Nearly all have the same owner and mode."""
        owner = header[MODE_AND_NUMBERS] + header[OWNER_NAMES]
        template = self._templates.get(owner)
        if template is None:
            if len(self._templates) == MOST_TEMPLATES:
                self._templates.clear()
            template = self._templates[owner] = tar.HeaderTemplate(full_member(member, header))
        return template.header(member.name.encode("utf-8", "surrogateescape"), member.size, mtime_ns)

    def _note(self, name: str, mtime_ns: int) -> None:
        if self._is_recorded:
            self._unnoted.append((name, FileEntry(local_timestamp(mtime_ns))))
            if len(self._unnoted) == NOTED_AT_ONCE:
                self._note_files()

    def _note_files(self) -> None:
        if self._unnoted:
            self._noted.append(TarListing.of(self._unnoted))
            self._unnoted = []

    def _begin_member(self, header: bytes, size: int) -> "BytePipe":
        """Begin a member with so many bytes of data, in a further part when it would be too much for this one."""
        if self._part_size and self._part_size + size > self._threshold:
            self._end_part()
        if self._part is None:
            self._part_count += 1
            self._part = self._uploads.begin(f"part_{self._part_count:03d}.tar")
        self._part_size += size
        self._part.write(header)
        return self._part

    def _end_part(self) -> None:
        if self._part is not None:
            self._part.write(tar.END)
            self._part.close()
        self._part, self._part_size = None, 0
