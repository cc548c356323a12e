"""The digest of a stream that passes."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from walpy.storage.base import Chunk

Piece = TypeVar("Piece", bound=Chunk)


class Hash(Protocol):
    """What hashlib and xxhash make."""

    def update(self, data: Chunk, /) -> None:
        """Take the next bytes."""
        ...

    def hexdigest(self) -> str:
        """The digest of all bytes so far, in hex."""
        ...


class Digest:
    """Of the chunks that are passed on; make: such as `hashlib.md5` or `xxhash.xxh3_128`."""

    def __init__(self, make: Callable[[], Hash]) -> None:
        self._hash = make()

    def passing(self, chunks: Iterable[Piece]) -> Iterator[Piece]:
        """The chunks; the digest is theirs once all were taken."""
        for chunk in chunks:
            self._hash.update(chunk)
            yield chunk

    @property
    def text(self) -> str:
        """Hex digits."""
        return self._hash.hexdigest()


def digest_of(chunks: Iterable[Chunk], make: Callable[[], Hash]) -> str:
    """The digest of chunks, in hex."""
    digest = Digest(make)
    for _ in digest.passing(chunks):
        pass
    return digest.text
