"""Objects of a data directory that a backup holds, and many of them in little memory."""

import os
import stat
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, overload


class HasSize(Protocol):
    """An object of the walk; size: bytes of data in its tar, 0 for all but regular files."""

    @property
    def size(self) -> int:
        """Bytes of data."""
        ...


class Entry(NamedTuple):
    """One object of a data directory.

    name: in the backup, below the data directory: `/base/5/1259`, `/pg_tblspc/16384/PG_15_202209061/5/16385`, `/`.
    path: where it is, without symbolic links in the place of its last part. mode: file type and permissions, as lstat
    gives them. size: bytes of a regular file, else 0. Size and mtime_ns are those of the walk; the file may change.
    has_base: an earlier backup holds the file, so that its changed pages may stand for it. changed: the numbers of
    those, ascending, where the WAL told them; None: the file's own pages tell. updates: how often rows of its table
    were changed, where somebody asked.
    """

    name: str
    path: str
    mode: int
    size: int
    mtime_ns: int
    uid: int
    gid: int
    has_base: bool = False
    updates: int = 0
    changed: Sequence[int] | None = None

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file; else it is a directory."""
        return stat.S_ISREG(self.mode)


class EntryTable(Sequence[Entry]):
    """Entries in order, made when they are asked for: 70 bytes each instead of 400, of which 25 are the name's.

    It does not keep which pages changed.
    """

    def __init__(self) -> None:
        self._names = bytearray()
        self._ends = array("Q")
        self._sizes, self._mtimes = array("Q"), array("q")
        self._modes, self._owners, self._groups = array("I"), array("I"), array("I")
        self._starts = array("I")  # of paths, where they end in the name
        self._start_numbers: dict[str, int] = {}
        self._start_texts: list[str] = []
        self._paths: dict[int, str] = {}  # other paths
        self._with_base = bytearray()
        self._updates: dict[int, int] = {}  # of few

    def append(self, entry: Entry) -> None:
        """Add an entry at the end."""
        if entry.path.endswith(entry.name):
            self._starts.append(self._start_number(entry.path[: -len(entry.name)]))
        else:
            self._paths[len(self._ends)] = entry.path
            self._starts.append(0)
        self._names += os.fsencode(entry.name)
        self._ends.append(len(self._names))
        self._mtimes.append(entry.mtime_ns)
        self._sizes.append(entry.size)
        self._modes.append(entry.mode)
        self._owners.append(entry.uid)
        self._groups.append(entry.gid)
        self._with_base.append(entry.has_base)
        if entry.updates:
            self._updates[len(self._ends) - 1] = entry.updates

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[Entry]:
        paths, updates, starts = self._paths, self._updates, self._start_texts
        columns = zip(self._modes, self._sizes, self._mtimes, self._owners, self._groups, strict=True)
        named = zip(self._all_names(), self._starts, map(bool, self._with_base), columns, strict=True)
        for number, (name, start, has_base, numbers) in enumerate(named):
            path = paths.get(number) or starts[start] + name
            yield Entry(name, path, *numbers, has_base, updates.get(number, 0))

    def times(self) -> "Iterator[tuple[str, int, int]]":
        """Names, times of modification and updates of the entries, in order, made without making them."""
        for number, (name, mtime) in enumerate(zip(self._all_names(), self._mtimes, strict=True)):
            yield name, mtime, self._updates.get(number, 0)

    @property
    def has_bases(self) -> bool:
        """Whether any entry has one."""
        return any(self._with_base)

    def _all_names(self) -> Iterator[str]:
        names, start = self._names, 0
        encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
        for end in self._ends:
            yield names[start:end].decode(encoding, errors)
            start = end

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> "Sequence[Entry]": ...
    def __getitem__(self, index: int | slice) -> "Entry | Sequence[Entry]":
        found = range(len(self))[index]
        return _EntryRange(self, found) if isinstance(found, range) else self._entry(found)

    def _name(self, number: int) -> str:
        return os.fsdecode(bytes(self._names[self._ends[number - 1] if number else 0 : self._ends[number]]))

    def _entry(self, number: int) -> Entry:
        name = self._name(number)
        return Entry(
            name,
            self._paths.get(number) or self._start_texts[self._starts[number]] + name,
            self._modes[number],
            self._sizes[number],
            self._mtimes[number],
            self._owners[number],
            self._groups[number],
            bool(self._with_base[number]),
            self._updates.get(number, 0),
        )

    def choice(self, numbers: "array[int]") -> "EntryChoice":
        """Some of the entries, which stay where they are."""
        return EntryChoice(self, numbers)

    def times_at(self, number: int) -> tuple[str, int, int]:
        """Name, time of modification and updates of one entry."""
        return self._name(number), self._mtimes[number], self._updates.get(number, 0)

    def size_at(self, number: int) -> int:
        """Size of one entry."""
        return self._sizes[number]

    def has_base_at(self, number: int) -> bool:
        """Whether one entry has a base."""
        return bool(self._with_base[number])

    def note_base(self, number: int) -> None:
        """An earlier backup holds that entry: its changed pages may stand for it."""
        self._with_base[number] = True

    def _start_number(self, start: str) -> int:
        number = self._start_numbers.get(start)
        if number is None:
            number = self._start_numbers[start] = len(self._start_texts)
            self._start_texts.append(start)
        return number

    def sizes(self, numbers: range) -> "array[int]":
        """Sizes of some entries that follow each other."""
        return self._sizes[numbers.start : numbers.stop]

    def part(self, numbers: range) -> "EntryTable":
        """A table of some entries that follow each other, made without making them."""
        some = slice(numbers.start, numbers.stop)
        start = self._ends[some.start - 1] if some.start else 0
        part = EntryTable()
        part._ends = array("Q", (end - start for end in self._ends[some]))
        part._names = self._names[start : start + part._ends[-1]] if part._ends else bytearray()
        part._sizes, part._mtimes = self._sizes[some], self._mtimes[some]
        part._modes, part._owners, part._groups = self._modes[some], self._owners[some], self._groups[some]
        part._starts = self._starts[some]
        part._start_numbers, part._start_texts = self._start_numbers.copy(), self._start_texts.copy()
        part._with_base = self._with_base[some]
        part._paths = {number - some.start: path for number, path in self._paths.items() if number in numbers}
        part._updates = {number - some.start: count for number, count in self._updates.items() if number in numbers}
        return part


def table_of(entries: Iterable[Entry]) -> EntryTable:
    """The entries in a table of their own."""
    if isinstance(entries, _EntryRange) and entries.follow_each_other:
        return entries.table.part(entries.numbers)
    table = EntryTable()
    for entry in entries:
        table.append(entry)
    return table


def times_of(entries: Iterable[Entry]) -> "Iterator[tuple[str, int, int]]":
    """Names, times of modification (nanoseconds) and updates of the entries, in their order."""
    if isinstance(entries, EntryTable | EntryChoice):
        return entries.times()
    return ((entry.name, entry.mtime_ns, entry.updates) for entry in entries)


def any_with_base(entries: Iterable[Entry]) -> bool:
    """Whether an earlier backup holds any of the entries."""
    if isinstance(entries, EntryTable | EntryChoice):
        return entries.has_bases
    return any(entry.has_base for entry in entries)


def sizes_of(entries: Sequence[HasSize]) -> Sequence[int]:
    """Sizes of the entries, in their order; of those in a table without making them."""
    if isinstance(entries, EntryTable):
        return entries.sizes(range(len(entries)))
    if isinstance(entries, _EntryRange) and entries.follow_each_other:
        return entries.table.sizes(entries.numbers)
    if isinstance(entries, EntryChoice):
        return entries.sizes()
    return array("Q", (entry.size for entry in entries))


class _EntryRange(Sequence[Entry]):
    """Some entries of a table, at equal distances."""

    def __init__(self, table: EntryTable, numbers: range) -> None:
        self.table = table
        self.numbers = numbers

    @property
    def follow_each_other(self) -> bool:
        """Whether no entry of the table lies between two of them."""
        return self.numbers.step == 1

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> "_EntryRange": ...
    def __getitem__(self, index: int | slice) -> "Entry | _EntryRange":
        found = self.numbers[index]
        return _EntryRange(self.table, found) if isinstance(found, range) else self.table[found]


class EntryChoice(Sequence[Entry]):
    """Some entries of a table, in any order: four bytes each."""

    def __init__(self, table: EntryTable, numbers: "array[int]") -> None:
        self._table = table
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> "EntryChoice": ...
    def __getitem__(self, index: int | slice) -> "Entry | EntryChoice":
        if isinstance(index, slice):
            return EntryChoice(self._table, self._numbers[index])
        return self._table[self._numbers[index]]

    def __iter__(self) -> Iterator[Entry]:
        return map(self._table.__getitem__, self._numbers)

    def times(self) -> "Iterator[tuple[str, int, int]]":
        """As of a table."""
        return map(self._table.times_at, self._numbers)

    @property
    def has_bases(self) -> bool:
        """Whether any entry has one."""
        return any(map(self._table.has_base_at, self._numbers))

    def sizes(self) -> "array[int]":
        """Sizes of the entries."""
        return array("Q", map(self._table.size_at, self._numbers))
