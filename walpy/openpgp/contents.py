"""What is inside the encryption: literal data, compressed or not, signed or not (RFC 9580, sections 5.6, 5.9, 10.3)."""

import bz2
import zlib
from collections.abc import Iterator
from functools import partial

from walpy.errors import DataCorrupt
from walpy.openpgp.packets import COMPRESSED, LITERAL, MARKER, NONCRITICAL, ONE_PASS, PADDING, SIGNATURE
from walpy.openpgp.stream import PacketStream, Sink, Skipped
from walpy.storage.base import Chunk
from walpy.stream.gzip_members import GzipMember
from walpy.stream.identity import decoder as identity_decoder
from walpy.stream.library import Decoder, MemberDecoder

DEEPEST = 4  # compressed packets in one another; gpg makes one
ZLIB_ERRORS = (zlib.error,)
BZIP2_ERRORS = (OSError, ValueError)

SKIPPED = frozenset({SIGNATURE, ONE_PASS, MARKER, PADDING, *NONCRITICAL})


class Contents:
    """Sink of a decrypted message: gives the bytes of its one literal packet.

    Signatures are passed over: an archive's writer is known by its access to the storage. depth: how many compressed
    packets enclose it.
    """

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self._has_data = False
        self._packets = PacketStream(self._open)

    def feed(self, data: Chunk) -> Iterator[bytes]:
        """Take decrypted bytes."""
        return self._packets.feed(data)

    def close(self) -> Iterator[bytes]:
        """Give the rest. Raises DataCorrupt when there is no complete literal packet."""
        yield from self._packets.close()
        if not self._has_data:
            raise DataCorrupt("the OpenPGP message has no content")

    def _open(self, tag: int) -> Sink:
        if tag in SKIPPED:
            return Skipped()
        if self._has_data or tag not in (LITERAL, COMPRESSED):
            raise DataCorrupt(f"the OpenPGP message has an unexpected packet inside (tag {tag})")
        self._has_data = True
        if tag == LITERAL:
            return Literal()
        if self._depth == DEEPEST:
            raise DataCorrupt("the OpenPGP message has too many compressed packets inside one another")
        return Compressed(Contents(self._depth + 1))


class Literal:
    """Sink of a literal packet: drops its header (format, name, date) and gives its bytes as they are.

    The format octet is noise: WAL-G says text (`u`, `t`) of binary data.
    """

    def __init__(self) -> None:
        self._head = bytearray()
        self._begun = False

    def feed(self, data: Chunk) -> Iterator[bytes]:
        """Take a chunk of the body."""
        if self._begun:
            yield bytes(data)
            return
        self._head += data
        if len(self._head) > 1 and len(self._head) >= (size := self._head[1] + 6):
            self._begun = True
            yield bytes(self._head[size:])
            self._head.clear()

    def close(self) -> Iterator[bytes]:
        """Nothing more to give. Raises DataCorrupt when even the header is not complete."""
        if not self._begun:
            raise DataCorrupt("the OpenPGP literal packet is truncated")
        return iter(())


class Compressed:
    """Sink of a compressed packet: gives what inner makes of its content, inflated in bounded pieces."""

    def __init__(self, inner: Sink) -> None:
        self._inner = inner
        self._decoder: Decoder | None = None

    def feed(self, data: Chunk) -> Iterator[bytes]:
        """Take a chunk of the body. Raises DataCorrupt."""
        view = memoryview(data)
        if self._decoder is None:
            self._decoder = _decoder(view[0])
            view = view[1:]
        for piece in self._decoder.pieces(view):
            yield from self._inner.feed(piece)

    def close(self) -> Iterator[bytes]:
        """Give the rest. Raises DataCorrupt when the compressed data have no end."""
        if self._decoder is None:
            raise DataCorrupt("the OpenPGP compressed packet is empty")
        rest = self._decoder.finish()
        if rest:
            yield from self._inner.feed(rest)
        yield from self._inner.close()


def _decoder(algorithm: int) -> Decoder:
    match algorithm:
        case 0:
            return identity_decoder()
        case 1:
            return MemberDecoder("OpenPGP ZIP", partial(GzipMember, -zlib.MAX_WBITS), ZLIB_ERRORS, several=False)
        case 2:
            return MemberDecoder("OpenPGP ZLIB", partial(GzipMember, zlib.MAX_WBITS), ZLIB_ERRORS, several=False)
        case 3:
            return MemberDecoder("OpenPGP BZip2", bz2.BZ2Decompressor, BZIP2_ERRORS, several=False)
    raise DataCorrupt(f"the OpenPGP message is compressed by an unknown algorithm ({algorithm})")
