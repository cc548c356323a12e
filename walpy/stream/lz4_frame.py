"""lz4: the frame format, written as WAL-G writes it.

WAL-G's header: independent blocks of at most 4 MiB, a checksum of the content, no checksums of blocks. Every WAL-G 3
reads that. Blocks with checksums would be cheaper, but WAL-G up to 3.0.8 (pierrec/lz4 below 4.1.22) computes these
over the wrong bytes and refuses such frames; of concatenated frames it silently reads the first alone.
Source: https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md
"""

from lz4.frame import BLOCKSIZE_MAX4MB, LZ4FrameCompressor, LZ4FrameDecompressor, compress

from walpy.storage.base import Chunk
from walpy.stream.library import Decoder, LibraryEncoder, MemberDecoder
from walpy.stream.pieces import PIECE_SIZE, PieceFormat
from walpy.stream.transform import Transform

HEADER = bytes.fromhex("04224d186470b9")
TRAILER_SIZE = 8  # bytes: end mark and content checksum
HEADER_SIZE = 7  # bytes: magic, flags, block size, header checksum
END_MARK_SIZE = 4
NO_MATCHES = -65537  # a level below the library's highest acceleration: it hardly looks for matches


def encoder(level: int) -> Transform:
    """Writes one frame with WAL-G's header; level as the library's (0 = fast)."""
    compressor = _compressor(level)
    return LibraryEncoder(compressor.compress, compressor.flush, compressor.begin())


def decoder() -> Decoder:
    """Reads any frames in a row: linked or not, with or without checksums, skippable ones too."""
    return MemberDecoder("lz4", LZ4FrameDecompressor, (RuntimeError,), several=True)


def pieces(level: int) -> PieceFormat:
    """One frame, the same as encoder's but for the sizes of its blocks; level as the library's."""

    def encode(piece: Chunk) -> bytes:
        frame: bytes = compress(
            piece, compression_level=level, block_size=BLOCKSIZE_MAX4MB, block_linked=False, store_size=False
        )
        return frame[HEADER_SIZE:-END_MARK_SIZE]

    return PieceFormat(PIECE_SIZE, HEADER, encode, ContentChecksum)


class ContentChecksum:
    """End mark and checksum (xxh32) of a frame whose blocks were made elsewhere.

    A compressor that finds no matches does little but hash: 2.1 GB/s on one core, which is 80 % of a hashing library.
    """

    def __init__(self) -> None:
        self._compressor = _compressor(NO_MATCHES, auto_flush=True)
        self._compressor.begin()

    def update(self, piece: Chunk) -> None:
        """Hash a piece."""
        self._compressor.compress(piece)

    def finish(self) -> bytes:
        """End mark and checksum."""
        return bytes(self._compressor.flush())


def _compressor(level: int, *, auto_flush: bool = False) -> LZ4FrameCompressor:
    return LZ4FrameCompressor(
        compression_level=level,
        block_size=BLOCKSIZE_MAX4MB,
        block_linked=False,
        content_checksum=True,
        auto_flush=auto_flush,
    )
