"""The entries of a backup's files in little memory: there may be millions of them.

Names lie in one row of bytes, numbers in arrays; a table of hashes leads to them. Memory: about 42 bytes a file, and
what it is made of (25 are the name's), instead of 500 in a dict. Files with rarer properties are kept as they are.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Final, TypeVar, overload

from walpy.backup.entry import FileEntry
from walpy.backup.timestamp import Timestamp

Kind = TypeVar("Kind")

_INCREMENTED: Final = 1
_SKIPPED: Final = 2
_LISTED: Final = 4  # has an entry; else only a tar's list names it
_ODD: Final = 8  # its entry is in _odd
_FIRST_SLOTS: Final = 1 << 10
_HASH_MASK: Final = (1 << 32) - 1
_HIGHEST_END: Final = (1 << 32) - 1  # of an array of 32 bits
_LOWEST, _HIGHEST = -(1 << 63), (1 << 63) - 1  # of an array's numbers


class FileTable(Mapping[str, FileEntry]):
    """Entries by name, in the order in which their names came first. An entry's offset from UTC is not kept."""

    def __init__(self) -> None:
        self._names = bytearray()
        self._ends = array("I")
        self._mtimes = array("q")
        self._flags = bytearray()
        self._hashes = array("I")  # of each name 32 bits
        self._slots = array("I", bytes(4 * _FIRST_SLOTS))  # number of a name, from 1; 0 is free
        self._odd: dict[int, FileEntry] = {}
        self._listed = 0

    @classmethod
    def of(cls, files: Mapping[str, FileEntry]) -> "FileTable":
        """A table of entries, which may be one already."""
        if isinstance(files, FileTable):
            return files
        table = cls()
        for name, entry in files.items():
            table.add(name, entry)
        return table

    def add(self, name: str, entry: FileEntry) -> None:
        """Add an entry; a later one of the same name counts."""
        number = self.number(name)
        self._listed += not self._flags[number] & _LISTED
        flags = _LISTED | (entry.is_incremented and _INCREMENTED) | (entry.is_skipped and _SKIPPED)
        mtime = entry.mtime.ns
        if entry.corrupt_blocks is not None or entry.updates_count or not _LOWEST <= mtime <= _HIGHEST:
            flags |= _ODD
            self._odd[number] = entry
            mtime = 0
        self._flags[number] = flags
        self._mtimes[number] = mtime

    def number(self, name: str) -> int:
        """The number of a name, which is new or known; it need not have an entry."""
        data = name.encode(errors="surrogatepass")
        slot, found = self._find(data)
        if found is not None:
            return found
        number = len(self._ends)
        self._names += data
        if len(self._names) > _HIGHEST_END and self._ends.typecode == "I":
            self._ends = array("Q", self._ends)
        self._ends.append(len(self._names))
        self._mtimes.append(0)
        self._flags.append(0)
        self._hashes.append(hash(data) & _HASH_MASK)
        self._slots[slot] = number + 1
        if 3 * number > 2 * len(self._slots):
            self._grow()
        return number

    def find(self, name: str) -> int | None:
        """The number of a name; None when it has none."""
        return self._find(name.encode(errors="surrogatepass"))[1]

    def numbered(self) -> Iterator[tuple[int, str, FileEntry]]:
        """Numbers, names and entries of all that have one."""
        for number, flags in enumerate(self._flags):
            if flags & _LISTED:
                yield number, self.name(number), self._entry(number)

    @property
    def highest(self) -> int:
        """How many numbers there are."""
        return len(self._ends)

    def name(self, number: int) -> str:
        """The name of a number."""
        return self._data(number).decode(errors="surrogatepass")

    def __getitem__(self, name: str) -> FileEntry:
        _, number = self._find(name.encode(errors="surrogatepass"))
        if number is None or not self._flags[number] & _LISTED:
            raise KeyError(name)
        return self._entry(number)

    def __iter__(self) -> Iterator[str]:
        return (self.name(number) for number, flags in enumerate(self._flags) if flags & _LISTED)

    def __len__(self) -> int:
        return self._listed

    def _entry(self, number: int) -> FileEntry:
        flags = self._flags[number]
        if flags & _ODD:
            return self._odd[number]
        return FileEntry(Timestamp(self._mtimes[number]), bool(flags & _INCREMENTED), bool(flags & _SKIPPED))

    def _data(self, number: int) -> bytes:
        return bytes(self._names[self._ends[number - 1] if number else 0 : self._ends[number]])

    def _find(self, data: bytes) -> tuple[int, int | None]:
        """The slot of a name, or the free one where it belongs."""
        hashed, mask = hash(data) & _HASH_MASK, len(self._slots) - 1
        slot = hashed & mask
        while number := self._slots[slot]:
            if self._hashes[number - 1] == hashed and self._data(number - 1) == data:
                return slot, number - 1
            slot = (slot + 1) & mask
        return slot, None

    def _grow(self) -> None:
        size = 2 * len(self._slots)
        slots, mask = array("I", bytes(4 * size)), size - 1
        for number, hashed in enumerate(self._hashes, 1):
            slot = hashed & mask
            while slots[slot]:
                slot = (slot + 1) & mask
            slots[slot] = number
        self._slots = slots


class NameList(Sequence[str]):
    """Some names of a table, in order: four bytes each."""

    def __init__(self, table: FileTable, numbers: "array[int]") -> None:
        self._table = table
        self._numbers = numbers

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "NameList": ...
    def __getitem__(self, index: int | slice) -> "str | NameList":
        if isinstance(index, slice):
            return NameList(self._table, self._numbers[index])
        return self._table.name(self._numbers[index])

    def __len__(self) -> int:
        return len(self._numbers)


class NameSet(Set[str]):
    """Some names of a table, as relative_name() gives them: a byte for each that the table has."""

    def __init__(self, table: FileTable) -> None:
        self._table = table
        self._marks = bytearray(table.highest)
        self._odd: dict[str, int] = {}  # names that are not written as usual
        self._count = 0

    @classmethod
    def _from_iterable(cls, it: Iterable[str]) -> frozenset[str]:  # type: ignore[override]
        return frozenset(it)

    def add(self, number: int, name: str) -> None:
        """Add a name of the table by its number."""
        if self._numbered(name) != number:
            if name in self:
                return
            self._odd[name] = number
        self._count += not self._marks[number]
        self._marks[number] = 1

    @property
    def highest(self) -> int:
        """How many numbers its table has."""
        return len(self._marks)

    def number(self, name: str) -> int | None:
        """The number of a name that is in it; None for others."""
        number = self._odd.get(name) if self._odd else None
        if number is None:
            number = self._numbered(name)
        return number if number is not None and self._marks[number] else None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.number(name) is not None

    def __iter__(self) -> Iterator[str]:
        odd = {number: name for name, number in self._odd.items()}
        for number, mark in enumerate(self._marks):
            if mark:
                yield odd[number] if number in odd else self._table.name(number).removeprefix("/")

    def __len__(self) -> int:
        return self._count

    def _numbered(self, name: str) -> int | None:
        """Names of local backups begin with a slash, those of remote ones do not."""
        number = self._table.find(f"/{name}")
        return self._table.find(name) if number is None else number


class Jobs(Sequence[Kind]):
    """Things that are made when they are asked for, each time anew: they are large, and go to a worker one by one."""

    def __init__(self, makers: Sequence[Callable[[], Kind]] = ()) -> None:
        self._makers = makers

    @overload
    def __getitem__(self, index: int) -> Kind: ...
    @overload
    def __getitem__(self, index: slice) -> "Jobs[Kind]": ...
    def __getitem__(self, index: int | slice) -> "Kind | Jobs[Kind]":
        if isinstance(index, slice):
            return Jobs(self._makers[index])
        return self._makers[index]()

    def __len__(self) -> int:
        return len(self._makers)
