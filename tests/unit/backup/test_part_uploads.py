"""Parts that one stream fills and threads store."""

from collections.abc import Callable
from pathlib import Path

import pytest

from walpy.archive import Archive, open_archive
from walpy.backup.part_uploads import MOST_PARTS, PartUploads, StoredPart
from walpy.config import load_config
from walpy.errors import BackupError, WalpyError
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
