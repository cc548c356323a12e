"""The threaded writer of restored files: all bytes where they belong, errors that name a file, nothing left open."""

import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from walpy.backup import file_writer
from walpy.backup.durability import RESERVED_SIZE
from walpy.backup.file_writer import BATCH_FILES, BYTES_AHEAD, FileWriter, make_for_increment
from walpy.backup.increment import encode_head, read_increment
from walpy.errors import BackupError

MIB = 1 << 20
LARGE = RESERVED_SIZE  # bytes of the smallest file that is written piece by piece


class _NoRoom(Exception):
    """What the reader of a part may raise in the middle of a file."""


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def counts() -> list[int]:
    return []


@pytest.fixture
def writer(pool: ThreadPoolExecutor, counts: list[int]) -> FileWriter:
    return FileWriter(pool, counts.append, reserves_room=True)


def pieces(data: bytes, size: int = MIB) -> list[memoryview]:
    return [memoryview(data)[start : start + size] for start in range(0, len(data), size)]


def open_files(folder: Path) -> Sequence[str]:
    """What this process has open below a folder."""
    links = (Path("/proc/self/fd") / number for number in os.listdir("/proc/self/fd"))
    return [target for link in links if link.is_symlink() and (target := os.readlink(link)).startswith(f"{folder}/")]


@pytest.mark.parametrize("size", [0, 1, LARGE - 1, LARGE, 3 * MIB + 17, 20 * MIB + 1])
@pytest.mark.parametrize("reserves_room", [True, False])
def test_a_file_has_its_bytes_and_its_mode(
    size: int, reserves_room: bool, pool: ThreadPoolExecutor, counts: list[int], tmp_path: Path
) -> None:
    data = os.urandom(size)
    with FileWriter(pool, counts.append, reserves_room=reserves_room) as writer:
        writer.write(str(tmp_path / "file"), 0o640, size, pieces(data))
    assert (tmp_path / "file").read_bytes() == data
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert sum(counts) == size
    assert open_files(tmp_path) == []


def test_many_files_of_all_sizes(writer: FileWriter, counts: list[int], tmp_path: Path) -> None:
    sizes = {f"file-{number}": (number * 7919) % (2 * RESERVED_SIZE) for number in range(3 * BATCH_FILES)}
    contents = {name: os.urandom(size) for name, size in sizes.items()}
    with writer:
        for name, data in contents.items():
            writer.write(str(tmp_path / name), 0o600, len(data), pieces(data, 100_000))
    assert {name: (tmp_path / name).read_bytes() for name in sizes} == contents
    assert sum(counts) == sum(sizes.values())


def test_small_files_are_written_by_few_tasks(writer: FileWriter, counts: list[int], tmp_path: Path) -> None:
    with writer:
        for number in range(2 * BATCH_FILES + 1):
            writer.write(str(tmp_path / str(number)), 0o600, 1, pieces(b"x"))
    assert counts == [BATCH_FILES, BATCH_FILES, 1]


def test_a_file_is_replaced_as_a_whole(writer: FileWriter, tmp_path: Path) -> None:
    for name, size in (("small", 10), ("large", LARGE)):
        path = tmp_path / name
        path.write_bytes(b"what was there before" * LARGE)
        path.chmod(0o666)
        with writer:
            writer.write(str(path), 0o600, size, pieces(bytes(size)))
        assert path.read_bytes() == bytes(size)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("size", [1, LARGE])
def test_links_are_not_followed(size: int, writer: FileWriter, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BackupError, match=r"cannot write '.*/link'"), writer:
        writer.write(str(tmp_path / "link"), 0o600, size, pieces(bytes(size)))
    assert not (tmp_path / "elsewhere").exists()
    assert open_files(tmp_path) == []


@pytest.mark.parametrize("size", [1, LARGE])
def test_what_fails_for_an_earlier_file_is_raised(size: int, writer: FileWriter, tmp_path: Path) -> None:
    def write_all() -> None:
        for name in ("missing/file", *map(str, range(4 * BATCH_FILES))):
            writer.write(str(tmp_path / name), 0o600, size, pieces(bytes(size)))

    with pytest.raises(BackupError, match=r"cannot write '.*/missing/file': No such file"), writer:
        write_all()
    assert open_files(tmp_path) == []


def test_a_full_disk_names_the_large_file(writer: FileWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(descriptor: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(file_writer, "reserve", no_room)
    with pytest.raises(BackupError, match=r"cannot write '.*/file': No space left on device"), writer:
        writer.write(str(tmp_path / "file"), 0o600, LARGE, pieces(bytes(LARGE)))
    assert open_files(tmp_path) == []


def test_a_piece_that_cannot_be_written_names_its_file(
    writer: FileWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(descriptor: int, data: memoryview, offset: int) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pwrite", broken)
    with pytest.raises(BackupError, match=r"cannot write '.*/file': Input/output error"), writer:
        writer.write(str(tmp_path / "file"), 0o600, 3 * MIB, pieces(bytes(3 * MIB)))
    assert open_files(tmp_path) == []


@pytest.mark.parametrize("size", [2, 2 * MIB])
def test_a_reader_that_fails_leaves_nothing_open(size: int, writer: FileWriter, tmp_path: Path) -> None:
    def failing() -> Iterator[memoryview]:
        yield memoryview(bytes(size // 2))
        raise _NoRoom

    with pytest.raises(_NoRoom), writer:
        writer.write(str(tmp_path / "file"), 0o600, size, failing())
    assert open_files(tmp_path) == []


def test_short_writes_are_continued(writer: FileWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, pwrite = os.write, os.pwrite
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:1000]))
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: pwrite(descriptor, data[:100_001], offset))
    for name, size in (("small", 10_001), ("large", 3 * MIB)):
        data = os.urandom(size)
        with writer:
            writer.write(str(tmp_path / name), 0o600, size, pieces(data))
        assert (tmp_path / name).read_bytes() == data


@pytest.mark.parametrize("size", [RESERVED_SIZE - 1, MIB, 12 * MIB])
def test_what_waits_for_its_writing_is_bounded(
    size: int, pool: ThreadPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written until the writer waits; what it took by then is all that it ever holds."""
    gate = threading.Event()
    taken: list[int] = []

    class Waiting(FileWriter):
        def _wait_for(self, bytes_ahead: int) -> None:
            if self._bytes_ahead > bytes_ahead:
                gate.set()
            super()._wait_for(bytes_ahead)
            taken.append(self._bytes_ahead)

    write, pwrite = os.write, os.pwrite
    monkeypatch.setattr(os, "write", lambda *arguments: (gate.wait(), write(*arguments))[1])
    monkeypatch.setattr(os, "pwrite", lambda *arguments: (gate.wait(), pwrite(*arguments))[1])
    with Waiting(pool, lambda count: None, reserves_room=True) as writer:
        for number in range(max(2, 12 * MIB // size)):
            writer.write(str(tmp_path / str(number)), 0o600, size, pieces(bytes(size)))
        gate.set()
    assert max(taken) <= BYTES_AHEAD
    assert max(taken) > BYTES_AHEAD - 2 * MIB


# ---- increments


PAGE = 8192


def apply(writer: FileWriter, path: Path, page_count: int, changed: Sequence[int], *, is_new: bool = False) -> None:
    """Write an increment: the changed pages are full of x."""
    data = encode_head(page_count * PAGE, changed) + b"x" * (PAGE * len(changed))
    increment = read_increment(len(data), pieces(data, 100_000))
    writer.write_increment(str(path), 0o640, len(data), increment, is_new=is_new)


@pytest.mark.parametrize("reserves_room", [True, False])
@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        (4, 4, [1]),
        (4, 2, []),
        (1, 4, [3]),
        (200, 200, range(0, 200, 2)),  # large
        (100, 500, range(90, 500)),
        (500, 100, range(50, 100)),
    ],
)
def test_an_increment_changes_pages_and_size(
    old: int,
    new: int,
    changed: Sequence[int],
    reserves_room: bool,
    pool: ThreadPoolExecutor,
    counts: list[int],
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"
    for _ in range(2):  # once more changes nothing
        if not path.exists():
            path.write_bytes(b"o" * (old * PAGE))
        with FileWriter(pool, counts.append, reserves_room=reserves_room) as writer:
            apply(writer, path, new, changed)
        data = path.read_bytes()
        for number in range(new):
            expected = b"x" if number in changed else b"o" if number < old else b"\0"
            assert data[number * PAGE : (number + 1) * PAGE] == expected * PAGE
        assert len(data) == new * PAGE
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert open_files(tmp_path) == []


@pytest.mark.parametrize("reserves_room", [True, False])
@pytest.mark.parametrize(("size", "changed"), [(4, [1]), (4, []), (200, [7]), (200, range(0, 200, 2))])
def test_an_increment_makes_a_file(
    size: int,
    changed: Sequence[int],
    reserves_room: bool,
    pool: ThreadPoolExecutor,
    counts: list[int],
    tmp_path: Path,
) -> None:
    """All other pages are zeros, also of a file that is there; runs fill them afterwards, and leave mode and size."""
    path = tmp_path / "file"
    for _ in range(2):
        with FileWriter(pool, counts.append, reserves_room=reserves_room) as writer:
            apply(writer, path, size, changed, is_new=True)
        expected = [b"x" if number in changed else b"\0" for number in range(size)]
        assert path.read_bytes() == b"".join(byte * PAGE for byte in expected)
        free = [number for number in range(size) if number not in changed]
        with FileWriter(pool, counts.append, reserves_room=reserves_room) as writer:
            writer.write_runs(str(path), len(free) * PAGE, ((n * PAGE, memoryview(b"y" * PAGE)) for n in free))
        assert path.read_bytes() == b"".join(byte * PAGE for byte in expected).replace(b"\0", b"y")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert open_files(tmp_path) == []


def test_pieces_of_which_little_is_written_are_not_held_in_numbers(
    pool: ThreadPoolExecutor, counts: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where newer backups brought most pages, a page keeps a whole piece of the decoder alive."""
    gate = threading.Event()
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda *arguments: (gate.wait(), pwrite(*arguments))[1])
    path = tmp_path / "file"
    path.touch()
    taken = 0

    def runs() -> Iterator[tuple[int, memoryview]]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number * PAGE, memoryview(b"x" * MIB)[:PAGE]

    def write() -> None:
        with FileWriter(pool, counts.append, reserves_room=True) as writer:
            writer.write_runs(str(path), 100 * MIB, runs())

    thread = threading.Thread(target=write)
    thread.start()
    before = -1
    while before != taken:
        before = taken
        time.sleep(0.2)
    gate.set()
    thread.join()
    assert 4 <= before <= 8
    assert path.read_bytes() == b"x" * (100 * PAGE)
    assert sum(counts) == 100 * MIB  # what was left out is done too


@pytest.mark.parametrize("count", [1, 100])
def test_an_increment_without_its_file(count: int, writer: FileWriter, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"cannot apply an increment to '.*/lost': the file is missing"), writer:
        apply(writer, tmp_path / "lost", count, range(count))
    assert not (tmp_path / "lost").exists()


@pytest.mark.parametrize("count", [1, 100])
def test_an_increment_does_not_follow_links(count: int, writer: FileWriter, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"safe")
    (tmp_path / "link").symlink_to("outside")
    with pytest.raises(BackupError, match="cannot write"), writer:
        apply(writer, tmp_path / "link", count, range(count))
    assert (tmp_path / "outside").read_bytes() == b"safe"


def test_an_increment_of_many_pages_is_written_by_few_tasks(
    pool: ThreadPoolExecutor, counts: list[int], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with FileWriter(pool, counts.append, reserves_room=True) as writer:
        apply(writer, tmp_path / "file", 2000, range(0, 2000, 2))
    assert sum(counts) == 1000 * PAGE
    assert len(counts) < 20


@pytest.mark.parametrize(
    ("old", "new", "changed", "is_made"),
    [
        (None, 3, [0, 1, 2], True),
        (None, 3, [0, 2], False),
        (None, 0, [], True),
        (None, 1, [], False),
        (2, 3, [2], True),
        (2, 3, [0, 1], False),
        (2, 4, [0, 2, 3, 7], True),
        (3, 2, [], True),
    ],
)
def test_an_increment_makes_a_file_only_with_all_of_its_pages(
    old: int | None, new: int, changed: Sequence[int], is_made: bool, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(bytes(old * PAGE))
    data = encode_head(new * PAGE, changed) + bytes(PAGE * len(changed))
    increment = read_increment(len(data), pieces(data, 100_000))
    if is_made:
        make_for_increment(str(path), increment)
        assert path.exists()
        return
    with pytest.raises(BackupError, match="not all pages behind them have changed"):
        make_for_increment(str(path), increment)
    assert path.exists() == (old is not None)
