"""What this host archived lately, for hosts with public keys alone, which cannot read it back to compare.

A record says of one WAL file what its content was, and what bytes were stored. When PostgreSQL asks for the file again,
after a crash, equal content whose object is unchanged is recognised, and other content refused, without a secret key.
Records lie in the state folder, are not synced, and bounded: a missing one costs a second upload.

The digests tell accidents apart, not attacks: who holds the public key and may write to the archive needs no collision.
"""

import json
import logging
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from xxhash import xxh3_128

from walpy.stream.digest import Digest, digest_of
from walpy.wal.status import forget_oldest, replace_file

if TYPE_CHECKING:
    from walpy.archive import Archive, Stored
    from walpy.wal.files import SourceFile

RECORD_FOLDER: Final = "walpy/pushed"  # below the state folder
RECORD_VERSION: Final = 1
MOST_RECORDS: Final = 128  # more than is ever archived ahead of PostgreSQL by default (32), some times over

logger = logging.getLogger(__name__)


class Record(NamedTuple):
    """One file that was archived. content: digest of the file. object_name, stored: the object, digest of its bytes."""

    content: str
    object_name: str
    stored: str


class PushRecords:
    """The records of one state folder (None: no place for them) for one archive; those for another do not count."""

    def __init__(self, state: str | None, archive_url: str) -> None:
        self._folder = os.path.join(state, RECORD_FOLDER) if state else None
        self._archive_url = archive_url

    def put(self, archive: "Archive", source: "SourceFile", *, create_only: bool) -> "Stored":
        """Store a WAL file, and note what was stored. Raises as Archive.put_wal_file."""
        name, digest = os.path.basename(source.path), Digest(xxh3_128)
        stored = archive.put_wal_file(name, source, create_only=create_only, tap=digest.passing)
        self.note(name, Record(digest_of(source.chunks(), xxh3_128), stored.name, digest.text))
        return stored

    def is_equal(self, archive: "Archive", source: "SourceFile", object_name: str) -> bool | None:
        """Whether an object holds a file, by what was noted when it was stored; None when that does not tell."""
        record = self.find(os.path.basename(source.path))
        if record is None or record.object_name != object_name:
            return None
        if digest_of(source.chunks(), xxh3_128) != record.content:
            return False
        with archive.storage.open(object_name) as reader:
            return True if digest_of(reader, xxh3_128) == record.stored else None

    def find(self, name: str) -> Record | None:
        """What was noted for a WAL file."""
        if self._folder is None:
            return None
        try:
            with open(os.path.join(self._folder, name), "rb") as file:
                document = json.loads(file.read())
            record = Record(**{field: str(document[field]) for field in Record._fields})
            return record if document == self._document(record) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def note(self, name: str, record: Record) -> None:
        """Remember what was archived, and forget the oldest. A failure is only logged."""
        if self._folder is None:
            return
        try:
            os.makedirs(self._folder, exist_ok=True)
            replace_file(os.path.join(self._folder, name), json.dumps(self._document(record)).encode())
            forget_oldest(self._folder, MOST_RECORDS)
        except OSError as error:
            logger.warning("cannot note what was archived as %s: %s", name, error)

    def _document(self, record: Record) -> dict[str, object]:
        return {"walpy": RECORD_VERSION, "archive": self._archive_url, **record._asdict()}
