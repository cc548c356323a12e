"""Servers that note what they are asked, one storage as good as the other."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.economy.remote import S3, Gcs, Remote
from tests.unit.wal.synthetic import DataDirectory


@pytest.fixture(params=[S3, Gcs], ids=["s3", "gcs"])
def remote(request: Any) -> Iterator[Remote]:
    with request.param() as remote:
        yield remote


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    return DataDirectory(tmp_path / "data")
