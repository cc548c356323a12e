"""Finds frames and blocks in a zstd stream, without decompressing anything."""

from collections.abc import Callable, Iterator

from walpy.errors import DataCorrupt

MAGIC = 0xFD2FB528
SKIPPABLE_MAGIC = 0x184D2A50  # the low four bits are free
GROUP_BLOCKS = 8  # a block inflates to at most 128 KiB, so a group to at most 1 MiB
CONTENT_SIZE_BYTES = (0, 2, 4, 8)  # by the flag in the frame's descriptor
DICTIONARY_BYTES = (0, 1, 2, 4)
RLE_BLOCK = 1  # block type: one byte, repeated
CHECKSUM_SIZE = 4


class BlockScanner:
    """Follows the structure of a stream that comes in chunks, split anywhere.

    Source: RFC 8878, sections 3.1.1 and 3.1.2. Only the lengths are read; the library judges the rest.
    """

    def __init__(self) -> None:
        self._field = bytearray()  # the header being collected
        self._body = 0  # bytes to pass over before the next header
        self._frame_seen = False
        self._checksum = False
        self._expect(4, self._on_magic)

    def split(self, data: memoryview) -> Iterator[memoryview]:
        """Cut data into runs of at most GROUP_BLOCKS ends of blocks. Raises DataCorrupt where no frame starts."""
        start = position = ends = 0
        while position < len(data):
            if self._body:
                step = min(self._body, len(data) - position)
                self._body -= step
                ends += not self._body
            else:
                step = min(self._field_size - len(self._field), len(data) - position)
                self._field += data[position : position + step]
                if len(self._field) == self._field_size:
                    self._on_field(int.from_bytes(self._field, "little"))
            position += step
            if ends == GROUP_BLOCKS:
                yield data[start:position]
                start, ends = position, 0
        yield data[start:]

    def check_end(self) -> None:
        """Raise DataCorrupt unless the stream ends behind a frame, and has one."""
        if not self._frame_seen and not self._field:
            raise DataCorrupt("no zstd data")
        if self._body or self._field or self._on_field != self._on_magic:
            raise DataCorrupt("the zstd data are truncated")

    def _expect(self, size: int, then: Callable[[int], None]) -> None:
        self._field.clear()
        self._field_size = size
        self._on_field = then

    def _on_magic(self, magic: int) -> None:
        if magic == MAGIC:
            self._frame_seen = True
            self._expect(1, self._on_descriptor)
        elif magic & ~15 == SKIPPABLE_MAGIC:
            self._expect(4, self._on_skippable_size)
        elif self._frame_seen:
            raise DataCorrupt("other data follow the zstd data")
        else:
            raise DataCorrupt(f"not zstd data: they start with {magic.to_bytes(4, 'little').hex()}")

    def _on_skippable_size(self, size: int) -> None:
        self._body = size
        self._expect(4, self._on_magic)

    def _on_descriptor(self, descriptor: int) -> None:
        single_segment = bool(descriptor & 0x20)
        content_size = CONTENT_SIZE_BYTES[descriptor >> 6] or int(single_segment)
        self._checksum = bool(descriptor & 4)
        self._body = int(not single_segment) + DICTIONARY_BYTES[descriptor & 3] + content_size
        self._expect(3, self._on_block)

    def _on_block(self, header: int) -> None:
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        self._body = 1 if kind == RLE_BLOCK else size
        if not last:
            self._expect(3, self._on_block)
            return
        if self._checksum:
            self._body += CHECKSUM_SIZE
        self._expect(4, self._on_magic)
