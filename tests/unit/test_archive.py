"""The archive: codec and storage together."""

from pathlib import Path

import pytest

from walpy import layout
from walpy.archive import Archive, open_archive
from walpy.config import Config
from walpy.errors import DataCorrupt, ObjectExists, ObjectMissing

NAME = "000000010000000000000001"
CONTENT = b"wal" * 100_000


def archive(folder: Path, method: str = "lz4", **more: str) -> Archive:
    return open_archive(
        Config.from_mapping({"WALG_FILE_PREFIX": str(folder), "WALG_COMPRESSION_METHOD": method, **more})
    )


def read(opened: Archive, name: str = NAME) -> bytes:
    with opened.open_wal(name) as chunks:
        return b"".join(bytes(chunk) for chunk in chunks)


@pytest.mark.parametrize(
    ("method", "extension"),
    [("lz4", ".lz4"), ("zstd", ".zst"), ("brotli", ".br"), ("lzma", ".lzma"), ("none", "")],
)
def test_every_codec_is_found_by_an_archive_that_writes_another(tmp_path: Path, method: str, extension: str) -> None:
    stored = archive(tmp_path, method).put_wal(NAME, [CONTENT])
    assert stored.name == f"wal_005/{NAME}{extension}"
    assert stored.size == len(CONTENT)
    assert stored.stored_size == (tmp_path / stored.name).stat().st_size
    for reader in ("lz4", "zstd", "none"):
        assert read(archive(tmp_path, reader)) == CONTENT


def test_the_configured_codec_is_preferred_then_the_probing_order(tmp_path: Path) -> None:
    for method in ("zstd", "brotli", "lz4"):
        archive(tmp_path, method).put_wal(NAME, [method.encode()])
    assert read(archive(tmp_path, "zstd")) == b"zstd"
    assert read(archive(tmp_path, "lzma")) == b"lz4"
    assert archive(tmp_path, "none").find_wal(NAME) == f"wal_005/{NAME}.lz4"


@pytest.mark.parametrize("method", ["lz4", "none"])
@pytest.mark.parametrize("name", [NAME, "00000002.history"])
def test_the_dot_that_wal_g_left_of_the_codec_none(name: str, method: str, tmp_path: Path) -> None:
    """WAL-G before 3.0.9 stored so; WAL taken for absent would end a recovery early."""
    opened = archive(tmp_path, method)
    (tmp_path / "wal_005").mkdir()
    (tmp_path / "wal_005" / f"{name}.").write_bytes(CONTENT)
    assert opened.find_wal(name) == f"wal_005/{name}."
    assert read(opened, name) == CONTENT
    with opened.open_wal_object(name, f"wal_005/{name}.") as chunks:
        assert b"".join(map(bytes, chunks)) == CONTENT


def test_history_stored_without_a_codec_is_not_taken_for_an_extension(tmp_path: Path) -> None:
    archive(tmp_path, "none").put_wal("00000002.history", [b"1\t0/3000000\treason\n"])
    assert read(archive(tmp_path), "00000002.history") == b"1\t0/3000000\treason\n"


def test_absence_is_told_apart(tmp_path: Path) -> None:
    assert archive(tmp_path).find_wal(NAME) is None
    with pytest.raises(ObjectMissing), archive(tmp_path).open_wal(NAME):
        pass


def test_a_second_put_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    opened = archive(tmp_path)
    opened.put_wal(NAME, [CONTENT])
    with pytest.raises(ObjectExists):
        opened.put_wal(NAME, [b"other"])
    assert read(opened) == CONTENT
    opened.put_wal(NAME, [b"other"], create_only=False)
    assert read(opened) == b"other"


def test_truncated_and_empty_objects_are_damaged(tmp_path: Path) -> None:
    opened = archive(tmp_path)
    path = tmp_path / opened.put_wal(NAME, [CONTENT]).name
    for size in (path.stat().st_size - 1, 0):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(DataCorrupt, match=rf"object 'wal_005/{NAME}\.lz4' is damaged: "):
            read(opened)


def test_json_is_stored_as_it_is(tmp_path: Path) -> None:
    opened = archive(tmp_path)
    opened.put_json(layout.IDENTITY, {"a": "ä"}, create_only=True)
    assert (tmp_path / layout.IDENTITY).read_bytes() == '{"a":"ä"}'.encode()
    assert opened.get_json(layout.IDENTITY) == {"a": "ä"}
    (tmp_path / layout.IDENTITY).write_bytes(b"{")
    with pytest.raises(DataCorrupt, match=r"identity\.json"):
        opened.get_json(layout.IDENTITY)
