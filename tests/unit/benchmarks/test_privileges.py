import os
from pathlib import Path

import pytest

from benchmarks.privileges import MARK, claim, lock


def test_a_new_and_an_own_work_directory_are_claimed(tmp_path: Path) -> None:
    claim(tmp_path / "new")
    (tmp_path / "new" / "data").touch()
    claim(tmp_path / "new")
    assert (tmp_path / "new" / MARK).exists()


def test_a_directory_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter").touch()
    with pytest.raises(FileExistsError, match="holds other files"):
        claim(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def test_two_runs_do_not_share_a_work_directory(tmp_path: Path) -> None:
    claim(tmp_path)
    descriptor = lock(tmp_path)
    with pytest.raises(BlockingIOError, match="another run"):
        lock(tmp_path)
    os.close(descriptor)
    os.close(lock(tmp_path))
