"""Buffers that are used again."""

from walpy.storage.buffers import Buffers

SIZE = 8192


def test_a_buffer_is_used_again() -> None:
    buffers = Buffers(2 * SIZE)
    first = buffers.take(SIZE)
    assert len(first) == SIZE
    assert buffers.take(SIZE) is not first
    buffers.give_back(first)
    assert buffers.take(2 * SIZE) is not first
    assert buffers.take(SIZE) is first


def test_no_more_than_the_limit_is_kept() -> None:
    buffers = Buffers(2 * SIZE)
    taken = [buffers.take(SIZE) for _ in range(3)]
    for buffer in taken:
        buffers.give_back(buffer)
    again = [buffers.take(SIZE) for _ in range(3)]
    assert sum(any(buffer is other for other in taken) for buffer in again) == 2
    buffers.give_back(again[0])
    buffers.close()
    assert buffers.take(SIZE) is not again[0]
    large = buffers.take(3 * SIZE)
    buffers.give_back(large)
    assert buffers.take(3 * SIZE) is not large
