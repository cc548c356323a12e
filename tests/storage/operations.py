"""What can be asked of any storage, for tests in which the server fails."""

from collections.abc import Callable

from tests.storage.contract import content, odd_chunks, read
from walpy.storage.base import Storage

SHORT = {"WALPY_STORAGE_DEADLINE": "0.4s"}
RETRIED = {"WALPY_STORAGE_DEADLINE": "1.5s"}  # more than a first request takes on a busy machine

Operation = Callable[[Storage], object]


def operations(part_size: int) -> dict[str, Operation]:
    """By their names; part_size: bytes of what is stored by one request."""
    return {
        "put": lambda storage: storage.put("a", [b"x"]),
        "create": lambda storage: storage.put("a", [b"x"], create_only=True),
        "large put": lambda storage: storage.put("a", odd_chunks(content(part_size + 1))),
        "open": lambda storage: read(storage, "a"),
        "open a part": lambda storage: read(storage, "a", offset=1, size=1),
        "stat": lambda storage: storage.stat("a"),
        "stat_many": lambda storage: storage.stat_many(["a", "b"]),
        "list": lambda storage: list(storage.list()),
        "list_folder": lambda storage: storage.list_folder(),
        "delete": lambda storage: storage.delete(["a"]),
        "delete several": lambda storage: storage.delete(["a", "b", "c"]),
    }
