"""Copies objects from one archive to another, byte for byte, several at a time; what is there already is compared.

Where both lie on one server, and it can, it copies them itself; else they pass through here.
Nothing is ever replaced, so a copy that was stopped goes on where it was. Memory: PARALLEL objects under way, each what
the source's reader and the target's put hold.
"""

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

from walpy.archive import Archive
from walpy.errors import BackupError, ConfigError
from walpy.progress import Progress
from walpy.storage.base import Chunk, CopiesItself, Storage, StoredObject

PARALLEL: Final = 8  # objects copied at the same time

Item = TypeVar("Item")
Result = TypeVar("Result")
Through = Callable[[Iterable[Chunk]], Iterable[Chunk]]

logger = logging.getLogger(__name__)


class CopySummary(NamedTuple):
    """What a copy did: objects and bytes that were written, objects that were there."""

    copied: int
    size: int
    present: int


class Conflict(BackupError):
    """The target has another object of that name."""


class Copying:
    """Compares and copies objects. Raises ConfigError for one archive on both sides."""

    def __init__(self, source: Archive, target: Archive, progress: Progress) -> None:
        check_distinct(source, target)
        self.source = source
        self.target = target
        self.size = 0  # bytes that will be copied
        self._copied = 0
        self._copied_size = 0
        self._present = 0
        self._progress = progress

    @property
    def summary(self) -> CopySummary:
        """What was done so far."""
        return CopySummary(self._copied, self._copied_size, self._present)

    def is_missing(self, item: StoredObject, present: StoredObject | None, *, by_content: bool = False) -> bool:
        """Whether the target lacks an object. Raises Conflict when it has another one of that name.

        Parts and WAL are the same when their sizes are; by_content: documents, which may differ by a word.
        """
        if present is None:
            self.size += item.size
            return True
        self._present += 1
        if present.size != item.size:
            raise Conflict(
                f'destination object "{item.name}" conflicts with source: source size {item.size}, '
                f"destination size {present.size}"
            )
        if by_content and self.source.get_bytes(item.name) != self.target.get_bytes(item.name):
            raise Conflict(f'destination object "{item.name}" conflicts with source: the contents differ')
        return False

    def run(self, items: Iterable[StoredObject]) -> None:
        """Copy objects. Raises the first failure; what is under way then is completed, the rest is not begun."""
        for item, future in in_order(self._copy, items, PARALLEL):
            future.result()
            self._copied += 1
            self._copied_size += item.size
            self._progress.advance(item.size)

    def _copy(self, item: StoredObject) -> None:
        copy_object(self.source.storage, self.target.storage, item)
        logger.info('Copied "%s" to "%s" without transformation.', item.name, item.name)


def check_distinct(source: Archive, target: Archive) -> None:
    """Raise ConfigError for one archive on both sides."""
    if source.storage.url == target.storage.url:
        raise ConfigError(f"source and target are the same archive: {source.storage.url}")


def copy_object(source: Storage, target: Storage, item: StoredObject, through: Through | None = None) -> bool:
    """Copy one object, create-only; whether the server did it itself. through: what its bytes pass, if they come here.

    Raises ObjectExists, StorageError.
    """
    if isinstance(target, CopiesItself) and target.take(source, item):
        return True
    with source.open(item.name) as reader:
        target.put(item.name, through(reader) if through else reader, create_only=True)
    return False


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], parallel: int
) -> "Generator[tuple[Item, Future[Result]], None, None]":
    """Items in their order, each with what work makes of it, several at a time; 2 * parallel items are held.

    When it is left early, what is under way is completed, and the rest is not begun.
    """
    under_way: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(parallel, "copy") as pool:
        try:
            for item in items:
                if len(under_way) == 2 * parallel:
                    yield under_way.popleft()
                under_way.append((item, pool.submit(work, item)))
            while under_way:
                yield under_way.popleft()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def pairs(
    source: Iterable[StoredObject], target: Iterable[StoredObject]
) -> Iterator[tuple[StoredObject, StoredObject | None]]:
    """Objects of one listing, each with that of the same name in the other one. Both are in name order."""
    others = iter(target)
    other = next(others, None)
    for item in source:
        while other is not None and other.name < item.name:
            other = next(others, None)
        yield item, other if other is not None and other.name == item.name else None


def copy_objects(source: Archive, target: Archive, prefix: str, progress: Progress) -> CopySummary:
    """Copy every object whose name begins with prefix (all, when it is empty).

    First everything is compared: an object that the target has in another size ends it before anything is written.
    Raises Conflict, ConfigError, StorageError.
    """
    copying = Copying(source, target, progress)
    folder = prefix.rpartition("/")[0]

    def found() -> Iterator[tuple[StoredObject, StoredObject | None]]:
        wanted = (item for item in source.storage.list(folder) if item.name.startswith(prefix))
        return pairs(wanted, target.storage.list(folder))

    for item, present in found():
        copying.is_missing(item, present)
    progress.start(copying.size, "copying")
    try:
        copying.run(item for item, present in found() if present is None)
    finally:
        progress.finish()
    return copying.summary
