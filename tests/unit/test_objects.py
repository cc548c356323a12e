"""walpy st: prints what WAL-G printed, leaves what WAL-G left, and does what its help says."""

import io
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.golden import GOLDEN, RICH, golden_archive
from tests.unit.wal.synthetic import archive_in
from walpy.archive import Archive
from walpy.cli import main
from walpy.errors import DataCorrupt, ObjectExists, StorageError, UsageError
from walpy.object_listing import list_objects, matching_objects, pattern_fits, stat_object
from walpy.objects import check_read, check_write, fetch_object, remove_objects, store_file, write_object

CASES: dict[str, dict[str, Any]] = {
    case["file"].removesuffix(".txt"): case for case in json.loads((GOLDEN / "cli-output/st-cases.json").read_text())
}
HISTORY = b'1\t0/201C438\tat restore point "fork_here"\n'


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, utc: None) -> Callable[[str], int]:
    """Runs a case on a copy of the archive that WAL-G had, in a directory of its own; its exit code."""
    root = golden_archive(RICH).copy(tmp_path / "copy") / "archive"
    for path in root.glob("basebackups_005/*_sentinel.json"):  # renamed in the captures, times kept
        modified_ns = path.stat().st_mtime_ns
        path.write_bytes(path.read_bytes().replace(b"/tmp/fx/", b"/srv/fx/"))
        os.utime(path, ns=(modified_ns, modified_ns))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WALG_FILE_PREFIX", str(root))
    return lambda name: main(CASES[name]["args"])


def objects_of(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name", ["st-ls", "st-ls-folder", "st-ls-missing", "st-ls-glob", "st-ls-glob-folder", "st-cat", "st-cat-decompress"]
)
def test_what_is_shown(name: str, run: Callable[[str], int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name) == 0
    assert capsys.readouterr().out == CASES[name]["stdout"]


def test_a_recursive_listing(run: Callable[[str], int], capsys: pytest.CaptureFixture[str]) -> None:
    """Times of all but the sentinels are those of the copy."""
    assert run("st-ls-r") == 0
    shown, expected = (text.splitlines() for text in (capsys.readouterr().out, CASES["st-ls-r"]["stdout"]))
    assert [line.split()[::5] for line in shown[1:]] == [line.split()[::5] for line in expected[1:]]  # kind, name
    assert {line for line in shown if "sentinel" in line} == {line for line in expected if "sentinel" in line}


def test_files_go_to_and_fro(run: Callable[[str], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "copy/archive"
    before = objects_of(root)
    assert run("st-get") == 0
    assert (tmp_path / "got.history").read_bytes() == HISTORY
    assert (tmp_path / "got.history").stat().st_mode & 0o777 == 0o640
    assert run("st-get") == 1  # it is there already
    assert "It must not exist yet" in capsys.readouterr().err
    assert run("st-get-raw") == 0
    assert (tmp_path / "got.history.lz4").read_bytes() == (root / "wal_005/00000002.history.lz4").read_bytes()
    assert run("st-put") == 0
    assert objects_of(root) - before == set(CASES["st-put"]["added"])
    for name in ("st-put-again", "st-put-raw"):
        assert run(name) == 1
        assert "object extra/file.lz4 already exists. To overwrite it, add the -f flag" in capsys.readouterr().err
    assert run("st-put-force") == 0
    assert (root / "extra/file").read_bytes() == HISTORY
    assert run("st-ls-extra") == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:]] == ["file", "file.lz4"]
    assert run("st-rm") == 0
    assert not (root / "extra/file").exists()
    assert (root / "extra/file.lz4").exists()
    assert run("st-rm-folder") == 0
    assert not (root / "wal_005").exists()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["exit"] and "put" not in name])
def test_what_is_refused(name: str, run: Callable[[str], int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name) == 1
    assert "Error: " in (shown := capsys.readouterr()).err or "ERROR: " in shown.err
    assert shown.out == ""


@pytest.mark.parametrize("name", ["st-check-read", "st-check-write"])
def test_checks(name: str, run: Callable[[str], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = objects_of(tmp_path / "copy/archive")
    assert run(name) == 0
    assert CASES[name]["stderr"].split(" ", 3)[3].strip() in capsys.readouterr().err
    assert objects_of(tmp_path / "copy/archive") == before


# ---- by themselves


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    archive = archive_in(tmp_path / "archive")
    for name in ("wal_005/a.lz4", "wal_005/b.lz4", "wal_005/deep/c", "top"):
        archive.put_bytes(name, name.encode())
    return archive


def test_a_stream_is_stored_and_read_back(archive: Archive) -> None:
    data = b"walpy" * 1_000_000
    assert store_file(archive, io.BytesIO(data), "x/y") == "x/y.lz4"
    assert store_file(archive, io.BytesIO(data), "x/raw", compress=False) == "x/raw"
    for name, decompress in (("x/y.lz4", True), ("x/raw", False)):
        stream = io.BytesIO()
        write_object(archive, name, stream, decompress=decompress)
        assert stream.getvalue() == data


def test_an_unknown_extension_is_kept(archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fetch_object(archive, "top", str(tmp_path))
    assert (tmp_path / "top").read_bytes() == b"top"
    assert "the extension of top is no codec's" in caplog.text


def test_a_damaged_object_leaves_no_file(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(DataCorrupt):
        fetch_object(archive, "wal_005/a.lz4", str(tmp_path / "a"))
    assert not (tmp_path / "a").exists()


def test_nothing_is_overwritten_unasked(archive: Archive) -> None:
    with pytest.raises(ObjectExists, match="object top already exists"):
        store_file(archive, io.BytesIO(b"new"), "top", compress=False)
    assert archive.get_bytes("top") == b"top"
    store_file(archive, io.BytesIO(b"new"), "top", compress=False, overwrite=True)
    assert archive.get_bytes("top") == b"new"


def test_removal_takes_the_object_before_the_folder(archive: Archive) -> None:
    archive.put_bytes("top2/inner", b"x")
    assert remove_objects(archive, "top") == 1
    assert remove_objects(archive, "top2/") == 1
    with pytest.raises(StorageError, match='object or folder "wal_00" does not exist'):
        remove_objects(archive, "wal_00")
    assert remove_objects(archive, "wal_005") == 3
    assert list(archive.storage.list()) == []


def test_missing_objects_and_the_reads_of_a_check(archive: Archive) -> None:
    with pytest.raises(StorageError, match='stat object "nope"'):
        stat_object(archive, "nope")
    check_read(archive, ["top", "wal_005/a.lz4"])
    with pytest.raises(StorageError, match="files are missing: a, top3"):
        check_read(archive, ["a", "top", "top3"])
    check_write(archive)
    assert "top" in list_objects(archive)


@pytest.mark.parametrize(
    ("pattern", "fitting"),
    [
        ("*", ["a", "ab", "b", "a-b", ""]),
        ("a*", ["a", "ab", "a-b"]),
        ("?", ["a", "b"]),
        ("[a-b]", ["a", "b"]),
        ("[^a]", ["b"]),
        ("a\\b", ["ab"]),
        ("a?b", ["a-b"]),
        ("a.b", []),
    ],
)
def test_patterns(pattern: str, fitting: list[str]) -> None:
    fits = pattern_fits(pattern)
    assert [text for text in ("a", "ab", "b", "a-b", "") if fits(text)] == fitting


@pytest.mark.parametrize("pattern", ["[a", "a\\", "[z-a]"])
def test_patterns_without_sense(pattern: str) -> None:
    with pytest.raises(UsageError, match="syntax error in pattern"):
        pattern_fits(pattern)


def test_objects_are_found_by_pattern(archive: Archive) -> None:
    assert matching_objects(archive, "wal_*/?.lz4") == ["wal_005/a.lz4", "wal_005/b.lz4"]
    assert matching_objects(archive, "*/deep/*") == ["wal_005/deep/c"]
    assert matching_objects(archive, "t*") == ["top"]
    with pytest.raises(StorageError, match="no object fits"):
        matching_objects(archive, "wal_005/z*")


def test_other_storages(run: Callable[[str], int], capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("", "default", "all"):
        assert main(["st", "ls", "--target", name]) == 0
    assert main(["st", "ls", "--target", "second"]) == 1
    assert 'unknown storage "second"' in capsys.readouterr().err
