"""NeededWal says the same as a look at every backup; many backups cost no more than few."""

from hypothesis import given
from hypothesis import strategies as st

from walpy.backup.needed_wal import NeededWal
from walpy.backup.retention import Archived, Candidate, older_than

SMALL = st.integers(1, 12)
SPANS = st.lists(st.tuples(st.integers(1, 3), SMALL, st.integers(0, 4)))
STARTS = st.lists(st.tuples(st.integers(1, 3), SMALL))


@given(SPANS, STARTS)
def test_it_holds_what_any_backup_needs(spans: list[tuple[int, int, int]], starts: list[tuple[int, int]]) -> None:
    needed = NeededWal(((timeline, first, first + more) for timeline, first, more in spans), starts)
    for timeline in range(1, 5):
        for segment in range(18):
            is_spanned = any(own == timeline and first <= segment <= first + more for own, first, more in spans)
            follows = any(timeline >= start[0] and segment >= start[1] for start in starts)
            assert needed.holds(timeline, segment) == (is_spanned or follows)


def test_thousands_of_backups_are_planned_at_once() -> None:
    """Full backups and chains of ten; a comparison of each with each would take minutes."""
    count = 20_000
    names = [f"base_{number:024X}" for number in range(count)]
    backups = [
        Candidate(
            name, 1, number, number, base=names[number - 1] if number % 10 else None, wal=(number, number), start_ns=1
        )
        for number, name in enumerate(names)
    ]
    archived = Archived(backups)
    plan = older_than(archived, archived.by_name[names[count // 2]])
    assert [len(group) for group in plan.groups] == [count // 20] * 10
    places = {item.name: place for place, item in enumerate(plan.removed)}
    assert all(item.base is None or places[item.name] < places[item.base] for item in plan.removed)
    assert [plan.removes_wal(1, segment) for segment in (0, count // 2 - 1, count // 2, count)] == [
        True,
        True,
        False,
        False,
    ]
