"""Whether two storages hold the same content under one name: by the digests that they tell, else by reading both.

Memory: a chunk of either side.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Final

from walpy.storage.base import Chunk, Storage, StoredObject, TellsContent

_MD5: Final = re.compile("[0-9a-f]{32}")


class Digest:
    """The MD5 of chunks that are passed on; not of use before they all were."""

    def __init__(self) -> None:
        self._hash = hashlib.md5(usedforsecurity=False)

    def through(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """Pass chunks on."""
        for chunk in chunks:
            self._hash.update(chunk)
            yield chunk

    @property
    def text(self) -> str:
        """Hex digits."""
        return self._hash.hexdigest()


def describe(storage: Storage, name: str) -> tuple[StoredObject, str]:
    """Look up an object, with its digest as base.TellsContent has it. Raises ObjectMissing, StorageError."""
    return storage.describe(name) if isinstance(storage, TellsContent) else (storage.stat(name), "")


def is_md5(digest: str) -> bool:
    """Whether what a storage tells may be compared with an MD5."""
    return _MD5.fullmatch(digest) is not None


def same_content(one: Storage, other: Storage, name: str) -> bool:
    """Whether an object is the same in two storages. Raises ObjectMissing, StorageError."""
    (here, digest), (there, its_digest) = describe(one, name), describe(other, name)
    if here.size != there.size:
        return False
    return (digest != "" and digest == its_digest) or same_bytes(one, other, name)


def same_bytes(one: Storage, other: Storage, name: str) -> bool:
    """The same by reading both."""
    with one.open(name) as here, other.open(name) as there:
        if here.size != there.size:
            return False
        rest = iter(there)
        pending = b""
        for chunk in here:
            expected = bytes(chunk)
            while len(pending) < len(expected):
                more = bytes(next(rest, b""))
                if not more:
                    return False
                pending += more
            if not pending.startswith(expected):
                return False
            pending = pending[len(expected) :]
        return not pending and not any(len(chunk) for chunk in rest)
