"""A file system as storage, or as destination, that is full, denies or is gone."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.cluster import Cluster, give, new_base, unprivileged
from tests.integration.faults.scene import COMMANDS, Scene, folder_scene

CODES = {"wal-fetch": 200}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that an unprivileged user can reach, which tmp_path is not."""
    base = new_base()
    yield base
    shutil.rmtree(base)


@pytest.fixture
def scene(folder: Path, server: Cluster) -> Scene:
    """Commands on an archive in a folder."""
    return folder_scene(folder, server).prepare()


@pytest.fixture
def small_mount(folder: Path) -> Iterator[Path]:
    """A file system of 3 MiB: less than a segment, and than a backup."""
    point = folder / "mount"
    point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "walpy-test", str(point)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mount is refused: {mounted.stderr.strip()}")
    yield point
    subprocess.run(["umount", str(point)], check=True, capture_output=True)


@pytest.mark.parametrize("command", ["wal-push", "backup-push"])
def test_a_full_storage(command: str, scene: Scene, small_mount: Path) -> None:
    ended = scene.start(command, WALG_FILE_PREFIX=str(small_mount)).end()
    assert ended.code == 1
    assert "no space left" in ended.error.lower()
    assert str(small_mount) in ended.error
    left = [path.relative_to(small_mount).as_posix() for path in small_mount.rglob("*") if path.is_file()]
    assert [name for name in left if not name.startswith("walpy_005/")] == []
    scene.check_no_backup_runs()


def test_a_full_destination_of_a_fetch(scene: Scene, small_mount: Path) -> None:
    shutil.rmtree(scene.data / "pg_wal")
    (small_mount / "pg_wal").mkdir()
    (scene.data / "pg_wal").symlink_to(small_mount / "pg_wal")
    ended = scene.start("wal-fetch").end()
    assert ended.code == 200
    assert "pg_wal/RECOVERYXLOG: no space left" in ended.error
    assert list((small_mount / "pg_wal").iterdir()) == []


def test_a_full_destination_of_a_restore(scene: Scene, small_mount: Path) -> None:
    taken = scene.start("backup-push").end()
    assert taken.code == 0, taken.log
    ended = scene.run(["backup-fetch", str(small_mount / "new"), "LATEST"])
    assert ended.code == 1
    assert str(small_mount) in ended.error
    assert "space" in ended.error or "room" in ended.error
    assert list(small_mount.rglob("pg_control*")) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_storage_that_denies(command: str, scene: Scene, folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can take a folder away from another user")
    give(folder / "data")
    archive = folder / "archive"
    archive.chmod(0o700)
    ended = scene.start(command, options=unprivileged()).end()
    assert ended.code == CODES.get(command, 1), ended.log
    assert str(archive) in ended.error
    assert "permission denied" in ended.error.lower()
    assert not (scene.data / "pg_wal/RECOVERYXLOG").exists()
    assert not scene.destination.exists()
    scene.check_no_backup_runs()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_storage_that_is_not_mounted(command: str, scene: Scene, folder: Path) -> None:
    (folder / "archive").rename(folder / "elsewhere")
    ended = scene.start(command).end()
    assert ended.code == CODES.get(command, 1), ended.log
    assert f"'{folder / 'archive'}' does not exist" in ended.error
    assert not (folder / "archive").exists()
    scene.check_no_backup_runs()
