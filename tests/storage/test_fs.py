"""The file system as a storage: the contract, and what only files can do."""

from pathlib import Path

import pytest

from tests.storage.contract import StorageContract
from walpy.storage.fs import FsStorage


class TestFsStorage(StorageContract):
    many = 1100

    @pytest.fixture
    def storage(self, tmp_path: Path) -> FsStorage:
        return FsStorage(str(tmp_path))
