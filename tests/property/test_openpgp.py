"""Any content, in any chunks, survives encryption; no bytes at all confuse the parser."""

import os
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.openpgp.material import decode, decrypt, encrypt, golden_cipher
from walpy.errors import ConfigError, DataCorrupt
from walpy.openpgp.cipher import OpenPgpCipher
from walpy.openpgp.describe import describe

EDGES = [0, 1, 15, 16, 17, 511, 512, 65529, 65530, 65531, 65535, 65536, 65537, 131072]


@pytest.mark.parametrize("size", [*EDGES, 16 << 20])
def test_sizes(size: int) -> None:
    cipher = golden_cipher("cv25519")
    plain = os.urandom(size)
    assert decrypt(cipher, encrypt(cipher, plain)) == plain


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(EDGES), st.integers(0, 40), st.integers(1, 100_000), st.integers(1, 100_000))
def test_any_chunks(size: int, more: int, written: int, read: int) -> None:
    cipher = golden_cipher("cv25519")
    plain = os.urandom(size + more)
    if size > 1000:
        written, read = max(written, 100), max(read, 100)
    assert decrypt(cipher, encrypt(cipher, plain, written), read) == plain


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_confuse_the_readers(data: bytes) -> None:
    for start in (b"", b"\xd2", b"\xc1", b"\x85"):
        with suppress(DataCorrupt):
            decode(golden_cipher("cv25519").decryptor(), start + data)
        describe(start + data)
        with suppress(ConfigError):
            OpenPgpCipher.from_key(b"\xc6" + data).encryptor()
            OpenPgpCipher.from_key(b"\xc5" + data).decryptor()
