"""A backup's JSON objects as values, and their bytes exactly as WAL-G writes them.

The third, files_metadata.json, is in files_metadata.py. Reading is tolerant: missing members get zero values, unknown
ones are kept in `extra` and written back after the known ones, WAL-E's sentinels and those of old WAL-G versions are
understood. Positions in the WAL are unsigned 64-bit numbers.
Source: WAL-G 3.0.9's stored objects.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from walpy.backup.gojson import Fields, free_value, parse_object, text_v1
from walpy.backup.timestamp import ZERO_TIME, Timestamp
from walpy.errors import DataCorrupt
from walpy.layout import DATE_FORMAT

SENTINEL_VERSION: Final = 2
_NOTHING: Final[Mapping[str, object]] = {}
_FILES_NAMES: Final = ("Files", "TarFileSets", "DatabasesByNames")  # old WAL-G versions put them into the sentinel


class Tablespace(NamedTuple):
    """One tablespace: link name (its OID), absolute location, and the link relative to the data directory."""

    name: str
    location: str
    link: str


class Spec(NamedTuple):
    """The tablespaces of a cluster, in directory order, and the data directory their links are in."""

    base_prefix: str
    tablespaces: tuple[Tablespace, ...] = ()

    @classmethod
    def from_json(cls, data: bytes | str, what: str = "restore specification") -> "Spec":
        """Parse a stored or user-written specification. Raises DataCorrupt when a part is missing."""
        return cls.from_fields(parse_object(data, what), what)

    @classmethod
    def from_fields(cls, fields: Fields, what: str) -> "Spec":
        """Take the specification from a parsed object. Raises DataCorrupt when a part is missing."""
        base_prefix = fields.optional_text("base_prefix")
        if base_prefix is None:
            raise DataCorrupt(f"{what} has no 'base_prefix'")
        tablespaces = []
        for name in fields.texts("tablespaces"):
            entry = fields.optional_fields(name)
            if entry is None:
                raise DataCorrupt(f"{what} lists tablespace {name!r} but does not describe it")
            location = entry.text("loc").rstrip("/") or "/"
            tablespaces.append(Tablespace(name, location, entry.text("link") or f"pg_tblspc/{name}"))
        return cls(base_prefix.rstrip("/") or "/", tuple(tablespaces))

    def to_json(self) -> bytes:
        """WAL-G's bytes: a Go map, so in key order."""
        return self.json_text().encode()

    def json_text(self) -> str:
        """The same as text, to be put into a sentinel."""
        members = {
            entry.name: f'{{"loc":{text_v1(entry.location)},"link":{text_v1(entry.link)}}}'
            for entry in self.tablespaces
        }
        members["base_prefix"] = text_v1(self.base_prefix)
        members["tablespaces"] = "[" + ",".join(text_v1(entry.name) for entry in self.tablespaces) + "]"
        return "{" + ",".join(f"{text_v1(key)}:{members[key]}" for key in sorted(members)) + "}"


class Sentinel(NamedTuple):
    """`NAME_backup_stop_sentinel.json`: its presence makes the backup exist.

    is_permanent is the value at creation; metadata.json is authoritative.
    """

    lsn: int | None = None
    delta_lsn: int | None = None
    delta_from: str | None = None
    delta_full_name: str | None = None
    delta_count: int | None = None
    pg_version: int = 0
    finish_lsn: int | None = None
    system_identifier: int | None = None
    uncompressed_size: int = 0
    compressed_size: int = 0
    data_catalog_size: int = 0
    spec: Spec | None = None
    user_data: object = None
    files_metadata_disabled: bool = False
    checkpoint_number: int | None = None  # OrioleDB
    delta_checkpoint_number: int | None = None  # OrioleDB
    version: int = SENTINEL_VERSION
    start_time: Timestamp = ZERO_TIME
    finish_time: Timestamp = ZERO_TIME
    date_fmt: str = DATE_FORMAT
    hostname: str = ""
    data_dir: str = ""
    is_permanent: bool = False
    extra: Mapping[str, object] = _NOTHING

    @property
    def is_delta(self) -> bool:
        """Whether other backups are needed to restore this one."""
        return self.delta_from is not None

    @classmethod
    def from_json(cls, data: bytes | str, what: str = "sentinel") -> "Sentinel":
        """Parse a sentinel of WAL-G, walpy or WAL-E. Raises DataCorrupt, naming what, for wrong types."""
        fields = parse_object(data, what)
        spec = fields.optional_fields("Spec")
        delta_lsn = fields.optional_integer("DeltaLSN")
        old_delta_lsn = fields.optional_integer("DeltaFromLSN")  # its name before WAL-G 2
        return cls(
            lsn=fields.optional_integer("LSN"),
            delta_lsn=old_delta_lsn if delta_lsn is None else delta_lsn,
            delta_from=fields.optional_text("DeltaFrom"),
            delta_full_name=fields.optional_text("DeltaFullName"),
            delta_count=fields.optional_integer("DeltaCount", signed=True),
            pg_version=fields.integer("PgVersion"),
            finish_lsn=fields.optional_integer("FinishLSN"),
            system_identifier=fields.optional_integer("SystemIdentifier"),
            uncompressed_size=fields.integer("UncompressedSize"),
            compressed_size=fields.integer("CompressedSize"),
            data_catalog_size=fields.integer("DataCatalogSize"),
            spec=None if spec is None else Spec.from_fields(spec, f"{what}: Spec"),
            user_data=fields.value("UserData"),
            files_metadata_disabled=fields.boolean("FilesMetadataDisabled"),
            checkpoint_number=fields.optional_integer("ChkpNum", bits=32),
            delta_checkpoint_number=fields.optional_integer("DeltaChkpNum", bits=32),
            version=fields.integer("Version"),
            start_time=fields.timestamp("StartTime"),
            finish_time=fields.timestamp("FinishTime"),
            date_fmt=fields.text("DateFmt"),
            hostname=fields.text("Hostname"),
            data_dir=fields.text("DataDir"),
            is_permanent=fields.boolean("IsPermanent"),
            extra=fields.rest(),
        )

    def embedded_files(self) -> Mapping[str, object] | None:
        """Files metadata that an old WAL-G version put into the sentinel itself; None when there is none."""
        return self.extra if any(name in self.extra for name in _FILES_NAMES) else None

    def to_json(self) -> bytes:
        """WAL-G's bytes."""
        return _object(self._members(), self.extra)

    def _members(self) -> Iterator[tuple[str, str]]:
        yield "LSN", _integer(self.lsn)
        if self.delta_lsn is not None:
            yield "DeltaLSN", str(self.delta_lsn)
        if self.delta_from is not None:
            yield "DeltaFrom", text_v1(self.delta_from)
        if self.delta_full_name is not None:
            yield "DeltaFullName", text_v1(self.delta_full_name)
        if self.delta_count is not None:
            yield "DeltaCount", str(self.delta_count)
        yield "PgVersion", str(self.pg_version)
        yield "FinishLSN", _integer(self.finish_lsn)
        if self.system_identifier is not None:
            yield "SystemIdentifier", str(self.system_identifier)
        yield "UncompressedSize", str(self.uncompressed_size)
        yield "CompressedSize", str(self.compressed_size)
        if self.data_catalog_size:
            yield "DataCatalogSize", str(self.data_catalog_size)
        if self.spec is not None:
            yield "Spec", self.spec.json_text()
        if self.user_data is not None:
            yield "UserData", free_value(self.user_data)
        if self.files_metadata_disabled:
            yield "FilesMetadataDisabled", "true"
        yield "ChkpNum", _integer(self.checkpoint_number)
        if self.delta_checkpoint_number is not None:
            yield "DeltaChkpNum", str(self.delta_checkpoint_number)
        yield "Version", str(self.version)
        yield "StartTime", f'"{self.start_time.rfc3339_ns()}"'
        yield "FinishTime", f'"{self.finish_time.rfc3339_ns()}"'
        yield "DateFmt", text_v1(self.date_fmt)
        yield "Hostname", text_v1(self.hostname)
        yield "DataDir", text_v1(self.data_dir)
        yield "IsPermanent", _boolean(self.is_permanent)


class BackupMetadata(NamedTuple):
    """`metadata.json`: what backup-list --detail shows; is_permanent here is the authoritative one."""

    start_time: Timestamp = ZERO_TIME
    finish_time: Timestamp = ZERO_TIME
    date_fmt: str = DATE_FORMAT
    hostname: str = ""
    data_dir: str = ""
    pg_version: int = 0
    start_lsn: int = 0
    finish_lsn: int = 0
    is_permanent: bool = False
    system_identifier: int | None = None
    uncompressed_size: int = 0
    compressed_size: int = 0
    user_data: object = None
    extra: Mapping[str, object] = _NOTHING

    @classmethod
    def from_json(cls, data: bytes | str, what: str = "metadata.json") -> "BackupMetadata":
        """Parse it. Raises DataCorrupt, naming what, for wrong types."""
        fields = parse_object(data, what)
        return cls(
            start_time=fields.timestamp("start_time"),
            finish_time=fields.timestamp("finish_time"),
            date_fmt=fields.text("date_fmt"),
            hostname=fields.text("hostname"),
            data_dir=fields.text("data_dir"),
            pg_version=fields.integer("pg_version"),
            start_lsn=fields.integer("start_lsn", signed=False),
            finish_lsn=fields.integer("finish_lsn", signed=False),
            is_permanent=fields.boolean("is_permanent"),
            system_identifier=fields.optional_integer("system_identifier"),
            uncompressed_size=fields.integer("uncompressed_size"),
            compressed_size=fields.integer("compressed_size"),
            user_data=fields.value("user_data"),
            extra=fields.rest(),
        )

    def to_json(self) -> bytes:
        """WAL-G's bytes."""
        return _object(self.members(), self.extra)

    def members(self) -> Iterator[tuple[str, str]]:
        """Known members as (name, JSON text), in WAL-G's order; backup-list --detail --json prints them."""
        yield "start_time", f'"{self.start_time.rfc3339_ns()}"'
        yield "finish_time", f'"{self.finish_time.rfc3339_ns()}"'
        yield "date_fmt", text_v1(self.date_fmt)
        yield "hostname", text_v1(self.hostname)
        yield "data_dir", text_v1(self.data_dir)
        yield "pg_version", str(self.pg_version)
        yield "start_lsn", str(self.start_lsn)
        yield "finish_lsn", str(self.finish_lsn)
        yield "is_permanent", _boolean(self.is_permanent)
        yield "system_identifier", _integer(self.system_identifier)
        yield "uncompressed_size", str(self.uncompressed_size)
        yield "compressed_size", str(self.compressed_size)
        if self.user_data is not None:
            yield "user_data", free_value(self.user_data)


def _object(members: Iterator[tuple[str, str]], extra: Mapping[str, object]) -> bytes:
    known = [f'"{name}":{value}' for name, value in members]
    kept = [f"{text_v1(name)}:{free_value(value)}" for name, value in extra.items()]
    return ("{" + ",".join(known + kept) + "}").encode()


def _integer(value: int | None) -> str:
    return "null" if value is None else str(value)


def _boolean(value: bool) -> str:
    return "true" if value else "false"
