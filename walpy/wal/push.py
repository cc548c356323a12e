"""wal-push: archives one WAL file and, in threads, further ones that PostgreSQL will ask for next.

A file is acknowledged only when its content fits its name and its cluster, and the archive holds exactly that content,
durably. Memory: one READ_SIZE buffer, the codec's state and what the storage's put holds, for each upload under way.
"""

import logging
import os
from enum import Enum
from importlib import import_module
from typing import TYPE_CHECKING

from walpy import layout
from walpy.errors import InvalidWal, ObjectExists, SecretKeyMissing, WalConflict
from walpy.wal.ahead import UploadAhead
from walpy.wal.files import Fingerprint, SourceFile
from walpy.wal.identity import archive_url, check_identity, is_check_strict
from walpy.wal.local import find_wal_directory, state_directory
from walpy.wal.metadata import WalMetadata, metadata_level
from walpy.wal.segment import WalKind, configured_segment_size, wal_kind
from walpy.wal.status import Markers
from walpy.wal.validate import find_fault, is_newer_magic

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from walpy.archive import Archive, Stored
    from walpy.config import Config
    from walpy.wal.delta import DeltaRecorder
    from walpy.wal.pushed import PushRecords

PUSHED_MODULE = "walpy.wal.pushed"  # imported on hosts with public keys alone
DELTA_MODULE = "walpy.wal.delta"  # imported where changed blocks are recorded

logger = logging.getLogger(__name__)


class Overwrite(Enum):
    """What happens when the archive holds a file of that name already."""

    CREATE_ONLY = "the storage refuses a second object of that name; equal content succeeds"
    LOOK_UP = "as CREATE_ONLY, and objects of other codecs are looked for first"
    REPLACE = "the object is replaced without a look"


def finish_marked(config: "Config", path: str) -> bool:
    """Acknowledge a file that an earlier run archived ahead; False when that is not proven or metadata is due.

    Asks no storage, so that it can run before one is opened. Raises ConfigError.
    """
    if metadata_level(config) != "NOMETADATA":
        return False
    markers = Markers(state_directory(path, config), archive_url(config))
    if not markers.holds(path):
        return False
    logger.info("Files will be uploaded to storage: default")
    markers.remove(os.path.basename(path))
    return True


def wal_push(archive: "Archive", path: str) -> None:
    """Archive the WAL file at path (relative or absolute); returns when it is durable, and uploads ahead have ended.

    Raises InvalidWal for a file that must not be archived, WalConflict when the archive holds other content under its
    name, ConfigError, StorageError.
    """
    push = WalPush(archive, path)
    push.announce()
    if not push.acknowledge_marked(path):
        push.archive_requested(path, lambda: UploadAhead(push, path))


class WalPush:
    """Archives files of the directory that holds path, by the settings of the archive's config. Safe for threads."""

    def __init__(self, archive: "Archive", path: str) -> None:
        config = archive.config
        self.config = config
        self._archive = archive
        self._overwrite = _overwrite(config)
        is_check_strict(config)  # wrong settings fail the command before it stores anything
        state = state_directory(path, config)
        self.metadata = WalMetadata(archive, metadata_level(config), state)
        self.markers = Markers(state, archive_url(config))
        self._directory = find_wal_directory(path, config.text("PGDATA"))
        self._cluster = self._directory.cluster() if self._directory else None
        self._state = state
        self._recorder = self._make_recorder() if config.boolean("WALG_USE_WAL_DELTA") else None

    @property
    def segment_size(self) -> int:
        """Bytes of a segment: pg_control's, else the configured ones."""
        return self._cluster.segment_size if self._cluster else configured_segment_size(self.config)

    def announce(self) -> None:
        """Tell where files go, in the words that scripts look for."""
        logger.info("Files will be uploaded to storage: %s", self._archive.storage_name)

    def acknowledge_marked(self, path: str) -> bool:
        """Finish a file that was archived ahead of its turn; False when it was not. Raises as wal_push."""
        if not self.markers.holds(path):
            return False
        self.metadata.store(path)
        self.markers.remove(os.path.basename(path))
        return True

    def archive_requested(self, path: str, look_ahead: "Callable[[], AbstractContextManager[object]]") -> None:
        """Archive the file that PostgreSQL asks for. Raises as wal_push.

        look_ahead: makes what archives further files while the context lasts; called once this file may be archived.
        """
        with SourceFile(path) as source:
            self.check(source)
            ahead = look_ahead()
            self.claim()
            with ahead:
                self.upload(source)
                self.metadata.store(path)
        self.markers.remove(os.path.basename(path))

    def archive_file(self, path: str) -> Fingerprint:
        """Check and upload one file; the fingerprint it had. Raises as wal_push."""
        with SourceFile(path) as source:
            self.check(source)
            self.upload(source)
            return source.fingerprint

    def check(self, source: SourceFile) -> None:
        """Raise InvalidWal when the file lies in a data directory and is not what its name says; elsewhere warn."""
        name = os.path.basename(source.path)
        head = source.head()
        fault = find_fault(name, head, source.size, self._cluster)
        if fault and self._directory:
            raise InvalidWal(
                f"WAL file '{source.path}' is not archived: {fault}",
                "It stays where it is; PostgreSQL asks again. Look for a damaged disk, or a file put there by hand.",
            )
        if fault:
            logger.warning("WAL file '%s' is archived as it is: %s", source.path, fault)
        elif wal_kind(name) is WalKind.SEGMENT and is_newer_magic(head):
            logger.warning("WAL file '%s' was written by a PostgreSQL that this walpy does not know", source.path)

    def claim(self) -> None:
        """Make sure that data can be encrypted, and that the archive belongs to this cluster.

        Call before the first upload. Raises InvalidWal, and as Archive.encrypt.
        """
        self._archive.check_writable()
        if self._cluster:
            check_identity(self._archive, self._cluster.system_identifier, self._state)

    def upload(self, source: SourceFile) -> None:
        """Store a checked file, and note what it changed if that is wanted. Raises WalConflict, StorageError."""
        self._store(source)
        if self._recorder is not None and wal_kind(os.path.basename(source.path)) is WalKind.SEGMENT:
            self._recorder.record(source)

    def _store(self, source: SourceFile) -> None:
        name = os.path.basename(source.path)
        overwrite = Overwrite.LOOK_UP if name.endswith(".history") else self._overwrite
        if overwrite is Overwrite.LOOK_UP:
            found = self._archive.find_wal(name)
            if found is not None:
                self._accept_equal(source, found)
                return
        try:
            stored = self._put(source, create_only=overwrite is not Overwrite.REPLACE)
        except ObjectExists:
            existing = layout.wal_object(name, self._archive.codec.extension)
            try:
                self._accept_equal(source, existing)
            except SecretKeyMissing:
                # As WAL-G, which compares nothing: a server that repeats a file after a crash must not be stuck.
                logger.warning("%s is stored again: without the secret key it cannot be compared", existing)
                self._put(source, create_only=False)
            return
        logger.info("FILE PATH: %s", stored.name.removeprefix(f"{layout.WAL_FOLDER}/"))

    def _put(self, source: SourceFile, *, create_only: bool) -> "Stored":
        """Store a file; where it cannot be read back, note what was stored."""
        name, cipher = os.path.basename(source.path), self._archive.cipher
        if cipher is None or cipher.can_decrypt():
            return self._archive.put_wal_file(name, source, create_only=create_only)
        return self._records().put(self._archive, source, create_only=create_only)

    def _make_recorder(self) -> "DeltaRecorder":
        recorder: DeltaRecorder = import_module(DELTA_MODULE).DeltaRecorder(self._archive, self._state)
        return recorder

    def _records(self) -> "PushRecords":
        records: PushRecords = import_module(PUSHED_MODULE).PushRecords(self._state, archive_url(self.config))
        return records

    def _accept_equal(self, source: SourceFile, name: str) -> None:
        try:
            with self._archive.open_wal_object(os.path.basename(source.path), name) as chunks:
                is_equal = source.equals(chunks)
        except SecretKeyMissing:
            found = self._records().is_equal(self._archive, source, name)
            if found is None:
                raise
            is_equal = found
        if not is_equal:
            raise WalConflict(
                f"WAL file '{source.path}' already archived, contents differ, unable to overwrite",
                f"Two clusters may share this prefix. The archived object is {name} in {self._archive.storage.url}.",
            )
        logger.info("WAL file '%s' already archived with equal content, skipping", source.path)


def _overwrite(config: "Config") -> Overwrite:
    key = "WALG_PREVENT_WAL_OVERWRITE"
    if not config.is_set(key):
        return Overwrite.CREATE_ONLY
    return Overwrite.LOOK_UP if config.boolean(key) else Overwrite.REPLACE
