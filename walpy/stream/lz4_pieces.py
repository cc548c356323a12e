"""lz4: frames whose blocks several threads compress or decompress; the same format as lz4_frame's."""

from collections.abc import Iterator
from functools import partial

from lz4.block import LZ4BlockError, compress, decompress
from xxhash import xxh32, xxh32_intdigest

from walpy.errors import DataCorrupt
from walpy.storage.base import Chunk
from walpy.stream.pieces import PIECE_SIZE, PieceFormat
from walpy.stream.units import Source, Unit, nothing_to_check

MAGIC = bytes.fromhex("04224d18")
FLAGS, BLOCK_SIZE, HEADER_CHECKSUM = 4, 5, 6  # bytes of the header, which has 7
INDEPENDENT_BLOCKS = 0x60  # with the format's version; nothing else but a content checksum is set
CONTENT_CHECKSUM = 0x04
LARGEST_BLOCKS = {4 << 4: 64 << 10, 5 << 4: 256 << 10, 6 << 4: 1 << 20, 7 << 4: 4 << 20}
HEADER = bytes.fromhex("04224d186470b9")  # see lz4_frame
HEADER_SIZE = len(HEADER)
STORED = 1 << 31  # flag in a block's length: its bytes are not compressed
END_MARK = bytes(4)


def pieces(level: int) -> PieceFormat:
    """Every piece a block; level as the library's, which has to be 0: fast."""
    if level:
        raise ValueError("blocks are made with the fast compressor alone")
    return PieceFormat(PIECE_SIZE, HEADER, _block, ContentChecksum)


def _block(piece: Chunk) -> bytes:
    block: bytes = compress(piece, store_size=False)
    if len(block) < len(piece):
        return len(block).to_bytes(4, "little") + block
    return (len(piece) | STORED).to_bytes(4, "little") + piece


class ContentChecksum:
    """End mark and checksum (xxh32) of a frame whose blocks were made elsewhere.

    A hashing library takes half of the time of the one in the lz4 library, and releases the interpreter lock too.
    """

    def __init__(self) -> None:
        self._hash = xxh32()

    def update(self, piece: Chunk) -> None:
        """Hash a piece."""
        self._hash.update(piece)

    def finish(self) -> bytes:
        """End mark and checksum."""
        return END_MARK + self._hash.intdigest().to_bytes(4, "little")


def units(source: Source) -> Iterator[Unit]:
    """Blocks of the frames in a row; stops before one that is not made of independent blocks as WAL-G's.

    Raises DataCorrupt where the structure is damaged or ends early.
    """
    while True:
        header = source.peek(HEADER_SIZE)
        if len(header) < HEADER_SIZE or header[: len(MAGIC)] != MAGIC:
            return
        largest = LARGEST_BLOCKS.get(header[BLOCK_SIZE])
        if header[FLAGS] & ~CONTENT_CHECKSUM != INDEPENDENT_BLOCKS or largest is None:
            return
        if xxh32_intdigest(header[FLAGS:HEADER_CHECKSUM]) >> 8 & 0xFF != header[HEADER_CHECKSUM]:
            raise DataCorrupt("damaged lz4 data")
        source.take(HEADER_SIZE)
        yield from _blocks(source, largest, has_checksum=bool(header[FLAGS] & CONTENT_CHECKSUM))


def _blocks(source: Source, largest: int, *, has_checksum: bool) -> Iterator[Unit]:
    content = xxh32()
    check = content.update if has_checksum else nothing_to_check
    while length := int.from_bytes(_exactly(source, 4), "little"):
        size = length & ~STORED
        if size > largest:
            raise DataCorrupt("damaged lz4 data")
        decode = bytes if length & STORED else partial(_decompressed, largest=largest)
        yield Unit(_exactly(source, size), decode, check)
    if has_checksum:
        stored = int.from_bytes(_exactly(source, 4), "little")
        yield Unit(b"", bytes, lambda _: _compare(stored, content.intdigest()))


def _decompressed(block: bytes, *, largest: int) -> bytes:
    try:
        plain: bytes = decompress(block, uncompressed_size=largest)
    except LZ4BlockError as error:
        raise DataCorrupt("damaged lz4 data") from error
    return plain


def _exactly(source: Source, count: int) -> bytes:
    data = source.take(count)
    if len(data) < count:
        raise DataCorrupt("the lz4 data are truncated")
    return data


def _compare(stored: int, actual: int) -> None:
    if stored != actual:
        raise DataCorrupt("damaged lz4 data")
