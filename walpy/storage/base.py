"""The Storage protocol: named byte streams, and what every backend guarantees.

Names are relative to the storage's prefix, parts joined with `/`, without a slash at either end; the empty name is the
root folder. A backend is safe to use from several threads. Every method ends within the storage deadline: it either
succeeds, or raises one of errors.StorageError with the SDK's error as its cause. Transient failures have already been
retried when an error comes out.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from types import TracebackType
from typing import NamedTuple, Protocol, Self, runtime_checkable

from walpy.errors import StorageError

# A memoryview is valid only until the next chunk is asked for: who keeps it must copy it.
Chunk = bytes | memoryview

READ_SIZE = 1 << 20  # bytes; the largest chunk a reader yields
PUT_TOKEN = "walpy-put"  # key of the object metadata (a random value) that tells one put's object from another's


class StoredObject(NamedTuple):
    """One object of a listing: its full name (relative to the storage's prefix), size and time of change."""

    name: str
    size: int
    modified_ns: int  # UTC, nanoseconds since the epoch


class Folder(NamedTuple):
    """Direct children of a folder, both in name order; folder names are full and end without a slash."""

    objects: tuple[StoredObject, ...]
    folders: tuple[str, ...]


class ObjectReader(Protocol):
    """Bytes of one object: a context manager that iterates over chunks of at most READ_SIZE bytes.

    Goes on where it stopped when a connection breaks; raises StorageUnavailable when it cannot, DataCorrupt when the
    object changed or fewer bytes came than promised. Leaving the context closes the connection.
    """

    @property
    def size(self) -> int:
        """Bytes that the iteration will yield."""
        ...

    def __iter__(self) -> Iterator[Chunk]: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class WrappedReader:
    """What an ObjectReader that does something with another's chunks shares with it: its size, and its context."""

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader

    @property
    def size(self) -> int:
        """Bytes that the iteration will yield."""
        return self._reader.size

    def __enter__(self) -> Self:
        self._reader.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.__exit__(kind, error, trace)


class Storage(Protocol):
    """A place that keeps named byte streams."""

    @property
    def url(self) -> str:
        """Where it is, for messages: no credentials in it."""
        ...

    def put(self, name: str, chunks: Iterable[Chunk], *, create_only: bool = False) -> int:
        """Store an object of unknown length; return the bytes stored.

        The object becomes visible when it is complete and durable, and never otherwise: an exception from chunks, or a
        kill, leaves nothing visible. An existing object is replaced in one step; with create_only it is left alone and
        ObjectExists is raised (decided by the storage, not by a look beforehand). chunks is consumed once, in bounded
        memory; empty chunks are allowed.
        """
        ...

    def open(self, name: str, *, offset: int = 0, size: int | None = None) -> ObjectReader:
        """Open an object for reading, from offset, at most size bytes. Raises ObjectMissing (here, not later)."""
        ...

    def stat(self, name: str) -> StoredObject:
        """Look up one object. Raises ObjectMissing when the storage says that it does not exist."""
        ...

    def stat_many(self, names: Sequence[str]) -> list[StoredObject]:
        """Those of the named objects that exist, in the order of names; proves the absence of the others.

        One listing of the common prefix where the storage can list, a look-up of each elsewhere. A missing bucket or
        root directory is an error: it proves nothing.
        """
        ...

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        """Every object below a folder, however deep, in name order (by code point); a missing folder is empty."""
        ...

    def list_names(self, folder: str = "") -> Iterator[str]:
        """Names of every object below a folder, in no particular order: cheaper than list where objects are files."""
        ...

    def list_folder(self, folder: str = "") -> Folder:
        """Direct children of a folder; a missing folder is empty."""
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects, in batches where the storage can; missing ones are ignored, any failure is raised."""
        ...

    def discard_unfinished(self, folder: str) -> int:
        """Remove what interrupted puts below a folder left behind (multipart uploads, temporary files).

        Returns how many were removed. Only for folders that nobody else writes to, such as a failed backup's own.
        """
        ...

    def close(self) -> None:
        """Release connections; the storage is of no use afterwards."""
        ...


@runtime_checkable
class CopiesItself(Protocol):
    """A Storage that can copy objects of some other storages without their bytes passing through here."""

    def take(self, source: Storage, item: StoredObject) -> bool:
        """Copy an object, create-only; False when that cannot be done here, and nothing was.

        Raises ObjectExists and StorageError as put.
        """
        ...


@runtime_checkable
class TellsContent(Protocol):
    """A Storage that knows a digest of what it stores."""

    def describe(self, name: str) -> tuple[StoredObject, str]:
        """Look up one object, with a digest of its content. Raises as stat.

        The digest: lower-case hex digits of the MD5; for an object stored in parts any other text that differs where
        the content does; empty where the storage does not know.
        """
        ...


@runtime_checkable
class ChoosesStorage(Protocol):
    """A Storage over several ones, of which it chooses the one that an object goes to."""

    def name_to_write(self) -> str:
        """WAL-G's name of the storage that takes the next object. Raises StorageUnavailable when there is none."""
        ...


def join(*parts: str) -> str:
    """Join name parts with single slashes; empty parts are dropped, inner ones are left alone."""
    return "/".join(part.strip("/") for part in parts if part.strip("/"))


def walk(children: Callable[[str], Folder], folder: str) -> Iterator[StoredObject]:
    """Every object below a folder in name order, for storages with directories. Memory: one directory at each depth."""
    found = children(folder)
    # A directory sorts as its name with the slash that follows in the names of what it holds.
    order: Sequence[tuple[str, StoredObject | None]] = sorted(
        [*((item.name, item) for item in found.objects), *((f"{name}/", None) for name in found.folders)],
        key=itemgetter(0),
    )
    for name, item in order:
        if item:
            yield item
        else:
            yield from walk(children, name[:-1])


def check_name(name: str) -> None:
    """Raise StorageError for a name that could leave the prefix or that no storage can hold."""
    parts = name.split("/")
    if not name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise StorageError(f"not an object name: {name!r}")
