"""The manifest that a server sends with its base backup, and the comparison of what was received with it.

A manifest is JSON, with one line for each file; its last line has the SHA-256 of all bytes before it. The lines of
files are compared as they come and forgotten; what is left of the document is still JSON, and parsed at the end.

Memory: about 250 bytes for each file received; a line of the manifest.
Source: PostgreSQL, "Backup Manifest Format".
"""

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

import google_crc32c

from walpy.errors import DataCorrupt
from walpy.postgres.lsn import Lsn, format_lsn, parse_lsn

if TYPE_CHECKING:
    from walpy.storage.base import Chunk

_FILE_STARTS: Final = (b'{ "Path"', b'{ "Encoded-Path"')
_LAST_START: Final = b'"Manifest-Checksum"'
_LONGEST_LINE: Final = 1 << 20
_HINT: Final = "Start the backup again; if it fails again, look for what alters bytes between the server and walpy."


class ReceivedFile(NamedTuple):
    """A file of a base backup as it arrived: bytes, and their CRC-32C."""

    size: int
    checksum: int


class Checksum:
    """CRC-32C of a file that comes piece by piece."""

    def __init__(self) -> None:
        self.value = 0

    def update(self, piece: "Chunk") -> None:
        """Take the next bytes."""
        self.value = google_crc32c.extend(self.value, bytes(piece))


class WalRange(NamedTuple):
    """WAL that a restore needs."""

    timeline: int
    start: Lsn
    end: Lsn


class ManifestCheck:
    """Compares received files with the manifest; both must tell of the same files."""

    def __init__(self, received: dict[str, ReceivedFile]) -> None:
        """received: by name, as the tars have them, tablespaces below pg_tblspc; emptied meanwhile."""
        self._received = received
        self._digest = hashlib.sha256()
        self._line = b""
        self._rest: list[bytes] = []  # lines that are about no file
        self._has_ended = False

    def run(self, chunks: "Iterable[Chunk]", system_identifier: int) -> list[WalRange]:
        """Read the manifest to its end; the WAL that it names. Raises DataCorrupt for every difference."""
        for chunk in chunks:
            *lines, self._line = (self._line + bytes(chunk)).split(b"\n")
            for line in lines:
                self._take(line + b"\n")
            if len(self._line) > _LONGEST_LINE:
                raise _damaged(f"a line of more than {_LONGEST_LINE} bytes")
        if self._line or not self._has_ended:
            raise _damaged("its end is missing")
        if self._received:
            more = f" and {len(self._received) - 1} more" if len(self._received) > 1 else ""
            raise DataCorrupt(f"the server sent {min(self._received)!r}{more}, which its manifest lacks", _HINT)
        return self._finish(system_identifier)

    def _take(self, line: bytes) -> None:
        if self._has_ended:
            raise _damaged("something follows its end")
        if line.startswith(_LAST_START):
            self._has_ended = True
        else:
            self._digest.update(line)
        if line.startswith(_FILE_STARTS):
            self._compare(_parsed(line.rstrip().rstrip(b",")))
        else:
            self._rest.append(line)

    def _compare(self, entry: dict[str, object]) -> None:
        name, size, checksum = _name(entry), entry.get("Size"), entry.get("Checksum")
        received = self._received.pop(name, None)
        if received is None:
            raise DataCorrupt(f"the server's manifest has {name!r}, which it did not send", _HINT)
        if received.size != size:
            raise DataCorrupt(
                f"file {name!r} came with {received.size} bytes, the server's manifest says {size}", _HINT
            )
        # The server writes the four bytes as they lie in its memory.
        wanted = entry.get("Checksum-Algorithm"), checksum
        if wanted != ("CRC32C", received.checksum.to_bytes(4, "little").hex()):
            raise DataCorrupt(f"file {name!r} came with other content than the server's manifest says", _HINT)

    def _finish(self, system_identifier: int) -> list[WalRange]:
        document = _parsed(b"".join(self._rest))
        if document.get("Manifest-Checksum") != self._digest.hexdigest():
            raise _damaged("its checksum is wrong")
        if document.get("System-Identifier", system_identifier) != system_identifier:
            raise DataCorrupt(f"the server's manifest is of cluster {document['System-Identifier']}", _HINT)
        try:
            ranges = document["WAL-Ranges"]
            assert isinstance(ranges, list)
            return [
                WalRange(int(row["Timeline"]), parse_lsn(row["Start-LSN"]), parse_lsn(row["End-LSN"])) for row in ranges
            ]
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise _damaged("it does not say which WAL it needs") from error


def check_ranges(ranges: Iterable[WalRange], timeline: int, start: Lsn, end: Lsn) -> None:
    """Raise DataCorrupt unless a manifest needs exactly the WAL of the backup."""
    if list(ranges) != [WalRange(timeline, start, end)]:
        told = ", ".join(f"{format_lsn(row.start)} to {format_lsn(row.end)} of {row.timeline}" for row in ranges)
        raise DataCorrupt(
            f"the server's manifest needs WAL {told or 'of no timeline'}, "
            f"the backup goes from {format_lsn(start)} to {format_lsn(end)} of timeline {timeline}",
            _HINT,
        )


def _name(entry: dict[str, object]) -> str:
    try:
        if "Encoded-Path" in entry:
            return bytes.fromhex(str(entry["Encoded-Path"])).decode("utf-8", "surrogateescape")
        return str(entry["Path"])
    except (KeyError, ValueError) as error:
        raise _damaged("a file has no name") from error


def _parsed(text: bytes) -> dict[str, object]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise _damaged(f"{text[:100]!r} is no JSON") from error
    if not isinstance(document, dict):
        raise _damaged(f"{text[:100]!r} is no object")
    return document


def _damaged(reason: str) -> DataCorrupt:
    return DataCorrupt(f"the manifest that the server sent is damaged: {reason}", _HINT)
