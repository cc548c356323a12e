"""pg_control: what the cluster says about itself, of every PostgreSQL version since 9.4, without asking a server.

Source: PostgreSQL, src/include/catalog/pg_control.h. The file is in the byte order of the machine.
"""

import struct
import time
from typing import NamedTuple

from walpy.errors import DataCorrupt
from walpy.postgres.crc32c import crc32c

CONTROL_FILE = "global/pg_control"  # below the data directory
FILE_SIZE = 8192  # bytes; all but the first few hundred are zero

STATES = (
    "starting up",
    "shut down",
    "shut down in recovery",
    "shutting down",
    "in crash recovery",
    "in archive recovery",
    "in production",
)

# The front is alike in all versions: system identifier, versions, state, time, checkpoint, its redo and timeline.
_FRONT = struct.Struct("=QIIIxxxxqQQI")
# Behind the checkpoint, whose size has been the same since 13: how far recovery got, and on which timeline.
_MIN_RECOVERY = struct.Struct("=QI")
_MIN_RECOVERY_OFFSET = 136
_MIN_RECOVERY_VERSION = 1300
# What lies between differs, so the rest is found by a constant that initdb stores to tell apart float formats.
_FLOAT_FORMAT = struct.pack("=d", 1234567.0)
_SIZES = struct.Struct("=IIII")  # behind it: page size, pages of a relation segment, WAL page size, segment size
_CHECKSUM_VERSION_OFFSET = 44  # from the constant; as are the following
_CRC_OFFSETS = (80, 84, 48)  # 10 to 17; 18 (one more member); up to 9.6 (no authentication nonce)
_ALIGNMENT = 8

_READ_ATTEMPTS = 10
_READ_PAUSE_SECONDS = 0.01  # PostgreSQL's own tools wait as long for the server to finish writing


class ControlFile(NamedTuple):
    """The members of pg_control that archives need.

    Positions in the WAL and the system identifier are unsigned; sizes are bytes. checkpoint_lsn, redo_lsn and timeline
    are the last checkpoint's. checksum_version is 0 when data pages have no checksums. min_recovery_lsn and
    min_recovery_timeline: how far a recovery has got, as far as pages on disk may show; 0 outside of one, and before
    version 13.
    """

    system_identifier: int
    version: int
    catalog_version: int
    state: str
    checkpoint_lsn: int
    redo_lsn: int
    timeline: int
    page_size: int
    wal_page_size: int
    segment_size: int
    checksum_version: int
    min_recovery_lsn: int = 0
    min_recovery_timeline: int = 0


def read_control(path: str) -> ControlFile:
    """Read a pg_control file. Raises DataCorrupt when it is damaged, OSError when it cannot be read."""
    return parse_control(read_control_bytes(path), path)


def read_control_bytes(path: str) -> bytes:
    """All bytes of a pg_control file, read again while a running server is writing it.

    Raises DataCorrupt when it stays damaged, OSError when it cannot be read.
    """
    for attempt in range(_READ_ATTEMPTS):
        with open(path, "rb", buffering=0) as file:
            data = file.read(FILE_SIZE)
        try:
            parse_control(data, path)
            break
        except DataCorrupt:
            if attempt == _READ_ATTEMPTS - 1:
                raise
            time.sleep(_READ_PAUSE_SECONDS)
    return data


def parse_control(data: bytes, path: str) -> ControlFile:
    """Take a pg_control file apart. path is for messages. Raises DataCorrupt for a wrong checksum or shape."""
    anchor = data.find(_FLOAT_FORMAT)
    while anchor % _ALIGNMENT and anchor > 0:
        anchor = data.find(_FLOAT_FORMAT, anchor + 1)
    if anchor < _FRONT.size:
        raise DataCorrupt(f"{path!r} is not a pg_control file of this machine's architecture")
    if not any(_has_crc(data, anchor + offset) for offset in _CRC_OFFSETS):
        raise DataCorrupt(f"{path!r} is damaged: wrong checksum", "pg_controldata shows what is left of it.")
    front = _FRONT.unpack_from(data)
    page_size, _, wal_page_size, segment_size = _SIZES.unpack_from(data, anchor + len(_FLOAT_FORMAT))
    (checksum_version,) = struct.unpack_from("=I", data, anchor + _CHECKSUM_VERSION_OFFSET)
    system_identifier, version, catalog_version, state, _, checkpoint_lsn, redo_lsn, timeline = front
    has_recovery = version >= _MIN_RECOVERY_VERSION
    recovered = _MIN_RECOVERY.unpack_from(data, _MIN_RECOVERY_OFFSET) if has_recovery else (0, 0)
    return ControlFile(
        system_identifier=system_identifier,
        version=version,
        catalog_version=catalog_version,
        state=STATES[state] if state < len(STATES) else f"unknown state {state}",
        checkpoint_lsn=checkpoint_lsn,
        redo_lsn=redo_lsn,
        timeline=timeline,
        page_size=page_size,
        wal_page_size=wal_page_size,
        segment_size=segment_size,
        checksum_version=checksum_version,
        min_recovery_lsn=recovered[0],
        min_recovery_timeline=recovered[1],
    )


def _has_crc(data: bytes, offset: int) -> bool:
    if offset + 4 > len(data):
        return False
    (expected,) = struct.unpack_from("=I", data, offset)
    return crc32c(data[:offset]) == int(expected)
