"""Reads a tar from a stream, tolerantly: whatever WAL-G, WAL-E, walpy or PostgreSQL wrote.

Understood: USTAR, PAX (path, linkpath, size), GNU long names and base-256 numbers. The end marker, and the padding of
the last member, may be missing, as in WAL-G's remote backups; an end inside a header or inside data is damage.
Memory: one chunk of the stream; headers are copied, data is not.
Source: POSIX pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple
from zlib import adler32

from walpy.backup.tar import BLOCK, DIRECTORY, HARD_LINK, PAX, REGULAR, SYMLINK, Member
from walpy.errors import DataCorrupt
from walpy.storage.base import Chunk

_OLD_REGULAR, _CONTIGUOUS = b"\0", b"7"
_PAX_GLOBAL, _LONG_NAME, _LONG_LINK = b"g", b"L", b"K"
_LARGEST_HEADER: Final = 1 << 20  # bytes of a PAX or long-name body; a longer one is damage, not a name
_ZEROS: Final = bytes(BLOCK)
_HEADER: Final = struct.Struct(
    "100s8s16x12s12x8s1s100s6s82x155s12x"
)  # name, mode, size, checksum, kind, link, magic, prefix
_REST: Final = struct.Struct("100x8s8s8s141x32s32s183x")  # mode, owners' numbers and names
_USTAR: Final = b"ustar\0"
_ADLER_MODULUS: Final = 65521


class TarMember(NamedTuple):
    """One entry: its name as stored but without a slash at the end, type flag, mode, bytes of data, link target."""

    name: str
    kind: bytes
    mode: int
    size: int
    link: str = ""


class TarReader:
    """Members of one tar, in order, and the data of the last one given; what nobody reads is skipped.

    header: block of the member that was given last, for what full_member tells beyond TarMember.
    """

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        self.header = b""
        self._stream = _Stream(chunks)
        self._unread = 0  # bytes of the current member's data
        self._padding = 0

    def __iter__(self) -> Iterator[TarMember]:
        """Raises DataCorrupt for a damaged or truncated tar."""
        while (block := self._next_header()) is not None:
            member = self._described(block)
            if member is not None:
                yield member

    def data(self) -> Iterator[memoryview]:
        """Data of the current member, piece by piece; a piece is valid until the next one is asked for."""
        while self._unread:
            piece = self._stream.piece(self._unread)
            if not piece:
                raise DataCorrupt(f"tar ends {self._unread} bytes before the end of a member's data")
            self._unread -= len(piece)
            yield piece

    def _next_header(self) -> bytes | None:
        if self._unread:
            for _ in self.data():
                pass
        if self._padding:
            self._stream.take(self._padding)
            self._padding = 0
        block = self._stream.take(BLOCK)
        if len(block) < BLOCK:
            if block.strip(b"\0"):
                raise DataCorrupt("tar ends inside a header")
            return None
        if block == _ZEROS:
            self._check_end()
            return None
        return block

    def _check_end(self) -> None:
        """Read the stream to its end, which also lets the codec verify it: nothing but zeros may follow."""
        while piece := self._stream.piece(1 << 20):
            if bytes(piece).strip(b"\0"):
                raise DataCorrupt("tar has data after its end marker")

    def _described(self, block: bytes) -> TarMember | None:
        """The member of a header with its extension headers; None when the tar ends behind those of nobody."""
        records: dict[str, str] = {}
        while True:
            member = _parse(block)
            self.header = block
            self._begin(member.size)
            if member.kind == REGULAR and not records and not member.name.endswith("/"):
                return member  # nearly all are
            if member.kind not in (PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK):
                return self._extended(member, records)
            body = self._body(member)
            if member.kind == PAX:
                records.update(_pax_records(body))
            elif member.kind == _LONG_NAME:
                records["path"] = _text(body.rstrip(b"\0"))
            elif member.kind == _LONG_LINK:
                records["linkpath"] = _text(body.rstrip(b"\0"))
            following = self._next_header()
            if following is None:
                if member.kind == _PAX_GLOBAL:
                    return None
                raise DataCorrupt("tar ends behind an extension header")
            block = following

    def _begin(self, size: int) -> None:
        self._unread, self._padding = size, -size % BLOCK

    def _body(self, member: TarMember) -> bytes:
        if member.size > _LARGEST_HEADER:
            raise DataCorrupt(f"extension header of {member.size} bytes in a tar")
        return b"".join(bytes(piece) for piece in self.data())

    def _extended(self, member: TarMember, records: dict[str, str]) -> TarMember:
        if any(key.startswith("GNU.sparse.") for key in records) or member.kind == b"S":
            raise DataCorrupt(f"member {member.name!r} is a GNU sparse file, which no backup program writes")
        if "size" in records:
            size = records["size"]
            if not (size.isascii() and size.isdigit()):
                raise DataCorrupt(f"member {member.name!r} has the size {size!r}")
            member = member._replace(size=int(size))
            self._begin(member.size)
        name = records.get("path", member.name)
        kind = member.kind
        if kind in (_OLD_REGULAR, _CONTIGUOUS, REGULAR):
            kind = DIRECTORY if name.endswith("/") and kind == _OLD_REGULAR else REGULAR
        elif kind in (DIRECTORY, SYMLINK, HARD_LINK):
            self._begin(0)  # such a header may carry a size, never data
            member = member._replace(size=0)
        return member._replace(name=name.rstrip("/") or "/", kind=kind, link=records.get("linkpath", member.link))


def full_member(member: TarMember, header: bytes) -> Member:
    """All that is known of a member: owners and time as its header block has them; directories end in a slash."""
    mode, uid, gid, user, group = _REST.unpack(header)
    return Member(
        name=_bytes(member.name) + (b"/" if member.kind == DIRECTORY and member.name != "/" else b""),
        kind=member.kind,
        mode=_number(mode) & 0o7777,
        size=member.size,
        mtime_ns=time_of(header),
        uid=_number(uid),
        gid=_number(gid),
        user=user.partition(b"\0")[0],
        group=group.partition(b"\0")[0],
        link=_bytes(member.link),
    )


def time_of(header: bytes) -> int:
    """Modification time of a member, nanoseconds since 1970."""
    seconds = _number(header[136:148])
    if seconds >= 1 << 63:
        seconds -= 1 << 64  # before 1970, as PostgreSQL writes it
    return seconds * 1_000_000_000


class _Stream:
    """Bytes out of chunks of any size."""

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def piece(self, most: int) -> memoryview:
        """The next bytes, at most so many; empty at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return memoryview(b"")
            self._rest = memoryview(chunk).cast("B")
        piece, self._rest = self._rest[:most], self._rest[most:]
        return piece

    def take(self, count: int) -> bytes:
        """Exactly so many bytes; fewer at the end."""
        piece = bytes(self.piece(count)) if count else b""
        while len(piece) < count and (more := self.piece(count - len(piece))):
            piece += bytes(more)
        return piece


def _parse(block: bytes) -> TarMember:
    name_field, mode, size_field, checksum, kind, link, magic, prefix = _HEADER.unpack(block)
    _check_checksum(block, checksum)
    size = _number(size_field)
    if size < 0:
        raise DataCorrupt("tar header has a negative size")
    name = _field(name_field)
    if magic == _USTAR and prefix[0]:
        name = f"{_field(prefix)}/{name}"
    return TarMember(name, kind, _number(mode) & 0o7777, size, _field(link) if link[0] else "")


def _check_checksum(block: bytes, field: bytes) -> None:
    stored = _number(field)
    if stored < _ADLER_MODULUS and stored == ((adler32(block) & 0xFFFF) - 1 - sum(field) + 8 * 0x20) % _ADLER_MODULUS:
        return  # the lower half of this checksum is one more than the sum, and is computed in a tenth of the time
    total = sum(block) - sum(block[148:156]) + 8 * 0x20
    if stored != total and stored != total - 256 * sum(byte > 127 for byte in block[:148] + block[156:]):
        raise DataCorrupt(
            "tar header has a wrong checksum"
        )  # nor is it a sum of signed bytes, as some old programs made


def _number(field: bytes) -> int:
    """An octal number, or, with the top bit set, a big-endian one in two's complement."""
    if field.endswith((b"\0", b" ")) and field[:-1].isdigit():
        field = field[:-1]
    elif field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big") - (
            (1 << (8 * len(field) - 1)) if field[0] & 0x40 else 0
        )
    digits = field.strip(b" \0").partition(b"\0")[0].strip()
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise DataCorrupt(f"tar header has the number {field!r}") from None


def _pax_records(body: bytes) -> Iterator[tuple[str, str]]:
    while body:
        length, space, _ = body.partition(b" ")
        if not space or not length.isdigit() or not len(length) + 2 < int(length) <= len(body):
            raise DataCorrupt("tar has a malformed PAX header")
        record, body = body[len(length) + 1 : int(length)], body[int(length) :]
        key, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise DataCorrupt("tar has a malformed PAX header")
        yield _text(key), _text(value[:-1])


def _field(field: bytes) -> str:
    return _text(field.partition(b"\0")[0])


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
