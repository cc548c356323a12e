"""lz4: the frame format, written as WAL-G writes it.

WAL-G's header: independent blocks of at most 4 MiB, a checksum of the content, no checksums of blocks. Every WAL-G 3
reads that. Blocks with checksums would be cheaper, but WAL-G up to 3.0.8 (pierrec/lz4 below 4.1.22) computes these
over the wrong bytes and refuses such frames; of concatenated frames it silently reads the first alone.
Source: https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md
"""

from lz4.frame import BLOCKSIZE_MAX4MB, LZ4FrameCompressor, LZ4FrameDecompressor

from walpy.stream.library import Decoder, LibraryEncoder, MemberDecoder
from walpy.stream.transform import Transform


def encoder(level: int) -> Transform:
    """Writes one frame with WAL-G's header; level as the library's (0 = fast)."""
    compressor = LZ4FrameCompressor(
        compression_level=level, block_size=BLOCKSIZE_MAX4MB, block_linked=False, content_checksum=True
    )
    return LibraryEncoder(compressor.compress, compressor.flush, compressor.begin())


def decoder() -> Decoder:
    """Reads any frames in a row: linked or not, with or without checksums, skippable ones too."""
    return MemberDecoder("lz4", LZ4FrameDecompressor, (RuntimeError,), several=True)
