"""Whether two storages hold the same content under one name: by the digests that they tell, else by reading both.

Memory: a chunk of either side.
"""

import hashlib
import re
from collections.abc import Iterable
from functools import partial
from typing import Final

from walpy.storage.base import Chunk, Storage, StoredObject, TellsContent
from walpy.stream.digest import Digest

_MD5: Final = re.compile("[0-9a-f]{32}")


def md5_digest() -> Digest:
    """A digest that may be compared with what storages tell."""
    return Digest(partial(hashlib.md5, usedforsecurity=False))


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
        return here.size == there.size and same_chunks(here, there)


def same_chunks(one: Iterable[Chunk], other: Iterable[Chunk]) -> bool:
    """Whether two streams hold the same bytes, however they are cut."""
    rest = iter(other)
    pending = b""
    for chunk in one:
        expected = bytes(chunk)
        while len(pending) < len(expected):
            more = next(rest, None)
            if more is None:
                return False
            pending += bytes(more)
        if not pending.startswith(expected):
            return False
        pending = pending[len(expected) :]
    return not pending and not any(len(chunk) for chunk in rest)
