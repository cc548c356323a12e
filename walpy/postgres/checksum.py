"""Checksums of many data pages at once, with numpy.

Source: PostgreSQL, src/include/storage/checksum_impl.h (a variant of FNV-1a in 32 lanes), bufpage.h (the header) and
bufpage.c, PageIsVerified (which pages are right).
"""

import threading

from walpy.postgres.arrays import NDArray, np

Words = NDArray[np.uint32]

LANES = 32
EXTRA_ROUNDS = 2  # with zeros, at the end
RUN = np.dtype(f"V{LANES * 4}")  # a word of each lane, to be moved as a whole: four times as fast as word by word
PRIME = np.array(16777619, dtype=np.uint32)  # arrays without dimension: scalars are converted at each step
SHIFT = np.array(17, dtype=np.uint32)
LANE_STARTS = np.array(
    [
        *(0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C),
        *(0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB),
        *(0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4),
        *(0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756),
    ],
    dtype=np.uint32,
)

# The page header as 16-bit words: LSN in 0-3, then these.
CHECKSUM, FLAGS, LOWER, UPPER, SPECIAL = 4, 5, 6, 7, 8
CHECKSUM_IN_WORD = 2  # the 32-bit word that holds it, with the flags in its upper half
VALID_FLAGS = 0x0007
MAXIMUM_ALIGNMENT = 8


def wrong_pages(pages: memoryview, first_block: int, *, page_size: int, start_lsn: int) -> list[int]:
    """Indexes of pages that PostgreSQL would refuse to read, ascending.

    pages: whole pages, one after the other. first_block: number of the first within its relation. Right are pages that
    are all zero, those at or after start_lsn, and those with the right checksum and a possible header.
    """
    words = np.frombuffer(pages, dtype=np.uint32).reshape(-1, page_size // 4)
    halves = np.frombuffer(pages, dtype=np.uint16).reshape(-1, page_size // 2)
    blocks = np.arange(first_block, first_block + len(words), dtype=np.uint32)
    right = (checksums(words, blocks) == halves[:, CHECKSUM]) & _possible_header(halves, page_size)
    if right.all():
        return []
    lsn = words[:, 0].astype(np.uint64) << np.uint64(32) | words[:, 1]
    suspects = np.flatnonzero(~right & (lsn < np.uint64(start_lsn)))
    return [int(index) for index in suspects if words[index].any()]


class _Scratch(threading.local):
    """Memory of one thread, used again for each call: fresh memory takes as long as the arithmetic."""

    def __init__(self) -> None:
        self._words: Words = np.empty(0, dtype=np.uint32)

    def take(self, *sizes: int) -> list[Words]:
        """Arrays of so many words; their content is rubbish."""
        if len(self._words) < sum(sizes):
            self._words = np.empty(sum(sizes), dtype=np.uint32)
        ends = np.cumsum(sizes)
        return [self._words[end - size : end] for size, end in zip(sizes, ends, strict=True)]


_scratch = _Scratch()


def checksums(words: Words, blocks: Words) -> Words:
    """Checksum of every page. words: (pages, page size / 4); blocks: (pages,), numbers within the relation.

    Memory: a copy of the pages, lane by lane: numpy works on one long row in half the time of many short ones.
    """
    lanes = len(words) * LANES
    copy, sums = _scratch.take(words.size, lanes)
    rows = copy.reshape(-1, lanes)
    np.copyto(rows.view(RUN), words.view(RUN).T)
    rows[0, CHECKSUM_IN_WORD::LANES] &= np.uint32(0xFFFF0000)  # the checksum itself counts as zero
    sums.reshape(-1, LANES)[:] = LANE_STARTS
    xor, shift, multiply = np.bitwise_xor, np.right_shift, np.multiply
    for row in rows:  # which is used up: two arrays stay in the processor's first cache, a third one would not
        xor(row, sums, row)
        shift(row, SHIFT, sums)
        multiply(row, PRIME, row)
        xor(sums, row, sums)
    shifted = rows[0]
    for _ in range(EXTRA_ROUNDS):
        shift(sums, SHIFT, shifted)
        multiply(sums, PRIME, sums)
        xor(sums, shifted, sums)
    folded: Words = np.bitwise_xor.reduce(sums.reshape(-1, LANES), axis=1) ^ blocks
    return folded % np.uint32(65535) + np.uint32(1)


def _possible_header(halves: NDArray[np.uint16], page_size: int) -> NDArray[np.bool_]:
    lower, upper, special = halves[:, LOWER], halves[:, UPPER], halves[:, SPECIAL]
    possible: NDArray[np.bool_] = (halves[:, FLAGS] & ~np.uint16(VALID_FLAGS)) == 0
    possible &= (lower <= upper) & (upper <= special) & (special <= page_size) & (special % MAXIMUM_ALIGNMENT == 0)
    possible &= upper != 0
    return possible
