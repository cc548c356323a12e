"""Partitions: order, thresholds, enough of them."""

from dataclasses import dataclass

import pytest

from walpy.backup.plan import SMALLEST_COST, longest_first, partitions

GIB = 1 << 30
THRESHOLD = GIB - 1  # WAL-G's default


@dataclass(frozen=True)
class Thing:
    name: str
    size: int = 0


def names(things: list[Thing], *, threshold: int = THRESHOLD, workers: int = 1) -> list[list[str]]:
    return [
        [entry.name for entry in part.entries] for part in partitions([things], threshold=threshold, workers=workers)
    ]


def test_a_small_cluster_is_one_part_in_the_order_of_the_walk() -> None:
    things = [Thing("/"), Thing("/PG_VERSION", 3), Thing("/base"), Thing("/base/5"), Thing("/base/5/1259", 8192)]
    parts = partitions([things], threshold=THRESHOLD, workers=4)
    assert [part.tar_name for part in parts] == ["part_001.tar"]
    assert list(parts[0].entries) == things
    assert parts[0].size == 8195


def test_nothing_gives_no_part() -> None:
    assert partitions([[]], threshold=THRESHOLD, workers=2) == []


def test_a_part_is_closed_before_it_exceeds_the_threshold() -> None:
    things = [Thing("/"), Thing("a", 60), Thing("b", 40), Thing("c", 1), Thing("d", 99), Thing("e", 1)]
    assert names(things, threshold=100) == [["/", "a", "b"], ["c", "d"], ["e"]]


def test_a_file_above_the_threshold_has_a_part_of_its_own() -> None:
    things = [Thing("/"), Thing("a", 10), Thing("big", 101), Thing("dir"), Thing("b", 10), Thing("c", 10)]
    assert names(things, threshold=100) == [["/", "a"], ["big", "dir"], ["b", "c"]]


def test_relation_segments_of_a_gib_exceed_the_default_threshold() -> None:
    things = [Thing("16384", GIB), Thing("16384.1", GIB), Thing("16384.2", 8192), Thing("16384_vm", 8192)]
    assert names(things) == [["16384"], ["16384.1"], ["16384.2", "16384_vm"]]


def test_threshold_zero_gives_every_non_empty_file_a_part() -> None:
    things = [Thing("/"), Thing("a", 1), Thing("empty"), Thing("b", 1)]
    assert names(things, threshold=0) == [["/", "a", "empty"], ["b"]]


def test_enough_parts_to_keep_workers_busy() -> None:
    things = [Thing(str(number), 100 << 20) for number in range(40)]
    parts = partitions([things], threshold=100 * GIB, workers=4)
    assert 16 <= len(parts) <= 20
    assert len(partitions([things], threshold=100 * GIB, workers=1)) < 6


def test_parallelism_makes_no_tiny_parts() -> None:
    things = [Thing(str(number), 1 << 20) for number in range(100)]
    parts = partitions([things], threshold=THRESHOLD, workers=64)
    assert len(parts) == 2
    assert parts[0].cost <= SMALLEST_COST


def test_many_small_files_are_divided_by_their_number() -> None:
    things = [Thing(str(number), 10) for number in range(100_000)]
    parts = partitions([things], threshold=THRESHOLD, workers=4)
    assert len(parts) >= 16
    assert max(len(part.entries) for part in parts) <= 2 * 100_000 // 16


@pytest.mark.parametrize(("number", "name"), [(1, "part_001.tar"), (1000, "part_1000.tar")])
def test_tar_names(number: int, name: str) -> None:
    things = [Thing(str(index), 2) for index in range(number)]
    assert partitions([things], threshold=1, workers=1)[-1].tar_name == name


def test_longest_first_is_a_stable_order() -> None:
    things = [Thing("a", 1), Thing("b", 3), Thing("c", 2), Thing("d", 3)]
    parts = partitions([things], threshold=0, workers=1)
    assert [part.number for part in longest_first(parts)] == [2, 4, 3, 1]


def test_a_partition_has_not_too_many_members() -> None:
    parts = partitions([[Thing(str(number), 0) for number in range(200_000)]], threshold=1 << 30, workers=1)
    assert max(len(part.entries) for part in parts) == 30_000
