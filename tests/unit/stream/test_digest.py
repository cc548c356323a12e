"""Digests of what passes."""

import hashlib

import pytest
from xxhash import xxh3_128

from walpy.stream.digest import Digest, Hash, digest_of


@pytest.mark.parametrize("make", [xxh3_128, hashlib.md5])
def test_a_digest_does_not_depend_on_chunks(make: type[Hash]) -> None:
    digest = Digest(make)
    assert b"".join(map(bytes, digest.passing([b"ab", memoryview(b"c"), b""]))) == b"abc"
    assert digest.text == digest_of([b"abc"], make) != digest_of([b"abd"], make)
