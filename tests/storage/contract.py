"""What every storage backend must do: one suite, run by each of them.

    class TestMine(StorageContract):
        large_size = 3 * PART_SIZE + 7  # more than one multipart part

        @pytest.fixture
        def storage(self, tmp_path: Path) -> Iterator[Storage]:
            ...  # an empty storage, fresh for each test

Leftovers of killed processes, time-outs and the SDK's errors are each backend's own tests.
"""

from tests.storage.contract_base import (
    AWKWARD_NAMES,
    BAD_NAMES,
    MIB,
    SourceFailed,
    SourceStopped,
    content,
    failing_chunks,
    names,
    odd_chunks,
    put_all,
    read,
    reused_chunks,
    together,
)
from tests.storage.contract_list import ListContract
from tests.storage.contract_put import PutContract
from tests.storage.contract_read import ReadContract

__all__ = [
    "AWKWARD_NAMES",
    "BAD_NAMES",
    "MIB",
    "SourceFailed",
    "SourceStopped",
    "StorageContract",
    "content",
    "failing_chunks",
    "names",
    "odd_chunks",
    "put_all",
    "read",
    "reused_chunks",
    "together",
]


class StorageContract(PutContract, ReadContract, ListContract):
    """Subclasses provide the `storage` fixture, and may change the class attributes of contract_base.Contract."""
