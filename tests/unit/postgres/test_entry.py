"""Entries in little memory are what was put in."""

import os

from hypothesis import given
from hypothesis import strategies as st

from walpy.postgres.entry import Entry, EntryTable

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
ELSEWHERE = st.builds(Entry, NAMES, NAMES, UNSIGNED, UNSIGNED, UNSIGNED, UNSIGNED, UNSIGNED)


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
