"""gzip, for reading: members in a row (RFC 1952)."""

import zlib

from walpy.storage.base import Chunk
from walpy.stream.library import Decoder, MemberDecoder

GZIP_WINDOW = 31  # zlib's window bits: 15, and 16 for the gzip format


def decoder() -> Decoder:
    """Reads members in a row."""
    return MemberDecoder("gzip", GzipMember, (zlib.error,), several=True)


class GzipMember:
    """A zlib decompressor with the interface of Decompressor."""

    def __init__(self, window: int = GZIP_WINDOW) -> None:
        """window: zlib's window bits, which say what surrounds the deflated data: gzip, zlib (15) or nothing (-15)."""
        self._decompressor = zlib.decompressobj(window)
        self._limited = False

    @property
    def eof(self) -> bool:
        """Whether the member's end has been read and its checksum is right."""
        return self._decompressor.eof

    @property
    def needs_input(self) -> bool:
        """Whether everything that was put in has been handed out."""
        return not self._limited

    @property
    def unused_data(self) -> bytes:
        """What followed the member."""
        return self._decompressor.unused_data

    def decompress(self, data: Chunk, max_length: int) -> bytes:
        """Put data in, get at most max_length bytes."""
        out = self._decompressor.decompress(self._decompressor.unconsumed_tail or data, max_length)
        self._limited = len(out) == max_length or bool(self._decompressor.unconsumed_tail)
        return out
