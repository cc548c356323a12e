"""Delta backups: the changed pages of a file in its place, found by their headers."""

import random
import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.backup.test_partition import PAGE, contents, entry, packed, settings
from walpy.archive import open_archive
from walpy.backup.cut import WHOLE_FILE
from walpy.backup.files_metadata import FilesMetadata, files_metadata_json
from walpy.backup.increment import HEAD_SIZE, encode_head, member_size
from walpy.backup.partition import Packer, PartitionJob, PartitionResult
from walpy.backup.source_files import Pages
from walpy.errors import BackupError
from walpy.postgres.entry import Entry
from walpy.stream.pieces import PIECE_SIZE

SINCE = 0x2_0000_0100
OLD, NEW = SINCE - 1, SINCE
SIZES = [1, 2, 31, WHOLE_FILE // PAGE, WHOLE_FILE // PAGE + 1, 128, 129, 700]  # pages


def page(lsn: int, content: bytes) -> bytes:
    head = struct.pack("<IIHHHHHH", lsn >> 32, lsn & 0xFFFFFFFF, 0, 0, 24, PAGE, PAGE, PAGE | 4)
    return head.ljust(24, b"\0") + content.ljust(PAGE - 24, b".")


def relation(path: Path, changed: Iterable[int], count: int) -> list[bytes]:
    """Write a file of so many pages; its pages."""
    wanted = set(changed)
    pages = [page(NEW if number in wanted else OLD, f"{path.name} {number}".encode()) for number in range(count)]
    path.write_bytes(b"".join(pages))
    return pages


def known(path: Path, *, has_base: bool = True) -> Entry:
    return entry(path, f"/base/5/{path.name}")._replace(has_base=has_base)


def job_of(entries: Iterable[Entry], *, since: int = SINCE, verify_before: int | None = None) -> PartitionJob:
    return PartitionJob("base_X", "part_001.tar", tuple(entries), 2, Pages(PAGE, verify_before, since), 10)


def pack(
    entries: Iterable[Entry], storage: Path, *, verify_before: int | None = None
) -> tuple[PartitionResult, dict[str, bytes]]:
    result, data = packed(open_archive(settings(storage)), job_of(entries, verify_before=verify_before))
    return result, contents(data)


def packed_since(since: int, entries: Iterable[Entry], storage: Path) -> dict[str, bytes]:
    """What is stored for files when pages count as changed from a position on."""
    storage.mkdir()
    return contents(packed(open_archive(settings(storage)), job_of(entries, since=since))[1])


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    folder = tmp_path / "storage"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_changed_pages_stand_for_a_file(share: float, tmp_path: Path, storage: Path) -> None:
    choose = random.Random(7)
    expected, sizes, entries = {}, 0, []
    for count in SIZES:
        path = tmp_path / str(16384 + count)
        changed = [number for number in range(count) if choose.random() < share and count > 1]
        pages = relation(path, changed, count)
        content = encode_head(count * PAGE, changed) + b"".join(pages[number] for number in changed)
        assert len(content) == member_size(len(changed), PAGE)
        entries.append(known(path))
        expected[f"base/5/{path.name}"] = content
        sizes += len(content)
    result, stored = pack(entries, storage)
    assert stored == expected
    assert result.size == sizes
    files = FilesMetadata.from_json(b"".join(files_metadata_json({"part_001.tar.lz4": result.listing}, {}))).files
    assert all(files[item.name].is_incremented for item in entries)


def test_whole_where_increments_save_nothing_or_headers_do_not_tell(tmp_path: Path, storage: Path) -> None:
    entries, expected = [], {}
    for name, count in (("1", 3), ("2", 200)):
        pages = relation(tmp_path / name, range(count), count)
        entries.append(known(tmp_path / name))
        expected[f"base/5/{name}"] = b"".join(pages)
    for name, count in (("3", 3), ("4", 200)):
        relation(tmp_path / name, [], count)
        with (tmp_path / name).open("r+b") as file:
            file.seek((count - 1) * PAGE)
            file.write(b"\xff" * 100)
        entries.append(known(tmp_path / name))
        expected[f"base/5/{name}"] = (tmp_path / name).read_bytes()
    relation(tmp_path / "5", [], 4)
    entries.append(known(tmp_path / "5", has_base=False))
    expected["base/5/5"] = (tmp_path / "5").read_bytes()
    result, stored = pack(entries, storage)
    assert stored == expected
    files = FilesMetadata.from_json(b"".join(files_metadata_json({"part_001.tar.lz4": result.listing}, {}))).files
    assert not any(files[item.name].is_incremented for item in entries)


@pytest.mark.parametrize("count", [30, 300])
def test_a_file_that_changes_after_the_walk(count: int, tmp_path: Path, storage: Path) -> None:
    longer, shorter, gone = (tmp_path / name for name in ("1", "2", "3"))
    pages = relation(longer, [0], count)
    relation(shorter, [0], count)
    relation(gone, [0], count)
    entries = [known(path) for path in (longer, shorter, gone)]
    longer.write_bytes(longer.read_bytes() + page(NEW, b"more"))
    shorter.write_bytes(shorter.read_bytes()[: (count - 2) * PAGE])
    gone.unlink()
    result, stored = pack(entries, storage)
    assert stored["base/5/1"] == encode_head(count * PAGE, [0]) + pages[0]
    # What is missing at the end comes as zeros; recovery repeats the truncation.
    assert stored["base/5/2"].startswith(encode_head(count * PAGE, [0, count - 2, count - 1]))
    assert stored["base/5/2"].endswith(bytes(2 * PAGE))
    assert "base/5/3" not in stored
    assert result.size == sum(map(len, stored.values()))


def test_stored_pages_are_verified(tmp_path: Path, storage: Path) -> None:
    entries = []
    for name, count in (("1", 8), ("2", 300)):
        relation(tmp_path / name, [1, 5, 6], count)  # without checksums: all of them are wrong
        entries.append(known(tmp_path / name))
    result, _ = pack(entries, storage, verify_before=NEW + 1)
    corrupt = dict(result.corrupt)
    assert corrupt["/base/5/2"] == (1, 5, 6)
    assert set(corrupt["/base/5/1"]) >= {1, 5, 6}


def test_an_unreadable_file_is_an_error(tmp_path: Path, storage: Path) -> None:
    relation(tmp_path / "1", [1], 300)
    item = known(tmp_path / "1")
    (tmp_path / "1").unlink()
    (tmp_path / "1").symlink_to("/etc/passwd")
    archive = open_archive(settings(storage))
    with pytest.raises(BackupError, match="cannot open"):
        Packer(archive, job_of([item]), print).run()
    assert not list(storage.rglob("*.tar*"))


def test_progress_counts_every_byte_that_was_read(tmp_path: Path, storage: Path) -> None:
    entries = []
    for name, count in (("1", 8), ("2", 300)):
        relation(tmp_path / name, [1], count)
        entries.append(known(tmp_path / name))
    counts: list[int] = []
    Packer(open_archive(settings(storage)), job_of(entries), counts.append).run()
    assert sum(counts) == sum(item.size for item in entries)


def test_a_file_is_looked_through_up_to_the_piece_that_does_not_tell(tmp_path: Path, storage: Path) -> None:
    path = tmp_path / "1"
    relation(path, [], 10 * PIECE_SIZE // PAGE)
    with path.open("r+b") as file:
        file.seek(2 * PIECE_SIZE)
        file.write(b"\xff" * 100)
    counts: list[int] = []
    job = replace(job_of([known(path)]), threads=1)
    Packer(open_archive(settings(storage)), job, counts.append).run()
    assert sum(counts) == 3 * PIECE_SIZE + 10 * PIECE_SIZE


def test_an_empty_increment_is_its_head_alone(tmp_path: Path, storage: Path) -> None:
    relation(tmp_path / "1", [], 300)
    _, stored = pack([known(tmp_path / "1")], storage)
    assert len(stored["base/5/1"]) == HEAD_SIZE


@pytest.mark.parametrize("count", [4, 31, 32, 33, 300])
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_pages_that_the_wal_told(count: int, share: float, tmp_path: Path, storage: Path) -> None:
    """They are stored whatever the headers say, and nothing else is."""
    choose = random.Random(3)
    changed = [number for number in range(count) if choose.random() < share]
    told, gone = tmp_path / "1", tmp_path / "2"
    pages = relation(told, range(0, count, 2), count)
    relation(gone, [], count)
    entries = [known(path)._replace(changed=changed) for path in (told, gone)]
    gone.unlink()
    result, stored = pack(entries, storage)
    increment = encode_head(count * PAGE, changed) + b"".join(pages[number] for number in changed)
    assert stored == {"base/5/1": increment if share < 1 else b"".join(pages)}
    assert result.size == len(stored["base/5/1"])
