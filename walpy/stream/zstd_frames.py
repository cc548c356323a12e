"""zstd: frames with checksums (RFC 8878)."""

import threading
from collections.abc import Iterator

from zstandard import ZstdCompressor, ZstdDecompressor, ZstdError

from walpy.errors import DataCorrupt
from walpy.storage.base import Chunk
from walpy.stream.library import Decoder, LibraryEncoder
from walpy.stream.pieces import PIECE_SIZE, EmptyTail, PieceFormat
from walpy.stream.transform import Transform
from walpy.stream.zstd_blocks import BlockScanner

MAX_WINDOW = 1 << 29  # bytes; WAL-G reads no larger window either


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
