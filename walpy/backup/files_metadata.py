"""`files_metadata.json`: every object of a backed-up cluster, the tar that holds it, and the tables' names.

WAL-G writes maps in random order; walpy keeps the order it is given. Memory: about 50 bytes a file where it is read
from an archive, 400 where it is parsed as a whole, which tests and the sentinels of old WAL-G versions do.
Source: WAL-G 3.0.9's stored objects.
"""

import logging
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from walpy import layout
from walpy.backup.catalog import is_wale
from walpy.backup.entry import CorruptBlocks, FileEntry
from walpy.backup.file_table import FileTable, NameList
from walpy.backup.gojson import Fields, parse_object, text_v2, texts_v2
from walpy.backup.json_stream import JsonStream
from walpy.backup.timestamp import Timestamp
from walpy.errors import DataCorrupt, ObjectMissing
from walpy.postgres.database import Database, Table

if TYPE_CHECKING:
    from walpy.archive import Archive
    from walpy.backup.model import Sentinel
    from walpy.storage.base import Chunk

logger = logging.getLogger(__name__)

LISTED_AT_ONCE = 10_000  # files whose texts are in memory

_FASTEST = 1  # zlib's level
_PLAIN_NAMES = {"IsIncremented", "IsSkipped", "MTime", "UpdatesCount"}


@dataclass(frozen=True, slots=True)
class FilesMetadata:
    """All of it: files by member name, member names by tar object name, databases by name."""

    files: Mapping[str, FileEntry] = field(default_factory=dict)
    tar_file_sets: Mapping[str, Sequence[str]] = field(default_factory=dict)
    databases: Mapping[str, Database] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: bytes | str, what: str = "files_metadata.json") -> "FilesMetadata":
        """Parse it. Raises DataCorrupt, naming what, for wrong types."""
        return cls.from_fields(parse_object(data, what, _plain_entry_or_object))

    @classmethod
    def from_fields(cls, fields: Fields) -> "FilesMetadata":
        """Take it from a parsed object: files_metadata.json, or the sentinel of an old WAL-G version."""
        files = fields.fields("Files")
        tar_file_sets = fields.fields("TarFileSets")
        databases = fields.fields("DatabasesByNames")
        return cls(
            {name: _as_entry(value) or _file_entry(files.fields(name)) for name, value in files.items()},
            {name: tar_file_sets.texts(name) for name in tar_file_sets.names()},
            {name: _database(databases.fields(name)) for name in databases.names()},
        )

    def to_json(self) -> bytes:
        """WAL-G's bytes. Raises BackupError for a name that is not valid UTF-8."""
        sets = ((name, _names_text(names)) for name, names in self.tar_file_sets.items())
        return b"".join(_document(iter([files_text(self.files.items())]), _members(sets), self.databases))


class TarListing(NamedTuple):
    """What files_metadata.json says of one tar: who packs it writes the text, and it is only put together.

    Compressed to an eighth, because the listings of all tars wait for the end of the backup.
    """

    deflated_files: bytes = b""
    deflated_names: bytes = b""

    @classmethod
    def of(cls, files: Iterable[tuple[str, FileEntry]]) -> "TarListing":
        """Of the files with their entries, in order. Raises BackupError for a name that is not valid UTF-8."""
        return cls.of_texts((name, entry_text(entry)) for name, entry in files)

    @classmethod
    def of_texts(cls, files: Iterable[tuple[str, str]]) -> "TarListing":
        """The same with the entries' texts. Memory: some thousand files at a time."""
        members, names = _Deflating(), _Deflating()
        opening, files = "", iter(files)
        while some := list(islice(files, LISTED_AT_ONCE)):
            quoted = texts_v2([name for name, _ in some])
            members.add(opening + ",".join([f"{name}:{text}" for name, (_, text) in zip(quoted, some, strict=True)]))
            names.add((opening or "[") + ",".join(quoted))
            opening = ","
        return cls(members.finish(), names.finish("]" if opening else ""))

    @classmethod
    def of_names(cls, *names: str) -> "TarListing":
        """Of a tar whose files have no entries."""
        return cls(deflated_names=_deflated(_names_text(names)))

    @property
    def files(self) -> bytes:
        """The entries of its files."""
        return zlib.decompress(self.deflated_files) if self.deflated_files else b""

    @property
    def names(self) -> bytes:
        """Their names, which the tar's name leads to."""
        return zlib.decompress(self.deflated_names) if self.deflated_names else b"[]"


def _deflated(text: bytes) -> bytes:
    return zlib.compress(text, _FASTEST) if text else b""


class _Deflating:
    """A text that is compressed piece by piece; empty when there was none."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(_FASTEST)
        self._pieces: list[bytes] = []

    def add(self, text: str) -> None:
        self._pieces.append(self._compressor.compress(text.encode()))

    def finish(self, text: str = "") -> bytes:
        """All of it, with its last piece."""
        if text:
            self.add(text)
        return b"".join([*self._pieces, self._compressor.flush()]) if self._pieces else b""


def files_metadata_json(
    tars: Mapping[str, TarListing], databases: Mapping[str, Database], skipped: Iterable[bytes] = ()
) -> Iterator[bytes]:
    """The document in pieces, of listings by the names of the tars' objects; as FilesMetadata.to_json of the same.

    skipped: entries of files that are in no tar.
    """
    files = chain((listing.files for listing in tars.values()), skipped)
    return _document(files, _members((name, listing.names) for name, listing in tars.items()), databases)


def _document(files: Iterator[bytes], sets: Iterator[bytes], databases: Mapping[str, Database]) -> Iterator[bytes]:
    texts = _members((name, _database_text(database).encode()) for name, database in databases.items())
    before = b"{"
    for name, members in ((b"Files", files), (b"TarFileSets", sets), (b"DatabasesByNames", texts)):
        opening = b'%b"%b":{' % (before, name)
        for member in filter(None, members):
            yield opening + member
            opening, before = b",", b"},"
    yield b"{}" if before == b"{" else b"}}"


def _members(texts: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    return (b"%b:%b" % (text_v2(name).encode(), text) for name, text in texts)


def files_text(files: Iterable[tuple[str, FileEntry]]) -> bytes:
    """The members of `Files`, without braces. Raises BackupError for a name that is not valid UTF-8."""
    return ",".join([f"{text_v2(name)}:{entry_text(entry)}" for name, entry in files]).encode()


def _names_text(names: Iterable[str]) -> bytes:
    return f"[{','.join(map(text_v2, names))}]".encode()


def _plain_entry_or_object(value: dict[str, object]) -> object:
    """A file's entry at once, so that the objects of all files never are in memory together."""
    return _plain_entry(value) or value


def _as_entry(value: object) -> FileEntry | None:
    """An entry, or what tells one: in a sentinel. None when it needs a closer look."""
    if isinstance(value, FileEntry):
        return value
    return _plain_entry(value) if isinstance(value, dict) else None


def _plain_entry(value: dict[str, Any]) -> FileEntry | None:
    """The entry of a file without corrupt blocks, fast: there may be millions. None when it needs a closer look."""
    if value.keys() != _PLAIN_NAMES:
        return None
    mtime, updates = value["MTime"], value["UpdatesCount"]
    incremented, skipped = value["IsIncremented"], value["IsSkipped"]
    kinds = (type(mtime), type(updates), type(incremented), type(skipped))
    if kinds != (str, int, bool, bool) or not 0 <= updates < 1 << 64:
        return None
    try:
        return FileEntry(Timestamp.parse(mtime), incremented, skipped, None, updates)
    except ValueError:
        return None


def _file_entry(fields: Fields) -> FileEntry:
    corrupt = fields.optional_fields("CorruptBlocks")
    return FileEntry(
        mtime=fields.timestamp("MTime"),
        is_incremented=fields.boolean("IsIncremented"),
        is_skipped=fields.boolean("IsSkipped"),
        corrupt_blocks=None if corrupt is None else _corrupt_blocks(corrupt),
        updates_count=fields.integer("UpdatesCount", signed=False),
    )


def _corrupt_blocks(fields: Fields) -> CorruptBlocks:
    return CorruptBlocks(fields.integer("CorruptBlocksCount"), fields.integers("SomeCorruptBlocks"))


def _database(fields: Fields) -> Database:
    return Database(fields.integer("oid", bits=32, signed=False), _tables(fields.fields("tables_new")))


def _tables(fields: Fields) -> dict[str, Table]:
    tables = {}
    for name in fields.names():
        entry = fields.fields(name)
        oid, relfilenode = (entry.integer(key, bits=32, signed=False) for key in ("oid", "relfilenode"))
        tables[name] = Table(oid, relfilenode, _tables(entry.fields("subtables")))
    return tables


def plain_entry_text(mtime: str, updates_count: int) -> str:
    """entry_text of a whole file without corrupt blocks, which nearly all are."""
    return f'{{"IsIncremented":false,"IsSkipped":false,"MTime":"{mtime}","UpdatesCount":{updates_count}}}'


def entry_text(entry: FileEntry) -> str:
    """What `Files` says of a file."""
    corrupt = ""
    if entry.corrupt_blocks is not None:
        blocks = ",".join(map(str, entry.corrupt_blocks.some))
        corrupt = (
            f',"CorruptBlocks":{{"CorruptBlocksCount":{entry.corrupt_blocks.count},"SomeCorruptBlocks":[{blocks}]}}'
        )
    return (
        f'{{"IsIncremented":{_boolean(entry.is_incremented)},"IsSkipped":{_boolean(entry.is_skipped)}'
        f',"MTime":"{entry.mtime.rfc3339_ns()}"{corrupt},"UpdatesCount":{entry.updates_count}}}'
    )


def _database_text(database: Database) -> str:
    tables = f',"tables_new":{_tables_text(database.tables)}' if database.tables else ""
    return f'{{"oid":{database.oid}{tables}}}'


def _tables_text(tables: Mapping[str, Table]) -> str:
    return _map((name, _table_text(table)) for name, table in tables.items())


def _table_text(table: Table) -> str:
    subtables = f',"subtables":{_tables_text(table.subtables)}' if table.subtables else ""
    return f'{{"oid":{table.oid},"relfilenode":{table.relfilenode}{subtables}}}'


def _map(members: Iterable[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{text_v2(name)}:{value}" for name, value in members) + "}"


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def read_files_metadata(
    archive: "Archive", backup: str, sentinel: "Sentinel", *, with_databases: bool = False
) -> FilesMetadata:
    """Read a backup's list of files; an empty one when there is none: then every member of its tars is wanted.

    It is read as it comes, into little memory (file_table.py). with_databases: the names of relations too, which take
    more.

    A list that should be there and is not is a warning only, as in WAL-G: the tars of a full backup hold all that is
    needed. Raises DataCorrupt for a damaged one.
    """
    embedded = sentinel.embedded_files()
    if embedded is not None:
        return FilesMetadata.from_fields(Fields(dict(embedded), f"sentinel of {backup}"))
    if sentinel.files_metadata_disabled or is_wale(backup):
        return FilesMetadata()
    name = layout.files_metadata(backup)
    try:
        with archive.storage.open(name) as chunks:
            return _read(chunks, f"object {name!r}", with_databases=with_databases)
    except ObjectMissing as error:
        logger.warning("%s; going on without the list of files", error)
        return FilesMetadata()


def _read(chunks: "Iterable[Chunk]", what: str, *, with_databases: bool) -> FilesMetadata:
    """Read a document as it comes."""
    stream, files = JsonStream(chunks), FileTable()
    sets: dict[str, NameList] = {}
    databases: dict[str, Database] = {}
    try:
        for section in stream.members():
            kind = section.lower()
            if kind == "files":
                _read_files(stream, files, what)
            elif kind == "tarfilesets":
                sets.update(_read_sets(stream, files, what))
            elif kind == "databasesbynames" and with_databases:
                for name in stream.members():
                    databases[name] = _database(Fields(stream.value(), f"{what}: DatabasesByNames: {name}"))
            else:
                stream.skip()
        stream.end()
    except (ValueError, RecursionError) as error:
        raise DataCorrupt(f"{what} is not JSON: {error}") from error
    return FilesMetadata(files, sets, databases)


def _read_files(stream: JsonStream, files: FileTable, what: str) -> None:
    for name in stream.members():
        value = stream.value()
        entry = _as_entry(value)
        files.add(name, entry or _file_entry(Fields({} if value is None else value, f"{what}: Files: {name}")))


def _read_sets(stream: JsonStream, files: FileTable, what: str) -> Iterator[tuple[str, NameList]]:
    for tar in stream.members():
        numbers = array("I")
        for name in stream.elements():
            if not isinstance(name, str):
                raise DataCorrupt(f"{what}: TarFileSets: {tar} is not an array of strings")
            numbers.append(files.number(name))
        yield tar, NameList(files, numbers)
