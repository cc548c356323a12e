"""lzma: the old `.lzma` format ("alone"), not xz. It has no checksum: damage within it may go unnoticed."""

import lzma

from walpy.stream.library import Decoder, LibraryEncoder, MemberDecoder
from walpy.stream.transform import Transform

DICTIONARY_SIZE = 8 << 20  # bytes, as WAL-G's
MEMORY_LIMIT = 1 << 30  # bytes a decoder may take; the format allows dictionaries of 4 GiB, xz -9 uses 64 MiB


def encoder(level: int) -> Transform:
    """Writes a stream that ends in an end marker; level = preset of the library."""
    filters = [{"id": lzma.FILTER_LZMA1, "preset": level, "dict_size": DICTIONARY_SIZE}]
    compressor = lzma.LZMACompressor(format=lzma.FORMAT_ALONE, filters=filters)
    return LibraryEncoder(compressor.compress, compressor.flush)


def decoder() -> Decoder:
    """Reads one stream, with a dictionary of any size that fits in MEMORY_LIMIT.

    Data behind its end are refused: WAL-G ignores them, and would lose whatever they are.
    """
    return MemberDecoder("lzma", _member, (lzma.LZMAError,), several=False)


def _member() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(format=lzma.FORMAT_ALONE, memlimit=MEMORY_LIMIT)
