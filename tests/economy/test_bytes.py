"""How often a byte is read, hashed, sent and written: counted, asserted exactly."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.economy.remote import S3
from tests.fixtures.s3_server import PART_SIZE
from tests.storage.contract import content
from tests.unit.wal.synthetic import FIRST, archive_in, segment
from walpy.storage import s3_direct, s3_upload, s3_wire
from walpy.storage.parts import PartBody
from walpy.storage.s3 import from_config
from walpy.stream import lz4_pieces
from walpy.wal.files import IncomingFile
from walpy.wal.push import wal_push
from walpy.wal.segment import MIB

SEGMENT_SIZE = 16 * MIB


class Meter:
    """Counts bytes by what is done with them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.bytes: Counter[str] = Counter()

    def watch(self, owner: Any, name: str, what: str, size: Any) -> None:
        """Count what size(result, *arguments) gives whenever a function of a class or module is called."""
        original = getattr(owner, name)

        def counting(*arguments: Any, **keywords: Any) -> Any:
            result = original(*arguments, **keywords)
            self.bytes[what] += size(result, *arguments)
            return result

        self._monkeypatch.setattr(owner, name, counting)

    def watch_hash(self, owner: Any, name: str) -> None:
        """Count what objects of a hashing class are fed."""
        original, meter = getattr(owner, name), self

        class Counting:
            def __init__(self, data: bytes = b"", **keywords: Any) -> None:
                self._inner = original(data, **keywords)
                meter.bytes[name] += len(data)

            def update(self, data: bytes) -> None:
                meter.bytes[name] += len(data)
                self._inner.update(data)

            def __getattr__(self, attribute: str) -> Any:
                return getattr(self._inner, attribute)

        self._monkeypatch.setattr(owner, name, Counting)


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    return Meter(monkeypatch)


@pytest.fixture
def s3() -> Iterator[S3]:
    with S3() as remote:
        yield remote


def test_a_segment_is_read_and_hashed_once(meter: Meter, tmp_path: Path) -> None:
    path = tmp_path / FIRST
    path.write_bytes(segment(FIRST, size=SEGMENT_SIZE))
    archive = archive_in(tmp_path / "archive")
    meter.watch(os, "preadv", "read", lambda count, *_: count)
    meter.watch(os, "write", "written", lambda count, *_: count)
    meter.watch_hash(lz4_pieces, "xxh32")
    wal_push(archive, str(path))
    stored = (tmp_path / f"archive/wal_005/{FIRST}.lz4").stat().st_size
    assert meter.bytes == {"read": SEGMENT_SIZE, "xxh32": SEGMENT_SIZE, "written": stored}


def test_a_fetched_segment_is_read_hashed_and_written_once(meter: Meter, tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "archive")
    stored = archive.put_wal(FIRST, [segment(FIRST, size=SEGMENT_SIZE)]).stored_size
    meter.watch(os, "preadv", "read", lambda count, *_: count)
    meter.watch(IncomingFile, "write", "written", lambda _, __, chunk: len(chunk))
    meter.watch_hash(lz4_pieces, "xxh32")
    with archive.open_wal(FIRST) as chunks, IncomingFile(str(tmp_path / "t"), str(tmp_path / "f")) as file:
        for chunk in chunks:
            file.write(chunk)
        file.commit()
    assert meter.bytes == {"read": stored, "xxh32": SEGMENT_SIZE, "written": SEGMENT_SIZE}


def test_a_body_for_s3_is_hashed_once_and_sent_once(meter: Meter, s3: S3) -> None:
    archive = s3.archive()
    meter.watch_hash(s3_direct, "sha256")
    meter.watch(s3_wire.Connection, "request", "sent", lambda _, *arguments: len(arguments[4]))
    stored = archive.storage.put("a", [content(3 * MIB), content(5)])
    assert meter.bytes == {"sha256": stored, "sent": stored}
    (request,) = s3.server.seen("PUT")[-1:]
    assert not any("md5" in name or "checksum" in name for name in request.headers)


@pytest.mark.parametrize("size", [MIB, 3 * PART_SIZE + 5])
def test_the_sdk_reads_a_part_twice_to_sign_and_to_send_it(meter: Meter, s3: S3, size: int) -> None:
    storage = from_config(s3.config())
    meter.watch(PartBody, "read", "read", lambda piece, *_: len(piece))
    meter.watch(s3_upload, "content_md5", "md5", lambda _, body: len(body))
    storage.put("a", [content(size)])
    storage.close()
    assert meter.bytes == {"read": 2 * size}
    for request in s3.server.requests:
        assert not any(name in ("content-md5", "x-amz-sdk-checksum-algorithm") for name in request.headers)


def test_reading_from_s3_asks_for_no_checksum(s3: S3) -> None:
    storage = from_config(s3.config())
    storage.put("a", [b"data"])
    with storage.open("a") as reader:
        assert b"".join(bytes(chunk) for chunk in reader) == b"data"
    storage.close()
    assert "x-amz-checksum-mode" not in s3.server.seen("GET")[0].headers
