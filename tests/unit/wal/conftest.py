"""A data directory and an archive, both empty."""

from pathlib import Path

import pytest

from tests.unit.wal.synthetic import DataDirectory, archive_in
from walpy.archive import Archive


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    return DataDirectory(tmp_path / "data")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return archive_in(tmp_path / "archive")
