"""Entries in little memory are what was put in."""

import os
import pickle
from array import array

from hypothesis import given
from hypothesis import strategies as st

from walpy.postgres.entry import Entry, EntryTable, any_with_base, sizes_of, table_of, times_of

NAMES = st.binary(max_size=9).map(lambda name: f"/{os.fsdecode(name)}")
UNSIGNED = st.integers(0, (1 << 32) - 1)
ENTRIES = st.builds(
    lambda name, start, *rest: Entry(name, start + name, *rest),
    NAMES,
    st.sampled_from(["/data", "/ts", "", "/data/base"]),
    UNSIGNED,
    st.integers(0, 1 << 50),
    st.integers(-(1 << 60), 1 << 62),
    UNSIGNED,
    UNSIGNED,
    st.booleans(),
)
ELSEWHERE = st.tuples(NAMES, NAMES, *[UNSIGNED] * 5).map(lambda values: Entry(*values))


@given(st.lists(ENTRIES | ELSEWHERE), st.integers(-3, 9), st.integers(-3, 9))
def test_a_table_is_a_sequence(entries: list[Entry], start: int, end: int) -> None:
    table = EntryTable()
    for entry in entries:
        table.append(entry)
    assert list(table) == entries
    assert [table[number] for number in range(len(table))] == entries
    assert list(table[start:end]) == entries[start:end]
    assert list(table[start:end][1:]) == entries[start:end][1:]
    assert len(table[start:end]) == len(entries[start:end])


@given(st.lists(ENTRIES | ELSEWHERE), st.integers(-3, 9), st.integers(-3, 9), st.sampled_from([None, 1, 2]))
def test_a_part_of_a_table_is_a_table(entries: list[Entry], start: int, end: int, step: int | None) -> None:
    entries = [entry._replace(updates=number % 3) for number, entry in enumerate(entries)]
    some, expected = table_of(entries)[start:end:step], entries[start:end:step]
    part = table_of(some)
    assert list(part) == expected
    assert [part[number] for number in range(len(part))] == expected
    assert list(pickle.loads(pickle.dumps(part))) == expected
    for form in (part, some, expected):
        assert list(sizes_of(form)) == [entry.size for entry in expected]
        assert list(times_of(form)) == [(entry.name, entry.mtime_ns, entry.updates) for entry in expected]


@given(st.lists(ENTRIES | ELSEWHERE, min_size=1), st.data())
def test_a_choice_of_a_table_is_a_sequence(entries: list[Entry], data: st.DataObject) -> None:
    entries = [entry._replace(updates=number % 3) for number, entry in enumerate(entries)]
    numbers = data.draw(st.lists(st.integers(0, len(entries) - 1)))
    choice, expected = table_of(entries).choice(array("I", numbers)), [entries[number] for number in numbers]
    for form in (choice, table_of(choice)):
        assert list(form) == [form[number] for number in range(len(form))] == expected
        assert list(form[1:]) == expected[1:]
        assert list(sizes_of(form)) == [entry.size for entry in expected]
        assert list(times_of(form)) == [(entry.name, entry.mtime_ns, entry.updates) for entry in expected]
        assert any_with_base(form) == any(entry.has_base for entry in expected)


def test_a_base_is_noted_in_the_table() -> None:
    entries = [Entry(f"/{number}", f"/data/{number}", number, 1, 2, 3, 4) for number in range(3)]
    table = table_of(entries)
    table.note_base(1)
    assert list(table) == [entries[0], entries[1]._replace(has_base=True), entries[2]]
    assert [any_with_base(table.choice(array("I", [number]))) for number in range(3)] == [False, True, False]


def test_a_part_of_a_table_can_grow_and_leaves_the_table_alone() -> None:
    entries = [Entry(f"/{number}", f"/data/{number}", number, 1, 2, 3, 4) for number in range(5)]
    table, more = table_of(entries), Entry("/x", "/elsewhere/x", 1, 2, 3, 4, 5)
    part = table_of(table[1:3])
    part.append(more)
    assert list(part) == [*entries[1:3], more]
    assert list(table) == entries
