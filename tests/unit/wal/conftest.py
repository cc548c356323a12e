"""A data directory and an archive, both empty; and what was logged."""

import logging
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


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog
