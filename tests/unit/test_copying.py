"""st copy: objects of any kind, to another archive."""

import json
from pathlib import Path

import pytest

from tests.unit.wal.synthetic import archive_in
from walpy.archive import Archive
from walpy.cli import main
from walpy.copying import Conflict, CopySummary, copy_objects
from walpy.errors import ConfigError, StorageUnavailable
from walpy.progress import SilentProgress

OBJECTS = {
    "a": b"1",
    "wal_005/000000010000000000000001.lz4": b"22",
    "wal_005/000000020000000000000001.lz4": b"333",
    "wal_005/00000002.history.lz4": b"4444",
    "walpy_005/identity": b"{}",
}


@pytest.fixture
def source(tmp_path: Path) -> Archive:
    archive = archive_in(tmp_path / "source")
    for name, content in OBJECTS.items():
        archive.put_bytes(name, content)
    return archive


@pytest.fixture
def target(tmp_path: Path) -> Archive:
    return archive_in(tmp_path / "target")


def content(archive: Archive) -> dict[str, bytes]:
    return {name: archive.get_bytes(name) for name in archive.storage.list_names()}


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("", list(OBJECTS)),
        ("wal_005/0000000200", ["wal_005/000000020000000000000001.lz4"]),
        ("wal_005/00000002", ["wal_005/000000020000000000000001.lz4", "wal_005/00000002.history.lz4"]),
        ("wal", [name for name in OBJECTS if name != "a"]),
        ("b", []),
    ],
)
def test_objects_are_copied_by_the_beginning_of_their_names(
    prefix: str, names: list[str], source: Archive, target: Archive
) -> None:
    assert copy_objects(source, target, prefix, SilentProgress()).copied == len(names)
    assert content(target) == {name: OBJECTS[name] for name in names}


def test_what_is_there_stays(source: Archive, target: Archive) -> None:
    target.put_bytes("a", b"x")
    target.put_bytes("other", b"y")
    assert copy_objects(source, target, "", SilentProgress()) == CopySummary(4, 11, 1)
    assert content(target) == {**OBJECTS, "a": b"x", "other": b"y"}
    assert copy_objects(source, target, "", SilentProgress()) == CopySummary(0, 0, 5)


def test_a_conflict_ends_it_before_anything_is_written(source: Archive, target: Archive) -> None:
    target.put_bytes("walpy_005/identity", b"another size")
    with pytest.raises(Conflict, match="source size 2, destination size 12"):
        copy_objects(source, target, "", SilentProgress())
    assert list(target.storage.list_names()) == ["walpy_005/identity"]


def test_it_goes_on_where_it_was_stopped(source: Archive, target: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    put = target.storage.put

    def failing(name: str, chunks: object, *, create_only: bool = False) -> int:
        if name == "wal_005/00000002.history.lz4":
            raise StorageUnavailable("gone")
        return put(name, chunks, create_only=create_only)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(target.storage, "put", failing)
        with pytest.raises(StorageUnavailable):
            copy_objects(source, target, "", SilentProgress())
    copy_objects(source, target, "", SilentProgress())
    assert content(target) == OBJECTS


def test_one_archive_is_no_copy(source: Archive) -> None:
    with pytest.raises(ConfigError, match="the same archive"):
        copy_objects(source, source, "", SilentProgress())


def test_the_command(source: Archive, target: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for archive in (source, target):
        files.append(tmp_path / f"{Path(archive.config.prefix()).name}.json")
        files[-1].write_text(json.dumps({"WALG_FILE_PREFIX": archive.config.prefix()}))
    arguments = ["st", "copy", "--from", str(files[0]), "--to", str(files[1])]
    assert main([*arguments, "-p", "a"]) == 0
    assert content(target) == {"a": b"1"}
    assert main([*arguments, "--decrypt-source"]) == 1
    assert "--decrypt-source: no key is set" in capsys.readouterr().err
    assert main(["st", "copy", "--from", str(files[0])]) == 1
    assert 'required flag(s) "to" not set' in capsys.readouterr().err
