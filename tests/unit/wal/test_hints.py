"""What a wal-fetch remembers for the next one, and how many requests that saves; what it must never do: answer."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.unit.wal.synthetic import FIRST, DataDirectory, archive_in, segment
from walpy.archive import MOST_MISSED, Archive
from walpy.errors import AccessDenied, ObjectMissing
from walpy.storage.base import StoredObject
from walpy.wal.fetch import download_wal
from walpy.wal.hints import FILE
from walpy.wal.segment import MIB, following_segment

SECOND = following_segment(FIRST, MIB)
HISTORY = "00000002.history"


class Counting:
    """A storage that notes what it is asked for: the suffix of an opened object, `list` for a look-up of several."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.requests: list[str] = []
        self.can_list = True

    def open(self, name: str, **options: Any) -> Any:
        self.requests.append(os.path.splitext(name)[1] or "none")
        return self._inner.open(name, **options)

    def stat_many(self, names: Sequence[str]) -> list[StoredObject]:
        self.requests.append("list")
        if not self.can_list:
            raise AccessDenied("no permission to list")
        return self._inner.stat_many(names)  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Recovery:
    """Fetches, each as by a process of its own, to one data directory."""

    def __init__(self, data: DataDirectory, folder: Path, **settings: str) -> None:
        self.destination = data.wal / "RECOVERYXLOG"
        self.hints = data.wal / ".wal-g/prefetch" / FILE
        self._folder = folder
        self._settings = settings
        self.can_list = True

    def fetch(self, name: str, archive: Archive | None = None) -> list[str]:
        """What the storage was asked for; the last word is `absent` when the file is."""
        archive = archive or archive_in(self._folder, **self._settings)
        counting = Counting(archive.storage)
        counting.can_list = self.can_list
        archive.storage = counting
        self.destination.unlink(missing_ok=True)
        try:
            download_wal(archive, name, str(self.destination))
        except ObjectMissing:
            return [*counting.requests, "absent"]
        assert self.destination.read_bytes() == segment(FIRST if name == HISTORY else name)
        return counting.requests


@pytest.fixture
def recovery(data: DataDirectory, tmp_path: Path) -> Recovery:
    return Recovery(data, tmp_path / "archive")


def put(recovery: Recovery, name: str, method: str = "lz4") -> None:
    recovery_archive = archive_in(recovery._folder, WALG_COMPRESSION_METHOD=method)
    recovery_archive.put_wal(name, [segment(FIRST) if name == HISTORY else segment(name)])


def test_a_hit_is_one_request_and_leaves_nothing_behind(recovery: Recovery) -> None:
    put(recovery, FIRST)
    assert recovery.fetch(FIRST) == [".lz4"]
    assert not recovery.hints.exists()


def test_another_codec_is_looked_for_once(recovery: Recovery) -> None:
    put(recovery, FIRST, "brotli")
    put(recovery, SECOND, "brotli")
    assert recovery.fetch(FIRST) == [".lz4", "list", ".br"]
    assert recovery.fetch(SECOND) == [".br"]
    assert recovery.fetch(FIRST) == [".br"]


def test_the_first_miss_is_proven_by_two_requests_and_every_further_one_by_one(recovery: Recovery) -> None:
    put(recovery, FIRST)
    assert recovery.fetch(SECOND) == [".lz4", "list", "absent"]
    assert recovery.fetch(SECOND) == ["list", "absent"]
    assert recovery.fetch(SECOND) == ["list", "absent"]


@pytest.mark.parametrize("method", ["lz4", "zstd", "none", "brotli", "lzma"])
def test_what_was_missed_is_found_whatever_codec_stores_it(recovery: Recovery, method: str) -> None:
    """A set of extensions known so far would end a recovery here: another writer has another codec."""
    put(recovery, FIRST)
    assert recovery.fetch(FIRST) == [".lz4"]
    assert recovery.fetch(SECOND)[-1] == "absent"
    put(recovery, SECOND, method)
    suffix = archive_in(recovery._folder, WALG_COMPRESSION_METHOD=method).hints.suffix or "none"
    assert recovery.fetch(SECOND) == ["list", suffix]
    assert recovery.fetch(SECOND) == [suffix]


def test_a_history_file_is_looked_for_at_once(recovery: Recovery) -> None:
    assert recovery.fetch(HISTORY) == ["list", "absent"]
    assert recovery.fetch(HISTORY) == ["list", "absent"]
    assert not recovery.hints.exists()
    put(recovery, HISTORY, "zstd")
    assert recovery.fetch(HISTORY) == ["list", ".zst"]


def test_credentials_that_cannot_list_get_what_is_there(recovery: Recovery) -> None:
    put(recovery, HISTORY)
    put(recovery, FIRST)
    recovery.can_list = False
    assert recovery.fetch(HISTORY) == ["list", ".lz4"]
    assert recovery.fetch(FIRST) == [".lz4"]
    with pytest.raises(AccessDenied):
        recovery.fetch(SECOND)


def test_hints_of_another_archive_are_not_used(recovery: Recovery, data: DataDirectory, tmp_path: Path) -> None:
    put(recovery, FIRST, "brotli")
    recovery.fetch(FIRST)
    other = Recovery(data, tmp_path / "other")
    put(other, FIRST)
    assert other.fetch(FIRST) == [".lz4"]


@pytest.mark.parametrize("text", ["", "x", "a\nb\n", "a\nb\nc\nd\n", "\n\n\n", "file\n.lz4\n"])
def test_a_broken_file_of_hints_is_as_good_as_none(recovery: Recovery, text: str) -> None:
    put(recovery, FIRST)
    recovery.hints.parent.mkdir(parents=True)
    recovery.hints.write_text(text)
    assert recovery.fetch(FIRST) == [".lz4"]
    assert recovery.fetch(SECOND)[-1] == "absent"
    assert recovery.fetch(SECOND) == ["list", "absent"]


def test_hints_that_cannot_be_kept_are_done_without(recovery: Recovery) -> None:
    recovery.hints.parent.parent.write_text("in the way")
    assert recovery.fetch(SECOND) == [".lz4", "list", "absent"]
    assert recovery.fetch(SECOND) == [".lz4", "list", "absent"]


def test_nothing_is_kept_outside_of_a_data_directory(tmp_path: Path) -> None:
    with pytest.raises(ObjectMissing):
        download_wal(archive_in(tmp_path / "archive"), FIRST, str(tmp_path / "target"))
    assert os.listdir(tmp_path) == ["archive"]


def test_one_process_remembers_what_it_has_seen(recovery: Recovery, tmp_path: Path) -> None:
    put(recovery, FIRST, "brotli")
    put(recovery, SECOND, "brotli")
    archive = archive_in(tmp_path / "archive")
    assert recovery.fetch(FIRST, archive) == [".lz4", "list", ".br"]
    recovery.hints.unlink()
    assert recovery.fetch(SECOND, archive) == [".br"]


def test_few_absences_are_remembered(tmp_path: Path) -> None:
    hints = archive_in(tmp_path / "archive").hints
    for number in range(MOST_MISSED + 1):
        hints.note_missed(str(number))
    assert not hints.expects_absence("0")
    assert all(hints.expects_absence(str(number)) for number in range(1, MOST_MISSED + 1))
