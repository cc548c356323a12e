"""FailoverStorage: one Storage over all storages of a configuration, for WAL.

Written is to the first storage that is alive (or the chosen one); an object that any other one holds exists, so that
a file is not archived twice. Read is from whichever has it. A storage that cannot be asked proves nothing: when a
restore finds an object nowhere else, that is a failure and no absence. A command that archives must not wait for a dead
storage, so for it such a storage holds nothing.

What walpy keeps below walpy_005 (whose archive it is) tells of one storage: it is read from the one that is written to.
Memory: that of the one storage which an object comes from or goes to.
"""

import heapq
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

from walpy.config_failover import has_failover, target_name
from walpy.errors import AccessDenied, ObjectExists, ObjectMissing, StorageError, StorageUnavailable
from walpy.layout import is_own
from walpy.storage import open_storage
from walpy.storage.aliveness import EXISTS_WEIGHT, LIST_WEIGHT, delete_weight, transfer_weight
from walpy.storage.base import Chunk, Folder, ObjectReader, Storage, StoredObject, WrappedReader, check_name
from walpy.storage.storages import Storages

if TYPE_CHECKING:
    import builtins

    from walpy.config import Config

T = TypeVar("T")

logger = logging.getLogger(__name__)


def open_failover(config: "Config", *, is_writing: bool) -> Storage:
    """Storage over those of a configuration, all or the one that --target-storage names. Raises ConfigError."""
    if not has_failover(config):
        return open_storage(config)
    storages = Storages(config, "rw" if is_writing else "ro")
    return FailoverStorage(storages, is_writing=is_writing, target=target_name(config))


class FailoverStorage:
    """See above. is_writing: for a command that archives. target: the storage to write to, and the only one to read."""

    def __init__(self, storages: Storages, *, is_writing: bool, target: str = "") -> None:
        self.storages = storages
        self._is_writing = is_writing
        self._target = target

    @property
    def url(self) -> str:
        """Where it is: all places."""
        return ", ".join(self.storages.storage(name).url for name in self._names())

    def name_to_write(self) -> str:
        """Name of the storage that takes the next object. Raises StorageUnavailable when there is none."""
        return self._target or self.storages.first_alive()

    def put(self, name: str, chunks: Iterable[Chunk], *, create_only: bool = False) -> int:
        """Store an object; see Storage. One that another living storage holds exists, or is replaced where it is."""
        check_name(name)
        target = self.name_to_write()
        if not is_own(name):
            holder = self._holder(name, target)
            if holder and create_only:
                raise ObjectExists(f"object {name!r} already exists in storage {holder}")
            target = holder or target
        return self._run(target, lambda storage: storage.put(name, chunks, create_only=create_only), transfer_weight)

    def open(self, name: str, *, offset: int = 0, size: int | None = None) -> "_Reader":
        """Open an object of the first storage that has it; see Storage."""
        return self._find(name, lambda holder: self._open(holder, name, offset, size))

    def stat(self, name: str) -> StoredObject:
        """Look up an object in the first storage that has it; see Storage."""
        return self._find(name, lambda holder: self._run(holder, lambda storage: storage.stat(name)))

    def stat_many(self, names: Sequence[str]) -> list[StoredObject]:
        """Those of the objects that any storage has; see Storage. Proves an absence only where nothing at all is found.

        Raises StorageUnavailable when nothing is found, and a storage cannot be asked.
        """
        for name in names:
            check_name(name)
        found: dict[str, StoredObject] = {}
        failures: dict[str, StorageError] = {}
        for holder in self._asked(names[0] if names else "", failures, found):
            rest = [name for name in names if name not in found]
            if not rest:
                break
            try:
                self._ensure_alive(holder, is_needed=not found)
                items = self._run(holder, partial(_stat_many, names=rest))
            except StorageError as error:
                failures[holder] = error
            else:
                found.update((item.name, item) for item in items)
        if not found and names:
            self._raise_unasked(failures, f"object {names[0]!r}")
        return [found[name] for name in names if name in found]

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        """Every object below a folder, in name order, those of the first storage where two have it; see Storage.

        A storage that cannot be asked is told of, and left out, unless it is the only one.
        """
        listings = self._all(folder, lambda storage: _begun(storage.list(folder)))
        previous = ""
        for item in heapq.merge(*listings, key=attrgetter("name")):
            if item.name != previous:
                yield item
            previous = item.name

    def list_names(self, folder: str = "") -> Iterator[str]:
        """Names of every object below a folder, each once, in name order; see list."""
        return (item.name for item in self.list(folder))

    def list_folder(self, folder: str = "") -> Folder:
        """Direct children of a folder; see Storage, and list."""
        objects: dict[str, StoredObject] = {}
        folders: set[str] = set()
        for found in self._all(folder, lambda storage: storage.list_folder(folder)):
            folders.update(found.folders)
            for item in found.objects:
                objects.setdefault(item.name, item)
        return Folder(tuple(objects[name] for name in sorted(objects)), tuple(sorted(folders)))

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects in every storage; see Storage. A storage that fails, fails it, after the others."""
        wanted = [*names]
        for name in wanted:
            check_name(name)
        for _ in self._everywhere(lambda storage: storage.delete(wanted), delete_weight(len(wanted))):
            pass

    def discard_unfinished(self, folder: str) -> int:
        """Remove what interrupted puts left behind in every storage; see Storage."""
        return sum(self._everywhere(lambda storage: storage.discard_unfinished(folder), LIST_WEIGHT))

    def close(self) -> None:
        """Release the connections of all."""
        self.storages.close()

    # ---- one storage

    def _run(
        self, holder: str, call: Callable[[Storage], T], weigh: Callable[[T], float] = lambda _: EXISTS_WEIGHT
    ) -> T:
        """What call gives for a storage; its end is reported."""
        began_ns = time.time_ns()
        try:
            result = call(self.storages.storage(holder))
        except StorageError as error:
            self.storages.report(holder, EXISTS_WEIGHT, error, began_ns)
            raise
        self.storages.report(holder, weigh(result))
        return result

    def _open(self, holder: str, name: str, offset: int, size: int | None) -> "_Reader":
        began_ns = time.time_ns()
        try:
            reader = self.storages.storage(holder).open(name, offset=offset, size=size)
        except StorageError as error:
            self.storages.report(holder, EXISTS_WEIGHT, error, began_ns)
            raise
        return _Reader(reader, self.storages, holder, began_ns)

    def _holder(self, name: str, target: str) -> str:
        """The storage, beside the one to write to, that holds an object; empty: none that could be asked."""
        for other in self.storages.names:
            if other == target or not self.storages.is_alive(other):
                continue
            try:
                if self._run(other, lambda storage: storage.stat_many([name])):
                    return other
            except StorageError as error:
                logger.warning("storage %s cannot be asked whether it holds %s: %s", other, name, error)
        return ""

    # ---- several storages

    def _names(self) -> tuple[str, ...]:
        return (self._target,) if self._target and not self._is_writing else self.storages.names

    def _places(self, name: str) -> Sequence[str]:
        """Storages to look in, the living ones first."""
        if self._is_writing and is_own(name):
            return [self.name_to_write()]
        alive = {holder for holder in self._names() if len(self._names()) == 1 or self.storages.is_alive(holder)}
        others = () if self._is_writing else self._names()
        return [holder for holder in self._names() if holder in alive] + [
            holder for holder in others if holder not in alive
        ]

    def _asked(self, name: str, failures: Collection[str], found: Collection[str] = ()) -> Iterator[str]:
        """Storages to look in; those asked first once more, before an absence counts as proven for a restore.

        Else an object that is just moved (st transfer) from a later one to an earlier one would be in neither.
        """
        places = self._places(name)
        yield from places
        if not failures and not found and not self._is_writing:
            yield from places[:-1]

    def _ensure_alive(self, holder: str, *, is_needed: bool) -> None:
        """Raise StorageUnavailable for a storage that counts as dead, unless it is back; where it is not needed, too.

        So that nobody waits for a whole deadline when a check tells the same sooner.
        """
        if len(self._names()) == 1 or self.storages.is_alive(holder):
            return
        if not is_needed or not self.storages.alive_now([holder]):
            raise StorageUnavailable(f"storage {holder} is dead")

    def _find(self, name: str, look: Callable[[str], T]) -> T:
        """What look gives for the first storage that has an object."""
        check_name(name)
        failures: dict[str, StorageError] = {}
        for holder in self._asked(name, failures):
            try:
                self._ensure_alive(holder, is_needed=True)
                return look(holder)
            except ObjectMissing:
                continue
            except StorageError as error:
                failures[holder] = error
        self._raise_unasked(failures, f"object {name!r}")
        raise ObjectMissing(f"object {name!r} does not exist in {self.url}")

    def _raise_unasked(self, failures: dict[str, StorageError], what: str) -> None:
        """Raise what kept storages from answering: as long as one is not asked, nothing is proven absent."""
        for holder, error in failures.items():
            kind = AccessDenied if isinstance(error, AccessDenied) else StorageUnavailable
            raise kind(
                f"{what} is in no storage that answers, and storage {holder} cannot be asked: {error}",
                "Make it reachable, or take it out of the settings if it is lost for good.",
            ) from error

    def _all(self, folder: str, call: Callable[[Storage], T]) -> Sequence[T]:
        """What call gives for each storage that answers."""
        found: builtins.list[T] = []
        if folder:
            check_name(folder)
        failures: dict[str, StorageError] = {}
        for holder in self._places(folder):
            try:
                self._ensure_alive(holder, is_needed=True)
                found.append(self._run(holder, call, lambda _: LIST_WEIGHT))
            except StorageError as error:
                logger.warning("storage %s cannot be listed, what it holds looks as if missing: %s", holder, error)
                failures[holder] = error
        if not found:
            self._raise_unasked(failures, f"folder {folder!r}")
        return found

    def _everywhere(self, call: Callable[[Storage], T], weight: float) -> Iterator[T]:
        failures: builtins.list[StorageError] = []
        for holder in self._names():
            try:
                yield self._run(holder, call, lambda _: weight)
            except StorageError as error:
                failures.append(error)
        if failures:
            raise failures[0]


class _Reader(WrappedReader):
    """An object's reader whose end is reported."""

    def __init__(self, reader: ObjectReader, storages: Storages, holder: str, began_ns: int) -> None:
        super().__init__(reader)
        self._storages = storages
        self._holder = holder
        self._began_ns = began_ns

    def __iter__(self) -> Iterator[Chunk]:
        try:
            yield from self._reader
        except StorageError as error:
            self._storages.report(self._holder, EXISTS_WEIGHT, error, self._began_ns)
            raise
        self._storages.report(self._holder, transfer_weight(self.size))


def _stat_many(storage: Storage, names: Sequence[str]) -> Sequence[StoredObject]:
    return storage.stat_many(names)


def _begun(items: Iterator[StoredObject]) -> Iterator[StoredObject]:
    """A listing whose first page has been asked for: whoever cannot be listed fails here."""
    first = next(items, None)
    return iter(()) if first is None else _with(first, items)


def _with(first: StoredObject, items: Iterator[StoredObject]) -> Iterator[StoredObject]:
    yield first
    yield from items
