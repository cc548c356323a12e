"""The Transform protocol, and pump(), which drives a chain of transforms."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from walpy.storage.base import Chunk


class Transform(Protocol):
    """Rewrites one byte stream, chunk by chunk; an instance serves one stream.

    A decoder raises DataCorrupt for malformed input, and from finish() when the stream is not complete.
    """

    def update(self, chunk: Chunk) -> Chunk:
        """Take a chunk, give what is ready; does not keep the chunk."""
        ...

    def finish(self) -> Chunk:
        """Give the rest; call once, after the last update."""
        ...


def pump(chunks: Iterable[Chunk], transforms: Sequence[Transform]) -> Iterator[Chunk]:
    """Drive chunks through transforms, first to last; yields no empty chunk. Memory: one chunk a transform."""
    stream: Iterable[Chunk] = chunks
    for transform in transforms:
        stream = _drive(stream, transform)
    for chunk in stream:
        if len(chunk):
            yield chunk


def _drive(chunks: Iterable[Chunk], transform: Transform) -> Iterator[Chunk]:
    for chunk in chunks:
        out = transform.update(chunk)
        if out:
            yield out
    rest = transform.finish()
    if rest:
        yield rest
