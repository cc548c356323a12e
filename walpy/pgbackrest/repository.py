"""The files of a pgBackRest repository: what they are called and what they say. Nothing is ever written.

    archive/STANZA/archive.info                          which cluster: its version and number
    archive/STANZA/15-1/0000000100000000/WAL-SHA1.lz4    segments; WAL.OFFSET.backup beside them
    archive/STANZA/15-1/00000002.history
    backup/STANZA/backup.info                            all backups
    backup/STANZA/LABEL/backup.manifest                  all files of one
    backup/STANZA/LABEL/pg_data/PATH.lz4                 a file; with bundles: backup/STANZA/LABEL/bundle/NUMBER

Repositories that pgBackRest encrypted, and files stored as blocks of several backups, are refused.
Memory: a manifest takes about 400 bytes for each file. Source: pgBackRest 2.45 and its repositories.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from walpy.archive import Archive
from walpy.backup.model import Tablespace
from walpy.errors import BackupError, DataCorrupt, ObjectMissing
from walpy.postgres.lsn import Lsn, parse_lsn

STANZA_KEY: Final = "PGBACKREST_STANZA"
COPY: Final = ".copy"  # pgBackRest keeps every info file twice
ENCRYPTED: Final = b"Salted__"
DATA: Final = "pg_data/"
TABLESPACES: Final = "pg_data/pg_tblspc/"
EXTENSIONS: Final = {"none": "", "gz": ".gz", "lz4": ".lz4", "zst": ".zst"}

Section = Mapping[str, object]


class RestBackup(NamedTuple):
    """One backup of backup.info; times in seconds since the epoch."""

    label: str
    kind: str  # full, diff or incr
    started: int
    stopped: int
    first_wal: str
    start_lsn: Lsn
    stop_lsn: Lsn


class RestFile(NamedTuple):
    """One file of a manifest.

    name: `pg_data/...`, or `pg_tblspc/OID/...`. label: the backup that stores it. sha1: of its content, in hex; may be
    empty for an empty file. bundle: number, offset and stored bytes of its place in a bundle; None: it has an object.
    """

    name: str
    size: int
    mode: int
    label: str
    sha1: str
    bundle: tuple[int, int, int] | None


class Manifest(NamedTuple):
    """One backup: its files and directories (name and mode, parents first), and how they are stored."""

    label: str
    pg_version: str
    system_identifier: int
    extension: str
    file_mode: int
    directory_mode: int
    files: tuple[RestFile, ...]
    directories: tuple[tuple[str, int], ...]
    tablespaces: tuple[Tablespace, ...]


class Repository:
    """The repository of one stanza. Raises ConfigError for what cannot be one's name."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.stanza = archive.config.text(STANZA_KEY)
        if not self.stanza or "/" in self.stanza:
            raise archive.config.invalid(STANZA_KEY, "expected the name of a stanza")
        self._backups = f"backup/{self.stanza}"
        self._archive = f"archive/{self.stanza}"

    def backups(self) -> list[RestBackup]:
        """All backups, oldest first; none when the stanza has no backup.info."""
        try:
            sections = self._read(f"{self._backups}/backup.info")
        except ObjectMissing:
            return []
        found = [_backup(label, entry) for label, entry in sections.get("backup:current", {}).items()]
        return sorted(found, key=lambda backup: (backup.stopped, backup.label))

    def manifest(self, label: str) -> Manifest:
        """All about one backup. Raises ObjectMissing, DataCorrupt, BackupError for what walpy cannot read."""
        return _manifest(label, self._read(f"{self._backups}/{label}/backup.manifest"))

    def object_of(self, file: RestFile, extension: str) -> str:
        """Name of the object that holds a file."""
        if file.bundle:
            return f"{self._backups}/{file.label}/bundle/{file.bundle[0]}"
        return f"{self._backups}/{file.label}/{file.name}{extension}"

    def wal_folder(self) -> str:
        """Folder of the current cluster's WAL."""
        database = self._read(f"{self._archive}/archive.info").get("db", {})
        try:
            return f"{self._archive}/{database['db-version']}-{database['db-id']}"
        except KeyError:
            raise DataCorrupt(f"{self._archive}/archive.info does not tell which cluster it is of") from None

    def _read(self, name: str) -> dict[str, dict[str, object]]:
        """Sections of an info file, or of its copy when that is missing or damaged."""
        try:
            return _parsed(name, self.archive.get_bytes(name))
        except (ObjectMissing, DataCorrupt) as error:
            try:
                return _parsed(name + COPY, self.archive.get_bytes(name + COPY))
            except (ObjectMissing, DataCorrupt):
                raise error from None


def _parsed(name: str, content: bytes) -> dict[str, dict[str, object]]:
    """Sections of an info file: key → value, which is JSON. Raises DataCorrupt."""
    if content.startswith(ENCRYPTED):
        raise BackupError(
            f"object {name!r} is encrypted, as pgBackRest does it, and walpy cannot read it", "Use pgBackRest for it."
        )
    sections: dict[str, dict[str, object]] = {}
    current: dict[str, object] = {}
    try:
        for line in content.decode().splitlines():
            if line.startswith("[") and line.endswith("]") and "=" not in line:
                current = sections.setdefault(line[1:-1], {})
            elif line:
                key, value = _split(line)
                current[key] = json.loads(value)
    except ValueError as error:
        raise DataCorrupt(f"object {name!r} is no file of pgBackRest, or damaged: {error}") from None
    if "backrest" not in sections:
        raise DataCorrupt(f"object {name!r} is no file of pgBackRest")
    return sections


def _split(line: str) -> tuple[str, str]:
    """Key and JSON of a line. A file's name may hold `=`, but not before an object's brace."""
    separator = "={" if "={" in line else "="
    key, found, value = line.partition(separator)
    if not found:
        raise ValueError(f"a line without a value: {line[:80]!r}")
    return key, separator[1:] + value


def _backup(label: str, entry: object) -> RestBackup:
    try:
        return RestBackup(
            label,
            str(entry["backup-type"]),  # type: ignore[index]  # KeyError and TypeError tell the same
            int(entry["backup-timestamp-start"]),  # type: ignore[index]
            int(entry["backup-timestamp-stop"]),  # type: ignore[index]
            str(entry["backup-archive-start"]),  # type: ignore[index]
            parse_lsn(str(entry["backup-lsn-start"])),  # type: ignore[index]
            parse_lsn(str(entry["backup-lsn-stop"])),  # type: ignore[index]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataCorrupt(f"backup.info tells too little of backup {label}: {error}") from None


def _manifest(label: str, sections: Mapping[str, Section]) -> Manifest:
    options = sections.get("backup:option", {})
    database = sections.get("backup:db", {})
    compression = str(options.get("option-compress-type", "gz" if options.get("option-compress") else "none"))
    if compression not in EXTENSIONS:
        raise BackupError(
            f"backup {label} is compressed with {compression}, which walpy cannot read", "Use pgBackRest for it."
        )
    file_mode = _mode(sections.get("target:file:default", {}), 0o600)
    directory_mode = _mode(sections.get("target:path:default", {}), 0o700)
    try:
        return Manifest(
            label,
            str(database["db-version"]),
            int(str(database["db-system-id"])),
            EXTENSIONS[compression],
            file_mode,
            directory_mode,
            tuple(_files(label, sections["target:file"], file_mode)),
            tuple((name, _mode(entry, directory_mode)) for name, entry in sorted(sections["target:path"].items())),
            tuple(_tablespaces(sections.get("target:link", {}))),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataCorrupt(f"the manifest of backup {label} is not what it should be: {error}") from None


def _files(label: str, entries: Section, mode: int) -> Iterator[RestFile]:
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise TypeError(f"{name}: no description")
        if "bims" in entry or "bi" in entry:
            raise BackupError(f"backup {label} stores {name!r} by blocks, which walpy cannot read", "Use pgBackRest.")
        size = int(entry["size"])
        stored = int(entry.get("repo-size", size))
        bundle = (int(entry["bni"]), int(entry.get("bno", 0)), stored) if "bni" in entry else None
        sha1 = str(entry.get("checksum", ""))
        yield RestFile(name, size, _mode(entry, mode), str(entry.get("reference", label)), sha1, bundle)


def _tablespaces(links: Section) -> Iterator[Tablespace]:
    """Links of tablespaces; other links' content is restored in their places."""
    for name, entry in links.items():
        if name.startswith(TABLESPACES) and isinstance(entry, dict):
            number = name.removeprefix(TABLESPACES)
            yield Tablespace(number, str(entry["destination"]), f"pg_tblspc/{number}")


def _mode(entry: object, default: int) -> int:
    text = entry.get("mode") if isinstance(entry, Mapping) else None
    return int(str(text), 8) if text else default
