"""Which pages newer backups have brought: runs of older ones are cut around them, and the marks are kept in a file."""

import random
from array import array
from pathlib import Path

import pytest

from walpy.backup.increment import Increment
from walpy.backup.newer_pages import NewerPages, PagesReader, PagesWriter, whole_file
from walpy.errors import BackupError, DataCorrupt

PAGE = 1024


def increment(size: int, blocks: list[int], page_size: int = PAGE) -> Increment:
    """size: pages."""
    return Increment(size * PAGE, array("I", blocks), page_size if blocks else 0, iter(()))


def left(pages: NewerPages, size: int, piece: int = 700) -> list[tuple[int, int]]:
    """What is missing of a whole file of so many pages, in pieces of so many bytes: joined (offset, end), in pages."""
    data = memoryview(b"".join(number.to_bytes(4) * (PAGE // 4) for number in range(size)))
    found: list[list[int]] = []
    for offset, run in pages.missing(whole_file(data[i : i + piece] for i in range(0, len(data), piece))):
        assert run == data[offset : offset + len(run)]
        assert run
        if found and found[-1][1] == offset:
            found[-1][1] += len(run)
        else:
            found.append([offset, offset + len(run)])
    return [(start // PAGE, end // PAGE) if start % PAGE == end % PAGE == 0 else (start, -1) for start, end in found]


@pytest.mark.parametrize("piece", [1, 700, PAGE, 5000, 1 << 20])
def test_an_older_file_fills_what_is_between(piece: int) -> None:
    pages = NewerPages.of(increment(9, [0, 3, 4, 8]))
    assert left(pages, 9, piece) == [(1, 3), (5, 8)]
    assert left(pages, 2, piece) == [(1, 2)]
    assert left(pages, 20, piece) == [(1, 3), (5, 8)]


def test_older_increments_add_their_pages() -> None:
    pages = NewerPages.of(increment(9, [3])).joined(increment(9, [0, 3, 5]))
    assert left(pages, 9) == [(1, 3), (4, 5), (6, 9)]
    assert pages == NewerPages(9 * PAGE, 9 * PAGE, PAGE, b"\1\0\0\1\0\1")


def test_what_was_cut_off_meanwhile_does_not_come_back() -> None:
    pages = NewerPages.of(increment(9, [6])).joined(increment(2, [])).joined(increment(9, [1, 7]))
    assert (pages.size, pages.limit) == (9 * PAGE, 2 * PAGE)
    assert left(pages, 9) == [(0, 1)]


def test_pages_behind_the_size_are_not_there() -> None:
    assert left(NewerPages.of(increment(3, [1, 2, 3, 9])), 9) == [(0, 1)]


def test_increments_without_pages() -> None:
    pages = NewerPages.of(increment(3, [])).joined(increment(4, []))
    assert left(pages, 9) == [(0, 3)]
    assert left(pages.joined(increment(3, [2])), 9) == [(0, 2)]
    assert left(NewerPages.of(increment(0, [])), 9) == []


def test_other_sizes_of_pages_and_absurd_files_are_refused() -> None:
    with pytest.raises(DataCorrupt, match="pages of 1024 and 2048 bytes"):
        NewerPages.of(increment(4, [1])).joined(increment(4, [1], 2048))
    with pytest.raises(DataCorrupt, match="an increment of a file of 4398046511104 bytes"):
        NewerPages.of(increment(1 << 32, [1 << 31]))


@pytest.mark.parametrize("seed", range(50))
def test_newest_first_is_as_oldest_first(seed: int) -> None:
    chosen = random.Random(seed)
    steps = []
    for _ in range(chosen.randrange(1, 6)):
        size = chosen.randrange(12)
        steps.append(increment(size, [page for page in range(14) if chosen.random() < 0.4]))
    first = chosen.randrange(12)
    forward = [0] * first
    for number, step in enumerate(steps, 1):
        forward = (forward + [-1] * 14)[: step.file_size // PAGE]
        for page in step.blocks:
            if page < len(forward):
                forward[page] = number
    newest = [-1] * (steps[-1].file_size // PAGE)
    pages: NewerPages | None = None
    for number, step in reversed(list(enumerate(steps, 1))):
        runs = [(page * PAGE, memoryview(bytes(PAGE))) for page in step.blocks if page < step.file_size // PAGE]
        for offset, run in pages.missing(iter(runs)) if pages else runs:
            assert len(run) == PAGE
            newest[offset // PAGE] = number
        pages = pages.joined(step) if pages else NewerPages.of(step)
    assert pages
    for start, end in left(pages, first):
        newest[start:end] = [0] * (end - start)
    assert newest == forward


# ---- the file of marks


def test_marks_are_kept(tmp_path: Path) -> None:
    kept = {f"base/1/{n}": NewerPages.of(increment(9 + n, [n, n + 5])) for n in range(100)}
    kept["base/1/\udcff"] = NewerPages.of(increment(0, []))
    with PagesWriter(str(tmp_path / "a")) as writer:
        for name, pages in kept.items():
            writer.add(name, pages)
    with PagesWriter(str(tmp_path / "b")) as writer:
        writer.add("other", NewerPages.of(increment(2, [1])))
        writer.add("other", NewerPages.of(increment(1, [0])))
    reader = PagesReader({**dict.fromkeys(kept, str(tmp_path / "a")), "other": str(tmp_path / "b")})
    assert {name: reader.of(name) for name in kept} == kept
    assert reader.of("other") == NewerPages.of(increment(1, [0]))
    assert reader.of("none of them") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_what_failed_is_not_in_place(tmp_path: Path) -> None:
    with pytest.raises(AttributeError), PagesWriter(str(tmp_path / "a")) as writer:
        writer.add("x", None)  # type: ignore[arg-type]
    assert not (tmp_path / "a").exists()
    with pytest.raises(BackupError, match="cannot write the journal"):
        PagesWriter(str(tmp_path / "none/a"))


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "zeros", "marks", "other"])
def test_a_file_that_is_not_whole_is_told(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    with PagesWriter(str(path)) as writer:
        writer.add("x", NewerPages.of(increment(200, list(range(0, 200, 3)))))
    data = path.read_bytes()
    changed = {
        "empty": b"",
        "cut": data[:-3],
        "zeros": bytes(len(data)),
        "marks": b"\xff" * 9 + data[9:],
        "other": data.replace(b'"x"', b'"y"'),
    }
    path.unlink() if damage == "gone" else path.write_bytes(changed[damage])
    with pytest.raises(BackupError, match=r"the journal of the restore has lost '.*/a'"):
        PagesReader({"x": str(path)}).of("x")
