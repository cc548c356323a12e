"""Markers: believed only while everything they say still holds."""

import json
import os
from pathlib import Path

import pytest

from tests.unit.wal.synthetic import FIRST, DataDirectory, segment
from walpy.wal.files import Fingerprint
from walpy.wal.status import Markers, is_ready, ready_names, rename_ready_to_done

URL = "/archive"


def markers_of(data: DataDirectory, url: str = URL) -> Markers:
    return Markers(str(data.wal / "walg_data"), url)


def mark(data: DataDirectory, path: str) -> Markers:
    markers = markers_of(data)
    markers.write(os.path.basename(path), Fingerprint.of(os.stat(path)))
    return markers


def test_a_marked_file(data: DataDirectory) -> None:
    path = data.add(FIRST)
    markers = mark(data, path)
    assert markers.holds(path)
    assert (data.markers / FIRST).exists()  # where WAL-G looks for its own
    markers.remove(FIRST)
    assert not markers.holds(path)


def test_the_marker_of_another_archive_is_not_believed(data: DataDirectory) -> None:
    path = data.add(FIRST)
    mark(data, path)
    assert not markers_of(data, "/other").holds(path)


def test_the_marker_of_a_file_that_changed_is_not_believed(data: DataDirectory) -> None:
    path = data.add(FIRST)
    status = os.stat(path)
    markers = mark(data, path)
    Path(path).write_bytes(segment(FIRST, seed=1))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # same size, time and inode
    assert not markers.holds(path)


def test_the_marker_of_a_file_that_was_replaced_is_not_believed(data: DataDirectory) -> None:
    path = data.add(FIRST)
    markers = mark(data, path)
    os.unlink(path)
    assert not markers.holds(path)
    data.add(FIRST)
    assert not markers.holds(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"walpy": 1}', b"\xff"])
def test_markers_of_walg_and_damaged_ones_are_not_believed(data: DataDirectory, content: bytes) -> None:
    path = data.add(FIRST)
    data.markers.mkdir(parents=True)
    (data.markers / FIRST).write_bytes(content)
    assert not markers_of(data).holds(path)
    markers_of(data).remove(FIRST)
    assert os.listdir(data.markers) == []


def test_a_partial_segment_and_the_whole_one_have_markers_of_their_own(data: DataDirectory) -> None:
    whole, partial = data.add(FIRST), data.add(f"{FIRST}.partial")
    markers = mark(data, whole)
    assert not markers.holds(partial)
    mark(data, partial)
    markers.remove(f"{FIRST}.partial")
    assert markers.holds(whole)


def test_removing_takes_walgs_cut_off_name_along(data: DataDirectory) -> None:
    data.markers.mkdir(parents=True)
    (data.markers / "00000002").touch()
    markers_of(data).remove("00000002.history")
    assert os.listdir(data.markers) == []


def test_without_a_place_nothing_is_marked(data: DataDirectory) -> None:
    path = data.add(FIRST)
    markers = Markers(None, URL)
    markers.write(FIRST, Fingerprint.of(os.stat(path)))
    assert not markers.holds(path)
    markers.remove(FIRST)


def test_a_place_that_cannot_be_made_only_warns(data: DataDirectory, caplog: pytest.LogCaptureFixture) -> None:
    path = data.add(FIRST)
    (data.wal / "walg_data").write_text("a file where the folder should be")
    markers = mark(data, path)
    assert "cannot mark" in caplog.text
    assert not markers.holds(path)
    markers.remove(FIRST)


def test_a_marker_says_what_was_archived_where(data: DataDirectory) -> None:
    path = data.add(FIRST)
    mark(data, path)
    marker = json.loads((data.markers / FIRST).read_text())
    assert (marker["archive"], marker["size"]) == (URL, os.path.getsize(path))
    assert os.listdir(data.markers) == [FIRST]


def test_archive_status(data: DataDirectory) -> None:
    for name in ("B", "A"):
        data.add(name, b"", ready=True)
    data.status("C", "done").touch()
    assert ready_names(str(data.wal)) == ["A", "B"]
    assert is_ready(str(data.wal), "A")
    rename_ready_to_done(str(data.wal), "A")
    assert ready_names(str(data.wal)) == ["B"]
    assert data.status("A", "done").exists()
