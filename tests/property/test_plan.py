"""Plans lose no file, whatever its size."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from walpy.backup.plan import longest_first, partitions


@dataclass(frozen=True)
class Thing:
    number: int
    size: int


sizes = st.lists(st.one_of(st.just(0), st.integers(0, 1000), st.integers(0, 1 << 40)), max_size=200)


@given(sizes=sizes, threshold=st.integers(0, 1 << 31), workers=st.integers(1, 64))
def test_every_file_is_in_one_part_in_order(sizes: list[int], threshold: int, workers: int) -> None:
    things = [Thing(number, size) for number, size in enumerate(sizes)]
    parts = partitions([things], threshold=threshold, workers=workers)
    assert [entry for part in parts for entry in part.entries] == things
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert all(part.entries for part in parts)
    assert sorted(longest_first(parts), key=lambda part: part.number) == parts


@given(sizes=sizes, threshold=st.integers(0, 1 << 31), workers=st.integers(1, 64))
def test_a_part_above_the_threshold_holds_one_file_with_data(sizes: list[int], threshold: int, workers: int) -> None:
    things = [Thing(number, size) for number, size in enumerate(sizes)]
    for part in partitions([things], threshold=threshold, workers=workers):
        assert part.size == sum(entry.size for entry in part.entries)
        assert part.size <= threshold or sum(entry.size > 0 for entry in part.entries) == 1
