"""zstd: frames with checksums (RFC 8878)."""

import threading
from collections.abc import Iterator

from zstandard import ZstdCompressor, ZstdDecompressor, ZstdError, frame_header_size, get_frame_parameters

from walpy.errors import DataCorrupt
from walpy.storage.base import Chunk
from walpy.stream.library import Decoder, LibraryEncoder
from walpy.stream.pieces import PIECE_SIZE, EmptyTail, PieceFormat
from walpy.stream.transform import Transform
from walpy.stream.units import Source, Unit, nothing_to_check
from walpy.stream.zstd_blocks import CHECKSUM_SIZE, MAGIC, RLE_BLOCK, BlockScanner

MAX_WINDOW = 1 << 29  # bytes; WAL-G reads no larger window either
LARGEST_UNIT = 4 << 20  # bytes; frames that decode to more are decoded as a stream
LONGEST_HEADER = 18  # bytes, with the magic number


def encoder(level: int) -> Transform:
    """Writes one frame with a checksum; level as the library's."""
    compressor = ZstdCompressor(level=level, write_checksum=True, write_content_size=False).compressobj()
    return LibraryEncoder(compressor.compress, compressor.flush)


def decoder() -> Decoder:
    """Reads frames in a row, skippable ones too, with windows up to MAX_WINDOW."""
    return ZstdDecoder()


def pieces(level: int) -> PieceFormat:
    """Every piece a frame of its own, with its size and a checksum; level as the library's."""
    local = threading.local()  # a compressor serves one thread at a time, and making one costs as much as a piece

    def encode(piece: Chunk) -> bytes:
        compressor: ZstdCompressor | None = getattr(local, "compressor", None)
        if compressor is None:
            compressor = local.compressor = ZstdCompressor(level=level, write_checksum=True)
        return compressor.compress(piece)

    return PieceFormat(PIECE_SIZE, b"", encode, EmptyTail)


def units(source: Source) -> Iterator[Unit]:
    """Frames in a row, as long as they tell their size and are small; stops before another.

    Raises DataCorrupt for a frame that ends early.
    """
    local = threading.local()

    def decode(frame: bytes) -> bytes:
        decompressor: ZstdDecompressor | None = getattr(local, "decompressor", None)
        if decompressor is None:
            decompressor = local.decompressor = ZstdDecompressor(max_window_size=MAX_WINDOW)
        try:
            return decompressor.decompress(frame)
        except ZstdError as error:
            raise DataCorrupt("damaged zstd data") from error

    while _is_small_frame(head := source.peek(LONGEST_HEADER)):
        yield Unit(_frame(source, head), decode, nothing_to_check)


def _is_small_frame(head: bytes) -> bool:
    if head[:4] != MAGIC.to_bytes(4, "little"):
        return False
    try:
        size: int = get_frame_parameters(head).content_size
    except ZstdError:
        return False
    return 0 < size <= LARGEST_UNIT  # zero: an empty frame, which the library's one-shot decoder takes for unknown


def _frame(source: Source, head: bytes) -> bytes:
    """Take one whole frame. Source: RFC 8878, section 3.1.1."""
    has_checksum = get_frame_parameters(head).has_checksum
    parts = [source.take(frame_header_size(head))]
    is_last = False
    while not is_last:
        block_header = _exactly(source, 3)
        number = int.from_bytes(block_header, "little")
        is_last, kind, size = bool(number & 1), number >> 1 & 3, number >> 3
        parts += block_header, _exactly(source, 1 if kind == RLE_BLOCK else size)
    if has_checksum:
        parts.append(_exactly(source, CHECKSUM_SIZE))
    return b"".join(parts)


def _exactly(source: Source, count: int) -> bytes:
    data = source.take(count)
    if len(data) < count:
        raise DataCorrupt("the zstd data are truncated")
    return data


class ZstdDecoder:
    """Decodes frames in a row. Memory: the window, one chunk of input, about READ_SIZE of output.

    The scanner notices what the library keeps to itself: an unfinished frame, and other data after a frame.
    """

    def __init__(self) -> None:
        self._scanner = BlockScanner()
        self._decompressor = ZstdDecompressor(max_window_size=MAX_WINDOW).decompressobj(read_across_frames=True)

    def update(self, chunk: Chunk) -> bytes:
        """Decode a chunk. Raises DataCorrupt."""
        return b"".join(self.pieces(chunk))

    def pieces(self, chunk: Chunk) -> Iterator[bytes]:
        """Decode a chunk, a few blocks at a time. Raises DataCorrupt."""
        for blocks in self._scanner.split(memoryview(chunk)):
            try:
                yield self._decompressor.decompress(blocks)
            except ZstdError as error:
                raise DataCorrupt("damaged zstd data") from error

    def finish(self) -> bytes:
        """Nothing more to give. Raises DataCorrupt when the stream is empty or its end is missing."""
        self._scanner.check_end()
        return b""
