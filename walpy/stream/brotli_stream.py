"""brotli: one stream (RFC 7932). The format has no checksum: damage within it may go unnoticed, truncation never."""

import brotli

from walpy.storage.base import Chunk
from walpy.stream.library import Decoder, LibraryEncoder, MemberDecoder
from walpy.stream.transform import Transform


def encoder(level: int) -> Transform:
    """Writes a stream with the default window; level = quality."""
    compressor = brotli.Compressor(quality=level)
    return LibraryEncoder(compressor.process, compressor.finish)


def decoder() -> Decoder:
    """Reads one stream; WAL-G takes a truncated one for complete, this does not."""
    return MemberDecoder("brotli", BrotliMember, (brotli.error,), several=False)


class BrotliMember:
    """A brotli.Decompressor with the interface of Decompressor."""

    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()
        self._has_more = False  # the library may have taken all input and still hold output back
        self.unused_data = b""  # the library raises for data behind the end

    @property
    def eof(self) -> bool:
        """Whether the stream's end has been read and handed out."""
        return bool(self._decompressor.is_finished())

    @property
    def needs_input(self) -> bool:
        """Whether everything that was put in has been handed out."""
        return not self._has_more

    def decompress(self, data: Chunk, max_length: int) -> bytes:
        """Put data in, get about max_length bytes."""
        out = bytes(self._decompressor.process(data, output_buffer_limit=max_length))
        self._has_more = bool(out) or not self._decompressor.can_accept_more_data()
        return out
