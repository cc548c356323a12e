"""The change map: against a plain set of block numbers."""

import random
from array import array
from collections.abc import Iterator

import pytest

from walpy.backup import change_map
from walpy.backup.change_map import ChangeMap, MapTooLarge
from walpy.postgres.wal_summaries import BITMAP_WORDS, CHUNK_BLOCKS, NO_LIMIT, ForkChanges, Relation

PAGE = 8192
SEGMENT = (1 << 30) // PAGE  # blocks
TABLE = Relation(1663, 5, 16384)
NAME = "/base/5/16384"


def changes(blocks: set[int], relation: Relation = TABLE, *, limit: int = NO_LIMIT, fork: int = 0) -> ForkChanges:
    """As a summary has them: offsets in the order of their arrival, or a bitmap."""
    chunks = {}
    for number in {block // CHUNK_BLOCKS for block in blocks}:
        offsets = [block % CHUNK_BLOCKS for block in blocks if block // CHUNK_BLOCKS == number]
        if len(offsets) < BITMAP_WORDS:
            random.Random(1).shuffle(offsets)
            chunks[number] = array("H", offsets)
        else:
            words = [0] * BITMAP_WORDS
            for offset in offsets:
                words[offset // 16] |= 1 << offset % 16
            chunks[number] = array("H", words)
    return ForkChanges(relation, fork, limit, chunks)


@pytest.mark.parametrize("seed", range(20))
def test_like_a_set(seed: int) -> None:
    choose = random.Random(seed)
    known, blocks, limit = ChangeMap(PAGE), set(), NO_LIMIT
    for _ in range(choose.randint(1, 4)):
        more = {choose.randrange(3 * SEGMENT) for _ in range(choose.choice([0, 5, 3000, 9000, 40000]))}
        cut = choose.choice([NO_LIMIT, NO_LIMIT, choose.randrange(3 * SEGMENT)])
        known.add([changes(more, limit=cut), changes({1, 2, 3}, fork=1, limit=0)])
        blocks |= more
        limit = min(limit, cut)
    for segment in range(3):
        first = segment * SEGMENT
        count = choose.choice([1, 1000, SEGMENT])
        name = f"{NAME}.{segment}" if segment else NAME
        found = known.changed(name, count * PAGE)
        if limit <= first:
            assert found is None
        else:
            kept = {block - first for block in blocks if first <= block < min(limit, first + count)}
            assert found is not None
            assert list(found) == sorted(kept | set(range(limit - first, count)))


def test_a_relation_that_nothing_happened_to() -> None:
    known = ChangeMap(PAGE)
    known.add([changes({7})])
    assert list(known.changed("/base/5/16385", 5 * PAGE) or []) == []
    assert known.changed("/base/5/16385", 5 * PAGE) is not None


def test_tablespaces_and_other_names() -> None:
    known = ChangeMap(PAGE)
    known.add([changes({1}), changes({2}, Relation(17000, 5, 16384))])
    assert list(known.changed("/pg_tblspc/17000/PG_17_202406281/5/16384", 9 * PAGE) or []) == [2]
    assert list(known.changed(NAME, 9 * PAGE) or []) == [1]
    assert known.changed("/global/1260", PAGE) is None
    assert known.changed("/base/5/16384_fsm", PAGE) is None


def test_a_database_that_was_copied_as_files() -> None:
    known = ChangeMap(PAGE)
    known.add([changes(set(), Relation(1663, 6, 0), limit=0), changes({1}, Relation(1663, 6, 16384))])
    assert known.changed("/base/6/16384", 9 * PAGE) is None
    assert list(known.changed(NAME, PAGE) or []) == []


def test_a_file_that_was_made_anew_or_cut() -> None:
    known = ChangeMap(PAGE)
    known.add([changes(set(), limit=0)])
    assert known.changed(NAME, 2 * PAGE) is None
    known = ChangeMap(PAGE)
    known.add([changes({0}, limit=SEGMENT)])
    assert list(known.changed(NAME, SEGMENT * PAGE) or []) == [0]
    assert known.changed(f"{NAME}.1", PAGE) is None


def test_more_than_it_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_map, "MAP_SIZE", 100_000)

    def endless() -> Iterator[ForkChanges]:
        for number in range(16384, 1 << 32):
            yield changes(set(range(5000)), Relation(1663, 5, number))

    with pytest.raises(MapTooLarge):
        ChangeMap(PAGE).add(endless())
