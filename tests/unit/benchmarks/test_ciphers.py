"""The benchmark of ciphers does what it says, over little data; no time is asserted."""

import pytest

from benchmarks.ciphers import gpg, long_stream
from benchmarks.ciphers.command import line
from benchmarks.ciphers.kinds import Kind, kinds
from benchmarks.ciphers.speed import CHUNK, measure, summary

MOST_MEMORY = 8 << 20  # bytes: a cipher holds some chunks, however long the stream

NAMES = [kind.name for kind in kinds()]


@pytest.mark.parametrize("kind", kinds(), ids=NAMES)
def test_both_directions_are_measured_beside_their_floors(kind: Kind) -> None:
    speeds = measure(kind, 4 * CHUNK, 1)
    assert [speed.direction for speed in speeds] == ["encrypt", "decrypt"]
    for speed in speeds:
        assert speed.cpu > 0
        assert speed.floor > 0
        assert (speed.of_primitive is not None) == kind.name.startswith("OpenPGP")
        assert 0 < speed.memory < MOST_MEMORY


def test_ratios_are_of_neighbouring_turns() -> None:
    found = summary("a cipher", "encrypt", [(2.0, 1.0, 0.5), (4.0, 3.0, 1.0), (8.0, 4.0, 4.0)], 2.0, 1024)
    assert (found.cpu, found.floor, found.ratio, found.of_primitive) == (2.0, 1.5, 0.5, 0.25)
    assert line(found) == ["a cipher", "encrypt", "500", "2", "1.5", "0.50", "0.25", "1"]


@pytest.mark.parametrize("index", [0, 2, 3], ids=[NAMES[index] for index in (0, 2, 3)])
def test_a_round_trip_is_checked(index: int) -> None:
    found = long_stream.round_trip(index, 3 * CHUNK + 5)
    assert found.is_equal
    assert found.stored > 3 * CHUNK + 5


def test_gpg_takes_part_where_it_is() -> None:
    found = gpg.measure(CHUNK, 1)
    if found is None:
        pytest.skip("the gpg program is not installed")
    assert set(found) == {"encrypt", "decrypt"}
