"""Files that must not change while they are read, and files that appear when complete."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.wal.synthetic import FIRST, segment
from walpy import interrupts, kernel
from walpy.errors import InvalidWal, WalpyError
from walpy.wal.files import IncomingFile, SourceFile, is_being_written
from walpy.wal.segment import MIB


def test_source_gives_all_bytes_again_and_again(tmp_path: Path) -> None:
    content = segment(FIRST, size=2 * MIB) + b"odd"
    path = tmp_path / "file"
    path.write_bytes(content)
    with SourceFile(str(path)) as source:
        assert source.size == len(content)
        assert source.head() == content[:40]
        for _ in range(2):
            assert b"".join(bytes(chunk) for chunk in source.chunks()) == content


def test_an_empty_source(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with SourceFile(str(tmp_path / "file")) as source:
        assert list(source.chunks()) == []
        assert source.equals(iter([]))


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, 2 * MIB)


def rewrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"changed")
    os.utime(path, ns=(0, 0))  # whatever the clock's resolution


@pytest.mark.parametrize("change", [grow, shrink, rewrite])
def test_a_file_that_changes_while_read(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * MIB))
    with SourceFile(str(path)) as source:
        chunks = source.chunks()
        next(chunks)
        change(path)
        with pytest.raises(InvalidWal, match="changed while it was read"):
            list(chunks)


@pytest.mark.parametrize(
    ("chunks", "equal"),
    [
        ([b"abc", b"", b"def"], True),
        ([b"abcdef"], True),
        ([b"abcde"], False),
        ([b"abcdefg"], False),
        ([b"abXdef"], False),
        ([], False),
    ],
)
def test_comparing(tmp_path: Path, chunks: list[bytes], equal: bool) -> None:
    (tmp_path / "file").write_bytes(b"abcdef")
    with SourceFile(str(tmp_path / "file")) as source:
        assert source.equals(iter(chunks)) is equal


def test_sources_that_cannot_be_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, words in [
        ("absent", "no such file or directory"),
        ("pipe", "not a regular file"),
        (".", "not a regular"),
    ]:
        with pytest.raises(WalpyError, match=words):
            SourceFile(str(tmp_path / name))


def test_a_new_file_appears_at_commit(tmp_path: Path) -> None:
    final, temporary = tmp_path / "final", tmp_path / "temporary"
    final.write_bytes(b"old")
    with IncomingFile(str(temporary), str(final)) as file:
        file.write(b"new ")
        file.write(memoryview(b"content"))
        assert (file.size, file.head()) == (11, b"new content")
        assert final.read_bytes() == b"old"
        assert str(temporary) in interrupts.unfinished_files
        file.commit()
    assert final.read_bytes() == b"new content"
    assert os.listdir(tmp_path) == ["final"]
    assert str(temporary) not in interrupts.unfinished_files


@pytest.mark.parametrize("size", [64, MIB // 2, MIB])
def test_the_room_of_a_segment_is_reserved_and_what_is_not_written_given_back(size: int, tmp_path: Path) -> None:
    content, final = segment(FIRST)[:size], tmp_path / "final"
    with IncomingFile(str(tmp_path / "temporary"), str(final)) as file:
        file.write(content[:50])
        assert os.stat(file.temporary).st_blocks * 512 >= MIB
        file.write(content[50:])
        file.commit()
    assert final.read_bytes() == content


def test_no_room_for_a_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kernel, "reserve", full)
    with suppress(OSError), IncomingFile(str(tmp_path / "temporary"), str(tmp_path / "final")) as file:
        file.write(segment(FIRST))
        raise AssertionError("it was taken")
    assert os.listdir(tmp_path) == []


def test_a_new_file_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with suppress(ValueError), IncomingFile(str(tmp_path / "t"), str(tmp_path / "final")) as file:
        file.write(b"half")
        raise ValueError
    assert os.listdir(tmp_path) == []


def test_what_a_kill_left_behind_is_taken_over(tmp_path: Path) -> None:
    temporary, final = tmp_path / "temporary", tmp_path / "final"
    temporary.write_bytes(b"much longer remains of a killed process")
    with IncomingFile(str(temporary), str(final)) as file:
        file.write(b"new")
        file.commit()
    assert final.read_bytes() == b"new"


def test_a_file_has_one_writer(tmp_path: Path) -> None:
    temporary, final = str(tmp_path / "temporary"), str(tmp_path / "final")
    assert not is_being_written(temporary)
    with IncomingFile(temporary, final) as file:
        assert is_being_written(temporary)
        with pytest.raises(BlockingIOError):
            IncomingFile(temporary, final)
        file.write(b"kept")
        file.commit()
    (tmp_path / "temporary").write_bytes(b"left behind")
    assert not is_being_written(temporary)
    assert (tmp_path / "final").read_bytes() == b"kept"
