"""Checksums of many data pages at once, with numpy.

Source: PostgreSQL, src/include/storage/checksum_impl.h (a variant of FNV-1a in 32 lanes), bufpage.h (the header) and
bufpage.c, PageIsVerified (which pages are right).
"""

from walpy.postgres.arrays import NDArray, np
from walpy.postgres.changes import VALID_FLAGS

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
HEADER_WORDS = 6
CHECKSUM_IN_WORD = 2  # the 32-bit word that holds it, with the flags in its upper half
MAXIMUM_ALIGNMENT = 8


class PageBatch:
    """Pages that are verified together, of any relations: each of numpy's steps does the same for all of them.

    page_size: bytes. capacity: pages, at most. Memory: a copy of the pages, lane by lane, since numpy works on one long
    row in half the time of many short ones.
    """

    def __init__(self, page_size: int, capacity: int) -> None:
        self._rows: Words = np.empty((page_size // 4 // LANES, capacity * LANES), dtype=np.uint32)
        self._sums: Words = np.empty(capacity * LANES, dtype=np.uint32)
        self._headers: Words = np.empty((capacity, HEADER_WORDS), dtype=np.uint32)
        self._blocks: Words = np.empty(capacity, dtype=np.uint32)
        self._is_zero = np.empty(capacity, dtype=np.bool_)
        self._page_size = page_size
        self._count = 0

    @property
    def room(self) -> int:
        """How many pages can be added."""
        return len(self._blocks) - self._count

    def add(self, pages: memoryview, first_block: int) -> None:
        """Add whole pages, one after the other, room at most. first_block: number of the first in its relation."""
        words = np.frombuffer(pages, dtype=np.uint32).reshape(-1, self._page_size // 4)
        start, self._count = self._count, self._count + len(words)
        added = slice(start, self._count)
        np.copyto(self._rows.view(RUN)[:, added], words.view(RUN).T)
        self._headers[added] = words[:, :HEADER_WORDS]
        self._blocks[added] = np.arange(first_block, first_block + len(words), dtype=np.uint32)
        self._is_zero[added] = False
        for index in np.flatnonzero(words[:, 3] >> np.uint32(16) == 0):  # no upper bound, as new pages have none
            self._is_zero[start + index] = not words[index].any()

    def take_wrong(self, start_lsn: int) -> list[int]:
        """Indexes of pages that PostgreSQL would refuse to read, ascending; the batch is empty afterwards.

        Right are pages that are all zero, those at or after start_lsn, and those with the right checksum and a possible
        header.
        """
        headers, is_zero = self._headers[: self._count], self._is_zero[: self._count]
        halves = headers.view(np.uint16)
        right = (self.take_checksums() == halves[:, CHECKSUM]) & _possible_header(halves, self._page_size)
        if right.all():
            return []
        lsn = headers[:, 0].astype(np.uint64) << np.uint64(32) | headers[:, 1]
        return [int(index) for index in np.flatnonzero(~right & ~is_zero & (lsn < np.uint64(start_lsn)))]

    def take_checksums(self) -> Words:
        """Checksum of every page; the batch is empty afterwards."""
        lanes, blocks = self._count * LANES, self._blocks[: self._count]
        rows, sums = self._rows[:, :lanes], self._sums[:lanes]
        self._count = 0
        rows[0, CHECKSUM_IN_WORD::LANES] &= np.uint32(0xFFFF0000)  # the checksum itself counts as zero
        sums.reshape(-1, LANES)[:] = LANE_STARTS
        xor, shift, multiply = np.bitwise_xor, np.right_shift, np.multiply
        for row in rows:  # which is used up: two arrays stay in the processor's first caches, a third one would not
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


def is_wrong(page: bytes, block: int, start_lsn: int) -> bool:
    """Whether PostgreSQL would refuse to read a page; block: its number in its relation. See PageBatch.take_wrong."""
    batch = PageBatch(len(page), 1)
    batch.add(memoryview(page), block)
    return bool(batch.take_wrong(start_lsn))


def _possible_header(halves: NDArray[np.uint16], page_size: int) -> NDArray[np.bool_]:
    lower, upper, special = halves[:, LOWER], halves[:, UPPER], halves[:, SPECIAL]
    possible: NDArray[np.bool_] = (halves[:, FLAGS] & ~np.uint16(VALID_FLAGS)) == 0
    possible &= (lower <= upper) & (upper <= special) & (special <= page_size) & (special % MAXIMUM_ALIGNMENT == 0)
    possible &= upper != 0
    return possible
