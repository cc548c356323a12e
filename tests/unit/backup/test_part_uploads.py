"""Parts that one stream fills and threads store."""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.unit.test_interrupts import output_of
from walpy.archive import Archive, open_archive
from walpy.backup import part_uploads
from walpy.backup.part_uploads import MOST_PARTS, PartUploads, StoredPart
from walpy.config import load_config
from walpy.errors import BackupError, Interrupted, WalpyError
from walpy.storage.base import Chunk
from walpy.storage.fs import FsStorage
from walpy.stream.byte_pipe import BytePipe

PART = [b"x" * 100_000, b"", b"y" * 3_000_000, b"end"]


@pytest.fixture
def make_archive(tmp_path: Path) -> Callable[..., Archive]:
    def make(**settings: str) -> Archive:
        return open_archive(load_config({}, {"WALG_FILE_PREFIX": str(tmp_path), **settings}, ""))

    return make


@pytest.mark.parametrize("method", ["lz4", "zstd", "brotli", "none"])
def test_parts_are_stored_as_they_were_written(method: str, make_archive: Callable[..., Archive]) -> None:
    archive = make_archive(WALG_COMPRESSION_METHOD=method, WALG_BROTLI_COMPRESSION_LEVEL="1")
    stored: list[StoredPart] = []
    with PartUploads(archive, "base_x", stored.append) as uploads:
        for number in range(MOST_PARTS + 2):
            pipe = uploads.begin(f"part_{number}.tar")
            for chunk in PART:
                pipe.write(chunk)
            pipe.close()
        uploads.finish()
    assert [part.tar_name for part in stored] == [f"part_{number}.tar" for number in range(MOST_PARTS + 2)]
    for part in stored:
        assert part.size == sum(map(len, PART))
        assert part.stored_size == archive.storage.stat(part.object_name).size
        with archive.open_object(part.object_name) as chunks:
            assert b"".join(bytes(chunk) for chunk in chunks) == b"".join(PART)


def test_what_is_given_up_leaves_no_part(make_archive: Callable[..., Archive], tmp_path: Path) -> None:
    archive = make_archive()
    with PartUploads(archive, "base_x", lambda part: None) as uploads:
        uploads.begin("part_001.tar").write(b"x" * 3_000_000)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def write_for_ever(pipe: BytePipe) -> None:
    while True:
        pipe.write(b"x" * 100_000)


def test_a_storage_that_fails_ends_the_stream(make_archive: Callable[..., Archive], tmp_path: Path) -> None:
    (tmp_path / "basebackups_005").write_text("no folder")
    with PartUploads(make_archive(), "base_x", lambda part: None) as uploads:
        pipe = uploads.begin("part_001.tar")
        with pytest.raises(WalpyError):
            write_for_ever(pipe)


def test_a_part_that_is_not_closed_is_never_whole(make_archive: Callable[..., Archive]) -> None:
    archive = make_archive()
    uploads = PartUploads(archive, "base_x", lambda part: None)
    with uploads:
        pipe = uploads.begin("part_001.tar")
        pipe.write(b"x" * 3_000_000)
    with pytest.raises(BackupError, match="the backup has failed"):
        uploads.finish()
    assert list(archive.storage.list("")) == []


class SlowStorage(FsStorage):
    """A storage that is busy with a put until it is released."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.begun, self.released, self.ended = threading.Event(), threading.Event(), threading.Event()

    def put(self, name: str, chunks: Iterable[Chunk], *, create_only: bool = False) -> int:
        self.begun.set()
        self.released.wait()
        try:
            return super().put(name, chunks, create_only=create_only)
        finally:
            self.ended.set()


@pytest.fixture
def slow(make_archive: Callable[..., Archive], tmp_path: Path) -> tuple[Archive, SlowStorage]:
    archive, storage = make_archive(), SlowStorage(str(tmp_path))
    archive.storage = storage
    return archive, storage


def fail(archive: Archive, storage: SlowStorage, error: WalpyError) -> None:
    with PartUploads(archive, "base_x", lambda part: None) as uploads:
        uploads.begin("part_001.tar").write(b"x")
        assert storage.begun.wait(10)
        raise error


def test_after_a_failure_a_busy_storage_is_waited_for(slow: tuple[Archive, SlowStorage]) -> None:
    archive, storage = slow
    timer = threading.Timer(0.1, storage.released.set)
    timer.start()
    with pytest.raises(BackupError, match="a reason"):
        fail(archive, storage, BackupError("a reason"))
    assert storage.ended.is_set()
    timer.join()


def test_after_a_signal_it_is_not_waited_for(
    slow: tuple[Archive, SlowStorage], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, storage = slow
    monkeypatch.setattr(part_uploads, "INTERRUPTED_SECONDS", 0.01)
    with pytest.raises(Interrupted):
        fail(archive, storage, Interrupted("interrupted by SIGTERM"))
    assert not storage.ended.is_set()
    storage.released.set()
    assert storage.ended.wait(10)
    assert list(archive.storage.list("")) == []


def test_a_signal_while_a_part_begins(tmp_path: Path) -> None:
    body = f"""
from walpy.archive import open_archive
from walpy.backup import part_uploads
from walpy.config import load_config
class Signalled(part_uploads._Upload):
    def start(self):
        os.kill(os.getpid(), signal.SIGTERM)
        super().start()
part_uploads._Upload = Signalled
archive = open_archive(load_config({{}}, {{"WALG_FILE_PREFIX": {str(tmp_path)!r}}}, ""))
with part_uploads.PartUploads(archive, "base_x", print) as uploads:
    uploads.begin("part_001.tar")
    print("not reached")
"""
    assert output_of(body) == ["15 interrupted by SIGTERM"]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
