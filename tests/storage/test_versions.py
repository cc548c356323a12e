"""Versions of objects in S3 buckets: st ls and st rm, with and without them; storages that have none."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.s3_server import S3Server, open_s3, settings
from walpy.archive import Archive, open_archive
from walpy.cli import main
from walpy.errors import StorageError
from walpy.object_listing import list_objects
from walpy.objects import remove_objects, remove_version
from walpy.storage.base import KeepsVersions

Found = list[tuple[str, str]]  # name, and what `ls` notes


@pytest.fixture
def archive(server: S3Server, bucket: str) -> Iterator[Archive]:
    """In a bucket with versions: `a/x` twice, `a/deep/y` and `gone`, which was deleted."""
    with open_s3(server.url, bucket) as storage:
        storage._client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    found = open_archive(settings(server.url, bucket))
    for name, data in (("a/x", b"1"), ("a/x", b"22"), ("a/deep/y", b"333"), ("gone", b"4444")):
        found.put_bytes(name, data)
    remove_objects(found, "gone")
    yield found
    found.close()


def versions(archive: Archive, folder: str = "") -> Found:
    assert isinstance(archive.storage, KeepsVersions)
    kept = archive.storage.versions()
    assert kept is not None
    return [(item.name, "DELETE" if item.is_deletion else str(item.size)) for item in kept.list(folder)]


ALL = [("a/deep/y", "3"), ("a/x", "2"), ("a/x", "1"), ("gone", "DELETE"), ("gone", "4")]


def test_a_listing_with_all_versions(archive: Archive) -> None:
    assert versions(archive) == ALL
    lines = [line.split() for line in list_objects(archive, recursive=True, all_versions=True).splitlines()[1:]]
    assert [(line[1], line[6], *line[8:]) for line in lines] == [
        ("0", "gone", "LATEST", "DELETE"),
        ("4", "gone"),
        ("2", "a/x", "LATEST"),
        ("1", "a/x"),
        ("3", "a/deep/y", "LATEST"),
    ]
    assert len({line[7] for line in lines}) == 5  # their ids
    shown = list_objects(archive, "a", all_versions=True).splitlines()
    assert [line.split()[6] for line in shown[1:]] == ["deep/", "x", "x"]
    assert [line.split()[6] for line in list_objects(archive, "a").splitlines()[1:]] == ["deep/", "x"]


def test_a_listing_without_versions_shows_what_is_there(archive: Archive) -> None:
    lines = list_objects(archive, recursive=True).splitlines()[1:]
    assert [line.split()[6:] for line in lines] == [["a/x"], ["a/deep/y"]]


def test_what_is_removed_can_be_had_back(archive: Archive) -> None:
    assert remove_objects(archive, "a/x") == 1
    assert versions(archive, "a") == [("a/deep/y", "3"), ("a/x", "DELETE"), ("a/x", "2"), ("a/x", "1")]
    kept = archive.storage.versions()  # type: ignore[attr-defined]
    remove_version(archive, "a/x", next(kept.of("a/x")).version)
    assert archive.get_bytes("a/x") == b"22"


@pytest.mark.parametrize(
    ("prefix", "left"),
    [
        ("a/x", [ALL[0], *ALL[3:]]),
        ("a", ALL[3:]),
        ("a/", ALL[3:]),
        ("gone", ALL[:3]),
        ("/", []),
    ],
)
def test_removal_of_all_versions(prefix: str, left: Found, archive: Archive) -> None:
    assert remove_objects(archive, prefix, all_versions=True) == len(ALL) - len(left)
    assert versions(archive) == left


def test_a_version_is_removed_alone(archive: Archive) -> None:
    kept = archive.storage.versions()  # type: ignore[attr-defined]
    newest, oldest = kept.of("a/x")
    remove_version(archive, "a/x", oldest.version)
    assert versions(archive, "a") == ALL[:2]
    for name, version in (("a/x", oldest.version), ("a", newest.version), ("a/deep/y", newest.version)):
        with pytest.raises(StorageError, match="there is no such version"):
            remove_version(archive, name, version)
    assert versions(archive, "a") == ALL[:2]


def test_what_is_not_there(archive: Archive) -> None:
    for all_versions in (False, True):
        with pytest.raises(StorageError, match="does not exist"):
            remove_objects(archive, "nothing", all_versions=all_versions)
    with pytest.raises(StorageError, match="does not exist"):
        remove_objects(archive, "gone")


def test_a_bucket_that_keeps_none(server: S3Server, bucket: str) -> None:
    archive = open_archive(settings(server.url, bucket))
    archive.put_bytes("a", b"1")
    assert list_objects(archive, all_versions=True) == list_objects(archive)
    with pytest.raises(StorageError, match="there is no such version"):
        remove_version(archive, "a", "null")
    assert remove_objects(archive, "a", all_versions=True) == 1
    assert list_objects(archive).count("\n") == 1
    archive.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WALG_FILE_PREFIX", str(tmp_path))
    (tmp_path / "a").write_text("1")
    return tmp_path


def test_storages_without_versions_refuse(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["ls", "--all-versions"], ["rm", "a", "--all-versions"], ["rm", "a", "--version-id", "1"]):
        assert main(["st", *words]) == 1
        assert "has no versions of objects" in capsys.readouterr().err
    assert (folder / "a").exists()
    for flag in ("--all-versions", "--glob"):
        assert main(["st", "rm", "a", "--version-id", "1", flag]) == 1
        assert f"--version-id cannot be used together with {flag}" in capsys.readouterr().err


def test_the_command(
    archive: Archive,
    server: S3Server,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for key, setting in settings(server.url, bucket).settings.items():
        monkeypatch.setenv(key, setting.value)
    run: Callable[..., int] = lambda *words: main(["st", *words])  # noqa: E731
    assert run("ls", "--all-versions") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "gone" in line]
    assert run("rm", "gone", "--version-id", rows[0][7]) == 0
    assert archive.get_bytes("gone") == b"4444"
    assert run("rm", "-g", "a/*", "--all-versions") == 0
    assert versions(archive) == [ALL[-1]]
